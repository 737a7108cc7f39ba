"""Loaders of common formats on tiny files in the real format."""

import io
import json
import pickle
import tarfile

import numpy as np
import pyarrow
import pytest
import soundfile
from PIL import Image

from mmjax.data.check import check_dataset
from mmjax.data.custom import KFold, Labels, TableData
from mmjax.data.decode import DataError
from mmjax.data.formats import coco_captions, flickr8k, hugging_face, karpathy, ljspeech, mmsa, multibench, webdataset
from mmjax.data.splits import check_splits

RNG = np.random.default_rng(0)


def loaded(data):
    """The checked data set of a loader."""
    assert isinstance(data, TableData)
    dataset = data.load()
    check_dataset(dataset)
    assert check_splits(dataset)
    return dataset


def sizes(dataset):
    return {split: len(rows) for split, rows in dataset.splits.items()}


def png(shade):
    Image.fromarray(np.full((4, 4, 3), shade, np.uint8)).save(file := io.BytesIO(), "PNG")
    return file.getvalue()


def wav(row, rate=8000):
    soundfile.write(file := io.BytesIO(), 0.1 * np.sin(np.arange(400) * (row + 1) / 9), rate, format="WAV")
    return file.getvalue()


def mmsa_part(split, count, aligned, shared=False):
    """Clips of two per video. audio: step t of clip k is k + t / 10, then zeros from its length on."""
    lengths = [3 + k % 2 for k in range(count)]
    offset = {"train": 0, "valid": 10, "test": 20}[split] * (not shared)
    audio = np.zeros((count, 5, 2), np.float32)
    for k, length in enumerate(lengths):
        audio[k, :length] = (k + np.arange(length) / 10)[:, None]
    audio[0, 0, 0] = -np.inf
    part = {
        "raw_text": np.array([f"clip {k} is good" for k in range(count)]),
        "audio": audio,
        "vision": RNG.normal(size=(count, 4, 3)),
        "text": RNG.normal(size=(count, 5, 6)).astype(np.float32),
        "text_bert": RNG.normal(size=(count, 3, 5)).astype(np.float32),
        "id": [f"video{offset + k // 2}$_${k % 2}" for k in range(count)],
        "annotations": ["Negative", "Positive"] * (count // 2),
        "classification_labels": np.array([0.0, 2.0] * (count // 2)),
        "regression_labels": np.linspace(-3, 3, count),
        "regression_labels_T": np.linspace(3, -3, count),
    }
    return part if aligned else part | {"audio_lengths": lengths, "vision_lengths": np.full(count, 4)}


@pytest.mark.parametrize("aligned", [True, False])
def test_mmsa(tmp_path, aligned):
    parts = {split: mmsa_part(split, count, aligned) for split, count in (("train", 6), ("valid", 4), ("test", 2))}
    (tmp_path / "mosi.pkl").write_bytes(pickle.dumps(parts))
    dataset = loaded(mmsa(tmp_path / "mosi.pkl"))
    assert sizes(dataset) == {"train": 6, "validation": 4, "test": 2}
    np.testing.assert_allclose(dataset.splits["train"].targets["score"], np.linspace(-3, 3, 6), rtol=1e-6)
    assert dataset.metadata["test"]["id"].tolist() == ["test/video20$_$0", "test/video20$_$1"]
    audio = dataset.columns["audio"].read(int(dataset.splits["train"].pointer["audio"][1]))
    assert int(audio.length) == (5 if aligned else 4)
    np.testing.assert_allclose(audio.x[:4, 0], [1, 1.1, 1.2, 1.3], rtol=1e-6)
    assert dataset.columns["audio"].read(0).x[0].tolist() == [0, 0]  # -inf, as MMSA replaces it
    assert dataset.metadata["train"]["text"][2] == "clip 2 is good"
    of_bert = loaded(mmsa(tmp_path / "mosi.pkl", inputs=["text"], targets=["annotations", "regression_labels_T"]))
    assert of_bert.classes == {"annotations": ("Negative", "Positive")}
    assert of_bert.sizes["text"] == {"steps": 5, "channels": 6}


def test_mmsa_whose_split_divides_videos(tmp_path):
    """CH-SIMS: clips of one video are in several splits."""
    parts = {split: mmsa_part(split, 6, True, shared=True) for split in ("train", "valid", "test")}
    (tmp_path / "sims.pkl").write_bytes(pickle.dumps(parts))
    with pytest.raises(DataError, match="rows 1 and 7 are of the group 'video0', but in the splits train and validation"):
        mmsa(tmp_path / "sims.pkl").load()
    loaded(mmsa(tmp_path / "sims.pkl", split=KFold(3)))


def multibench_part(split, count):
    """Steps of zeros come first: clip k has k % 3 of them in the text, and one in the audio."""
    text, audio = np.zeros((count, 4, 3)), np.zeros((count, 4, 2))
    for k in range(count):
        text[k, k % 3 :] = 1 + k
        audio[k, 1:] = 10 + k
    ids = np.array([[f"{split}{k // 2}", str(k), str(k + 1)] for k in range(count)])
    labels = np.linspace(-2, 2, count).reshape(count, 1, 1)
    return {"text": text, "audio": audio, "vision": RNG.normal(size=(count, 4, 5)), "labels": labels, "id": ids}


def test_multibench(tmp_path):
    parts = {split: multibench_part(split, count) for split, count in (("train", 6), ("valid", 4), ("test", 4))}
    (tmp_path / "mosi_raw.pkl").write_bytes(pickle.dumps(parts, protocol=2))
    for aligned, starts in ((True, [0, 1, 2]), (False, [1, 1, 1])):
        dataset = loaded(multibench(tmp_path / "mosi_raw.pkl", aligned=aligned))
        rows = dataset.splits["train"]
        audio = [dataset.columns["audio"].read(int(n)) for n in rows.pointer["audio"][:3]]
        assert [int(item.length) for item in audio] == [4 - start for start in starts]
        text = [dataset.columns["text"].read(int(n)) for n in rows.pointer["text"][:3]]
        assert [int(item.length) for item in text] == [4, 3, 2]
    np.testing.assert_allclose(rows.targets["label"], np.linspace(-2, 2, 6), rtol=1e-6)
    for part in parts.values():
        part["labels"] = np.array([[0.0], [1.0]] * (len(part["labels"]) // 2))
    (tmp_path / "humor.pkl").write_bytes(pickle.dumps(parts))
    assert loaded(multibench(tmp_path / "humor.pkl", kinds={"label": Labels()})).classes == {"label": ("0", "1")}


def coco(folder, name, first, count):
    """Annotations with two captions per image, in COCO's own order: by annotation, not by image."""
    images = [{"id": first + k, "file_name": f"{first + k:012}.jpg", "height": 4, "width": 4} for k in range(count)]
    notes = [
        {"id": 1000 * first + 2 * k + n, "image_id": first + k, "caption": f"A dog number {first + k}, told {n}."}
        for n in range(2) for k in range(count)
    ]  # fmt: skip
    (folder / name).write_text(json.dumps({"info": {}, "licenses": [], "images": images, "annotations": notes}))
    (folder / "images").mkdir(exist_ok=True)
    for image in images:
        Image.fromarray(np.full((4, 4, 3), image["id"], np.uint8)).save(folder / "images" / image["file_name"])


def test_coco_captions(tmp_path):
    coco(tmp_path, "captions_train2017.json", 1, 10)
    coco(tmp_path, "captions_val2017.json", 101, 3)
    one = loaded(coco_captions(tmp_path / "captions_train2017.json", tmp_path / "images", targets=["caption"]))
    assert one.columns["image"].count == 10 and sum(sizes(one).values()) == 20 and sizes(one)["test"] == 4
    files = {split: (tmp_path / f"captions_{split}2017.json", tmp_path / "images") for split in ("train", "val")}
    files["test"] = files.pop("val")
    dataset = loaded(coco_captions(files))
    assert sizes(dataset) == {"train": 16, "validation": 4, "test": 6}
    assert set(dataset.metadata["test"]["image_id"]) == {"101", "102", "103"}
    row = list(dataset.metadata["test"]["text"]).index("A dog number 102, told 1.")
    assert dataset.columns["image"].read(int(dataset.splits["test"].pointer["image"][row]))[0, 0, 0] in (101, 102, 103)  # JPEG


def test_karpathy(tmp_path):
    images = []
    for k, split in enumerate(["train", "restval", "val", "test"]):
        (tmp_path / "val2014").mkdir(exist_ok=True)
        (tmp_path / "val2014" / f"{k}.png").write_bytes(png(10 * k))
        sentences = [{"raw": f"Image {k}, caption {n}.", "tokens": ["image"]} for n in range(5)]
        images.append({"filepath": "val2014", "filename": f"{k}.png", "split": split, "sentences": sentences, "imgid": k})
    (tmp_path / "dataset_coco.json").write_text(json.dumps({"images": images, "dataset": "coco"}))
    dataset = loaded(karpathy(tmp_path / "dataset_coco.json", tmp_path))
    assert sizes(dataset) == {"train": 10, "validation": 5, "test": 5} and dataset.columns["image"].count == 4


@pytest.mark.parametrize("kaggle", [True, False])
def test_flickr8k(tmp_path, kaggle):
    (tmp_path / "Images").mkdir()
    names = [f"{k}_a.png" for k in range(7)]
    for k, name in enumerate(names):
        (tmp_path / "Images" / name).write_bytes(png(10 * k))
    if kaggle:
        lines = ["image,caption", *(f'{name},"A dog , number {k} ."' for k, name in enumerate(names) for _ in range(2))]
        (tmp_path / "captions.txt").write_text("\n".join(lines))
    else:
        lines = [f"{name}#{n}\tA dog , number {k} ." for k, name in enumerate(names) for n in range(2)]
        (tmp_path / "Flickr8k.token.txt").write_text("\n".join(lines) + "\n")
    assert len(loaded(flickr8k(tmp_path)).splits["test"]) in (2, 4)  # 7 images in 5 folds
    for split, own in (("train", names[:3]), ("dev", names[3:4]), ("test", names[4:6])):
        (tmp_path / f"Flickr_8k.{split}Images.txt").write_text("".join(f"{name}\n" for name in own))
    dataset = loaded(flickr8k(tmp_path))
    assert sizes(dataset) == {"train": 6, "validation": 2, "test": 4}
    assert dataset.metadata["train"]["text"][0] == "A dog , number 0 ."


def save_arrow(folder, rows, features):
    """A folder as `datasets` 5.2 writes it: an Arrow stream, state.json and dataset_info.json."""
    folder.mkdir(parents=True)
    table = pyarrow.Table.from_pylist(rows)
    with pyarrow.OSFile(str(folder / "data-00000-of-00001.arrow"), "wb") as file:
        with pyarrow.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table, max_chunksize=2)
    state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_fingerprint": "x", "_split": None}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text(json.dumps({"features": features, "citation": ""}))


FEATURES = {
    "image": {"_type": "Image"}, "sound": {"sampling_rate": 8000, "_type": "Audio"},
    "readings": {"feature": {"feature": {"dtype": "float32", "_type": "Value"}, "_type": "Sequence"}, "_type": "Sequence"},
    "kind": {"names": ["zebra", "ant"], "_type": "ClassLabel"}, "title": {"dtype": "string", "_type": "Value"},
}  # fmt: skip


def record(k):
    return {
        "image": {"bytes": png(k), "path": None}, "sound": {"bytes": wav(k), "path": "x.wav"},
        "readings": [[float(k), 1.0]] * (2 + k % 2), "kind": k % 2, "title": None if k == 1 else f"title {k}",
    }  # fmt: skip


def test_hugging_face_dataset_dict(tmp_path):
    counts = {"train": 6, "validation": 2, "test": 3}
    first = 0
    for split, count in counts.items():
        save_arrow(tmp_path / "set" / split, [record(first + k) for k in range(count)], FEATURES)
        first += count
    (tmp_path / "set" / "dataset_dict.json").write_text(json.dumps({"splits": list(counts)}))
    dataset = loaded(hugging_face(tmp_path / "set"))
    assert sizes(dataset) == counts and dataset.classes == {"kind": ("zebra", "ant")}
    assert set(dataset.columns) == {"image", "sound", "readings", "title"}
    assert dataset.splits["train"].targets["kind"].tolist() == [0, 1, 0, 1, 0, 1]
    assert dataset.splits["train"].pointer["title"].tolist() == [0, -1, 1, 2, 3, 4]
    assert dataset.columns["image"].read(3)[0, 0].tolist() == [3, 3, 3, 255]
    assert dataset.columns["readings"].read(3).x.tolist() == [[3, 1]] * 3


def test_hugging_face_dataset_without_splits(tmp_path):
    (tmp_path / "one.png").parent.mkdir(exist_ok=True)
    rows = [{"image": {"bytes": None, "path": f"{k}.png"}, "label": k % 2} for k in range(10)]
    save_arrow(tmp_path / "set", rows, {"label": {"dtype": "int64", "_type": "Value"}, "image": {"_type": "Image"}})
    for k in range(10):
        (tmp_path / "set" / f"{k}.png").write_bytes(png(k))
    dataset = loaded(hugging_face(tmp_path / "set"))
    assert sizes(dataset) == {"train": 6, "validation": 2, "test": 2} and dataset.classes == {"label": ("0", "1")}


def write_tar(file, rows):
    """{name: bytes} of each row, as WebDataset's TarWriter writes them."""
    with tarfile.open(file, "w") as tar:
        for name, data in rows.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def shard_rows(first, count):
    rows = {}
    for k in range(first, first + count):
        rows |= {f"data/{k:04}.png": png(k), f"data/{k:04}.wav": wav(k), f"data/{k:04}.cls": str(k % 2).encode()}
        rows[f"data/{k:04}.json"] = json.dumps({"speaker": f"s{k // 2}", "score": k / 2}).encode()
        if k != first:
            rows[f"data/{k:04}.txt"] = f"text of {k}".encode()
    return rows


def test_webdataset(tmp_path):
    for name, first, count in (("train-000000", 0, 4), ("train-000001", 4, 4), ("test-000000", 8, 2)):
        write_tar(tmp_path / f"{name}.tar", shard_rows(first, count))
    dataset = loaded(webdataset(tmp_path, groups=("speaker",)))
    assert sizes(dataset) == {"train": 6, "validation": 2, "test": 2}
    assert dataset.metadata["test"]["id"].tolist() == ["data/0008", "data/0009"]
    assert dataset.splits["test"].targets["score"].tolist() == [4.0, 4.5] and dataset.classes == {"label": ("0", "1")}
    rows = dataset.splits["test"]
    assert dataset.columns["image"].read(int(rows.pointer["image"][1]))[0, 0, 0] == 9
    assert rows.pointer["text"][0] == -1 and dataset.metadata["test"]["text"].tolist() == ["", "text of 9"]
    assert set(dataset.columns) == {"image", "audio", "text"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["test-000000.tar", "train-000000.tar", "train-000001.tar"]


def test_ljspeech(tmp_path):
    (tmp_path / "wavs").mkdir()
    lines = []
    for k in range(10):
        name = f"LJ{k // 2:03}-{k:04}"
        (tmp_path / "wavs" / f"{name}.wav").write_bytes(wav(k))
        lines.append(f'{name}|Said "{k}|Said {k}' if k % 2 else f"{name}|Said {k}")
    (tmp_path / "metadata.csv").write_text("\n".join(lines))
    dataset = loaded(ljspeech(tmp_path))
    assert sizes(dataset) == {"train": 6, "validation": 2, "test": 2}
    assert {str(m) for meta in dataset.metadata.values() for m in meta["chapter"]} == {f"LJ{k:03}" for k in range(5)}
    texts = {str(name): str(text) for m in dataset.metadata.values() for name, text in zip(m["id"], m["text"])}
    assert texts == {f"LJ{k // 2:03}-{k:04}": f"Said {k}" for k in range(10)}
    recognition = loaded(ljspeech(tmp_path, inputs=("audio",), targets={"caption": "normalized"}))
    assert recognition.splits["train"].targets["caption"].shape[0] == 6
