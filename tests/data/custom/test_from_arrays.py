"""Data from arrays: kinds, missing cells, sizes, statistics of the training split, folds and fingerprints."""

import dataclasses
import io
import json
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

import mmjax.data
from mmjax.data import from_arrays
from mmjax.data.check import check_dataset
from mmjax.data.custom import Captions, Images, KFold, Labels, Scores, Sounds, TagSets, Texts, TimeSeries, Vectors, Videos
from mmjax.data.dataset import stack
from mmjax.data.decode import DataError
from mmjax.data.splits import CrossValidated, check_splits
from mmjax.data.text import BPE, Words
from mmjax.describe import as_json, from_json

N = 10
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (N, 6, 5, 3)).astype(np.uint8)
SERIES = [RNG.normal(size=(4 + row % 3, 2)) for row in range(N)]
VECTORS = RNG.normal(3, 2, (N, 3))
SPLIT = ["train"] * 6 + ["valid"] * 2 + ["test"] * 2
LABELS = ["b", "a"] * 5


def png(array):
    Image.fromarray(array).save(file := io.BytesIO(), "PNG")
    return file.getvalue()


def gif(frames=3):
    images = [Image.fromarray(np.full((4, 4, 3), 80 * k, np.uint8)) for k in range(frames)]
    images[0].save(file := io.BytesIO(), "GIF", save_all=True, append_images=images[1:])
    return file.getvalue()


def inferred(inputs, targets=None):
    data = from_arrays(inputs, targets)
    return {name: type(kind) for name, kind in data.resolved(data.source.read()).items()}


@pytest.mark.parametrize("cells, kind", [
    (IMAGES, Images), (list(IMAGES[..., 0]), Images), ([png(image) for image in IMAGES], Images),
    ([Image.fromarray(image) for image in IMAGES], Images),
    ([np.zeros(300 + row, np.float32) for row in range(N)], Sounds), (np.zeros((N, 5000), np.int16), Sounds),
    ([(np.zeros(50), 8000)] * N, Sounds), (["a red car"] * N, Texts), (np.array(["a red car"] * N), Texts),
    (SERIES, TimeSeries), (np.zeros((N, 7, 2)), TimeSeries), (VECTORS, Vectors), (np.arange(N), Vectors), ([1.5] * N, Vectors),
    (np.zeros((N, 4, 6, 5, 3), np.uint8), Videos), ([gif()] * N, Videos), ([gif(1)] * N, Images),
])  # fmt: skip
def test_kinds_of_inputs(cells, kind):
    assert inferred({"x": cells}) == {"x": kind}
    with_missing = [None, *list(cells)[1:]]
    assert inferred({"x": with_missing}) == {"x": kind}


@pytest.mark.parametrize("cells, kind", [
    (LABELS, Labels), (np.arange(N), Labels), ([True, False] * 5, Labels), (["a dog"] * N, Labels),
    (np.arange(N) / 2, Scores), ([1.0, None] * 5, Scores), (np.zeros((N, 2)), Scores),
    ([{"x"}, set()] * 5, TagSets), ([["x", "y"]] * N, TagSets), (np.eye(N, dtype=int), TagSets),
    ([f"a dog with {row} hats" for row in range(N)], Captions),
])  # fmt: skip
def test_kinds_of_targets(cells, kind):
    assert inferred({"x": VECTORS}, {"y": cells})["y"] is kind


def everything(**changes):
    inputs = {
        "image": IMAGES,
        "audio": [(RNG_WAVES[row], 8000) for row in range(N)],
        "text": [f"word{row % 3} and more" for row in range(N)],
        "series": SERIES,
        "video": [IMAGES[row : row + 1 + row % 3] for row in range(N)],
        "vector": VECTORS,
    }
    targets = {
        "label": LABELS,
        "score": [0.5, None, *range(8)],
        "tags": [{"wet"}, {"wet", "old"}, set(), None, *[{"old"}] * 6],
        "caption": [f"a dog with {row} hats" for row in range(N)],
    }
    return from_arrays(inputs, targets, **{"split": SPLIT, "kinds": {"score": Scores(), "image": Images(size=4)}} | changes)


RNG_WAVES = [0.5 * RNG.uniform(-1, 1, 800 + 100 * row) for row in range(N)]


def test_every_kind_at_once():
    dataset = everything().load()
    check_dataset(dataset)
    assert check_splits(dataset)
    assert {name: len(rows) for name, rows in dataset.splits.items()} == {"train": 6, "validation": 2, "test": 2}
    rows = dataset.splits["train"]
    # all texts of training: word0, word1, word2 twice each, "and", "more"; the longest sound has 1300 samples at 8 kHz
    assert rows.pointer["text"].tolist() == [0, 1, 2, 0, 1, 2]
    assert dataset.columns["text"].count == 3
    assert dataset.classes == {"label": ("a", "b"), "tags": ("old", "wet")}
    assert rows.targets["label"].tolist() == [1, 0, 1, 0, 1, 0]
    np.testing.assert_array_equal(rows.targets["score"], np.array([0.5, np.nan, 0, 1, 2, 3], np.float32))
    assert rows.targets["tags"].tolist() == [[0, 1], [1, 1], [0, 0], [-1, -1], [1, 0], [1, 0]]
    sizes = dataset.sizes
    assert sizes["image"] == {"size": 4, "channels": 4} and sizes["series"] == {"steps": 6, "channels": 2}
    assert sizes["video"] == {"frames": 8, "size": 64, "channels": 4} and sizes["vector"] == {"width": 3}
    # window 640 and hop 480 samples: 1300 samples at 8 kHz are 2600 at 16 kHz, so 1 + (2600 - 640) // 480 = 5 frames
    assert sizes["audio"] == {"bands": 40, "frames": 5}
    assert dataset.dropped == {"audio: sounds truncated to 0.1625 s": 4}
    caption = rows.targets["caption"]
    assert caption.shape == (6, sizes["caption"]["length"]) and caption.min() >= -1
    assert dataset.metadata["test"]["caption"].tolist() == ["a dog with 8 hats", "a dog with 9 hats"]


def test_z_scores_are_those_of_the_training_split():
    shifted = VECTORS.copy()
    shifted[6:] += 1000  # validation and test must not matter
    column = from_arrays({"vector": shifted}, split=SPLIT).load().columns["vector"]
    scaled = np.asarray(column.preprocess(np.stack([column.read(row) for row in range(6)])))
    mean, deviation = VECTORS[:6].mean(axis=0), VECTORS[:6].std(axis=0)
    np.testing.assert_allclose(scaled, (VECTORS[:6] - mean) / deviation, rtol=1e-4, atol=1e-5)


def test_tokens_are_those_of_the_training_split():
    texts = ["red car"] * 6 + ["blue car"] * 4
    dataset = from_arrays({"text": texts}, split=SPLIT, kinds={"text": Texts(Words())}).load()
    assert dataset.sizes["text"] == {"vocabulary": 4, "length": 2}  # padding, unknown, red, car
    blue, red = (dataset.columns["text"].parse(text).x.tolist() for text in ("blue car", "red car"))
    assert blue[0] == 1 and blue[1] == red[1] > 1 and red[0] > 1


def test_video_z_scores_ignore_padding():
    videos = [np.full((1 + row % 3, 4, 4, 3), 10 * row, np.uint8) for row in range(N)]
    column = from_arrays({"video": videos}, split=SPLIT, kinds={"video": Videos(frames=4, size=4)}).load().columns["video"]
    frames = np.repeat(np.arange(6) * 10 / 255, [1 + row % 3 for row in range(6)])
    items = stack([column.read(row) for row in range(6)])
    scaled = jax.jit(column.preprocess)(items)
    np.testing.assert_allclose(scaled.x[5, 0, 0, 0, :3], (50 / 255 - frames.mean()) / frames.std(), rtol=1e-4)
    assert np.abs(scaled.x[5, 0, 0, 0, 3]) < 1e-4  # alpha is constant


def test_frames_are_evenly_spaced():
    video = np.arange(9, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    item = everything_video(video)
    assert item.x[:, 0, 0, 0].tolist() == [0, 4, 8] and int(item.length) == 3
    assert everything_video(gif(3)).x[:, 0, 0, 0].tolist() == [0, 80, 160]


def everything_video(video):
    from mmjax.data.custom.video import VideoInput

    return VideoInput(3, 2)(video)


@pytest.mark.parametrize("missing", [None, np.nan])
def test_missing_cells_are_missing_modalities_and_targets(missing):
    series = [missing if row in (1, 7) else np.full((3, 2), row, float) for row in range(N)]
    labels = [None if row == 2 else "ab"[row % 2] for row in range(N)]
    dataset = from_arrays({"series": series}, {"label": labels}, split=SPLIT).load()
    assert dataset.splits["train"].pointer["series"].tolist() == [0, -1, 1, 2, 3, 4]
    assert dataset.splits["validation"].pointer["series"].tolist() == [5, -1]
    assert dataset.splits["train"].targets["label"].tolist() == [0, 1, -1, 1, 0, 1]


def test_equal_cells_are_one_item_and_one_group():
    images = IMAGES.copy()
    images[9] = images[0]
    dataset = from_arrays({"image": images}, {"label": LABELS}).load()
    assert dataset.columns["image"].count == 9
    of = {str(i): (split, int(g)) for split, m in dataset.metadata.items() for i, g in zip(m["id"], m["group"])}
    assert of["1"] == of["10"]
    assert check_splits(dataset)


def test_equal_content_across_a_given_split_is_counted():
    images = IMAGES.copy()
    images[9] = images[0]
    for groups in (range(N), None):
        dataset = from_arrays({"image": images}, {"label": LABELS}, groups=groups, split=SPLIT).load()
        assert check_splits(dataset)
        with pytest.warns(UserWarning, match="1 of 2 rows of the test split have 'image' equal to that of 1 training rows"):
            check_dataset(dataset)


def test_folds_hold_each_group_out_once():
    groups = ["anna", "anna", "ben", "ben", "cleo", "cleo", "dan", "dan", "eva", "eva"]
    data = from_arrays({"vector": VECTORS}, {"label": LABELS}, groups=groups, ids=[f"r{row}" for row in range(N)])
    assert isinstance(data, CrossValidated) and data.folds == 5
    tested = []
    for fold in range(5):
        dataset = data.at_fold(fold).load()
        assert check_splits(dataset)
        tested += dataset.metadata["test"]["id"].tolist()
        assert dataset.splits["test"].targets["label"].tolist() == [1, 0]  # stratified: one of each class
    assert sorted(tested) == sorted(f"r{row}" for row in range(N))
    assert dataclasses.replace(data, split=KFold(3)).folds == 3


def test_held_out_groups_and_validation_from_the_training_groups():
    groups = ["anna", "ben", "cleo", "dan", "eva"] * 2
    dataset = from_arrays({"vector": VECTORS}, groups=groups, split={"test": ["eva"], "validation": "ben"}).load()
    assert {split: set(np.array(groups)[m["id"].astype(int) - 1]) for split, m in dataset.metadata.items()} == {
        "train": {"anna", "cleo", "dan"}, "validation": {"ben"}, "test": {"eva"}
    }  # fmt: skip
    data = from_arrays({"vector": VECTORS}, groups=groups, split={"test": "eva"})
    dataset = data.load()
    assert len(dataset.splits["validation"]) == 2 and len(dataset.splits["train"]) == 6
    with pytest.raises(DataError, match="no folds for cross-validation"):
        data.at_fold(1)


def test_data_compare_by_their_content():
    one, same = everything(), everything()
    assert one == same and hash(one) == hash(same)
    changed = IMAGES.copy()
    changed[3, 0, 0, 0] ^= 1
    assert from_arrays({"image": changed}) != from_arrays({"image": IMAGES})
    assert everything(kinds={"image": Images(size=5)}) != one


def test_the_fingerprint_depends_on_every_byte_and_option():
    base = dict(inputs={"vector": VECTORS}, targets={"label": LABELS}, split=SPLIT)
    changed = VECTORS.copy()
    changed[9, 2] = np.nextafter(changed[9, 2], 9)
    others = [
        base | {"inputs": {"vector": changed}},
        base | {"targets": {"label": [*LABELS[:-1], "b"]}},
        base | {"split": [*SPLIT[:5], "valid", *SPLIT[6:]]},
        base | {"ids": [f"r{row}" for row in range(N)]},
        base | {"groups": [0, 0, *range(1, 9)]},
        base | {"metadata": {"speaker": ["x"] * N}},
        base | {"inputs": {"text": [f"word {row}" for row in range(N)]}},
        base | {"inputs": {"text": [f"word {row}" for row in range(N)]}, "kinds": {"text": Texts(BPE(50))}},
    ]
    prints = [from_arrays(**arguments).load().fingerprint for arguments in [base, *others]]
    assert len(set(prints)) == len(prints)
    assert from_arrays(**base).load().fingerprint == prints[0]


def test_changed_arrays_are_refused():
    images = IMAGES.copy()
    data = from_arrays({"image": images})
    images[0, 0, 0, 0] ^= 1
    with pytest.raises(DataError, match="the arrays have changed since from_arrays was called"):
        data.load()


def test_the_description_has_no_arrays():
    text = json.dumps(as_json(everything()))
    assert len(text) < 5000
    again = from_json(json.loads(text))
    assert again == everything()
    with pytest.raises(DataError, match="call from_arrays again"):
        again.load()


def test_parse_reads_new_inputs_as_the_items():
    dataset = everything().load()
    raw = {"image": IMAGES[2], "audio": (RNG_WAVES[2], 8000), "series": SERIES[2], "vector": VECTORS[2],
           "video": IMAGES[2:5], "text": "word2 and more"}  # fmt: skip
    for name, value in raw.items():
        number = dataset.splits["train"].pointer[name][2]
        jax.tree.map(np.testing.assert_array_equal, dataset.columns[name].parse(value), dataset.columns[name].read(number))
        parse = from_json(json.loads(json.dumps(as_json(dataset.columns[name].parse))))
        assert parse == dataset.columns[name].parse


def test_media_for_the_report():
    dataset = everything().load()
    shown = dataset.media(1)  # test row 1 is row 9
    assert Image.open(io.BytesIO(shown["image"])).size == (5, 6)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(shown["image"]))), IMAGES[9])
    import soundfile

    wave, rate = soundfile.read(io.BytesIO(shown["sound"]))
    assert rate == 16000 and abs(len(wave) - 2 * len(RNG_WAVES[9])) < 2500  # an MP3 is padded to whole frames of 1152
    assert shown["caption"] == "word0 and more"
    only = from_arrays({"series": SERIES}, split=SPLIT).load().media(0)
    assert Image.open(io.BytesIO(only["image"])).size[1] == 16  # a band of 8 pixels for each of 2 channels


def test_pandas_columns():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"age": [1.0, None, *range(8)], "label": LABELS}, index=range(5, 15))
    dataset = from_arrays({"age": frame["age"]}, {"label": frame["label"]}, split=SPLIT).load()
    assert dataset.splits["train"].pointer["age"].tolist() == [0, -1, 1, 0, 2, 3]  # 1.0 occurs twice
    assert dataset.splits["train"].targets["label"].tolist() == [1, 0, 1, 0, 1, 0]


def test_a_large_column_is_read_again_when_it_is_needed(monkeypatch):
    monkeypatch.setattr("mmjax.data.custom.reading.MAX_BYTES", 10)
    dataset = from_arrays({"image": IMAGES}, split=SPLIT).load()
    small = from_arrays({"image": IMAGES}, split=SPLIT)
    monkeypatch.setattr("mmjax.data.custom.reading.MAX_BYTES", 10**9)
    np.testing.assert_array_equal(dataset.columns["image"].read(4), small.load().columns["image"].read(4))
    assert dataset.fingerprint == small.load().fingerprint


def test_original_items_for_published_models():
    column = everything().load().columns["image"]
    np.testing.assert_array_equal(column.original(3), IMAGES[3])
    assert len(column.fingerprint) == 64


def test_imports_are_lazy():
    code = "import sys, mmjax.data; assert 'from_arrays' in dir(mmjax.data); print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    assert mmjax.data.__all__ == ["from_arrays", "from_manifest"]
    with pytest.raises(AttributeError, match="from_nothing"):
        mmjax.data.from_nothing  # noqa: B018
