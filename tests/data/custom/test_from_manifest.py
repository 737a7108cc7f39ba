"""Data from CSV, TSV, JSON Lines and Parquet files and from trees of folders."""

import csv
import json

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from mmjax.data import from_manifest
from mmjax.data.check import check_dataset
from mmjax.data.custom import Images, Labels, Scores, Sounds, TagSets, Texts, TimeSeries, Vectors
from mmjax.data.decode import DataError
from tests.data.custom.clips import CLASSES, SPEAKERS, write_folder

ROWS = 12
RECORDS = [
    {
        "id": f"r{row}", "file": f"{row}.png", "title": f"a quiet dog {row % 4}", "age": row / 2, "height": 10 + row,
        "readings": [[row, 1.0], [2.0, 3.0]], "label": "ab"[row % 2], "rating": row % 5 + 0.5, "tags": ["wet"] * (row % 2),
        "speaker": f"s{row // 2}", "part": ["train", "train", "dev", "test"][row // 3],
    }
    for row in range(ROWS)
]  # fmt: skip


def write(path):
    """The records in the format of the extension, with their images beside it."""
    for row in range(ROWS):
        Image.fromarray(np.full((3, 3, 3), 20 * row, np.uint8)).save(path.parent / f"{row}.png")
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    elif path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(RECORDS), path)
    else:
        with path.open("w", newline="") as file:
            rows = csv.DictWriter(file, RECORDS[0], delimiter="\t" if path.suffix == ".tsv" else ",")
            rows.writeheader()
            rows.writerows(record | {"tags": ";".join(record["tags"]), "readings": ""} for record in RECORDS)
    return path


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_every_format_gives_the_same_data(tmp_path, ending):
    data = from_manifest(
        write(tmp_path / f"data.{ending}"),
        inputs={"image": "file", "text": "title", "numbers": ("age", "height")},
        targets=("label", "rating"),
        groups="speaker",
    )
    assert {name: type(kind) for name, kind in data.resolved(data.source.read()).items()} == {
        "image": Images, "text": Texts, "numbers": Vectors, "label": Labels, "rating": Scores
    }  # fmt: skip
    dataset = data.load()
    check_dataset(dataset)
    found = {}
    for split, rows in dataset.splits.items():
        for k, name in enumerate(dataset.metadata[split]["id"]):
            numbers = dataset.columns["numbers"].read(int(rows.pointer["numbers"][k])).tolist()
            pixel = int(dataset.columns["image"].read(int(rows.pointer["image"][k]))[0, 0, 0])
            label, rating = rows.targets["label"][k], float(rows.targets["rating"][k])
            found[str(name)] = (pixel, numbers, int(label), rating, str(dataset.metadata[split]["speaker"][k]))
    assert found == {f"r{r}": (20 * r, [r / 2, 10 + r], r % 2, r % 5 + 0.5, f"s{r // 2}") for r in range(ROWS)}


def test_lists_in_jsonl(tmp_path):
    data = from_manifest(write(tmp_path / "data.jsonl"), inputs=["readings"], targets=["tags"], split="part")
    kinds = data.resolved(data.source.read())
    assert isinstance(kinds["readings"], TimeSeries) and isinstance(kinds["tags"], TagSets)
    dataset = data.load()
    assert {split: len(rows) for split, rows in dataset.splits.items()} == {"train": 6, "validation": 3, "test": 3}
    assert dataset.splits["train"].targets["tags"].tolist() == [[0], [1]] * 3
    assert dataset.columns["readings"].read(4).x.tolist() == [[4, 1], [2, 3]]


def test_columns_have_roles_by_name(tmp_path):
    file = tmp_path / "data.csv"
    parts = ["train", "train", "val", "test"]
    file.write_text("id,split,group,text,label,score,tags\n" + "".join(
        f"n{row},{parts[row % 4]},{row % 4 * 10 + row // 4},word {row % 3},{'ab'[row % 2]},{row}.5,x;y\n" for row in range(12)
    ))  # fmt: skip
    data = from_manifest(file)
    assert [of.name for of in data.inputs] == ["text"]
    assert [of.name for of in data.targets] == ["label", "score", "tags"]
    dataset = data.load()
    assert dataset.classes == {"label": ("a", "b"), "tags": ("x", "y")}
    assert len(dataset.splits["train"]) == 6 and dataset.metadata["test"]["id"].tolist() == ["n3", "n7", "n11"]


def test_names_that_repeat_stay_metadata(tmp_path):
    data = from_manifest(write_folder(tmp_path))
    assert [of.name for of in data.inputs] == ["image", "audio"]
    assert set(data.load().metadata["test"]["speaker"].tolist()) <= set(SPEAKERS)
    named = from_manifest(tmp_path / "clips" / "data.csv", inputs=("image", "speaker"))
    assert [of.name for of in named.inputs] == ["image", "speaker"]


def test_the_command_describes_a_table(tmp_path, capsys):
    from mmjax.data.__main__ import main

    main([str(write_folder(tmp_path))])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("source: data.csv (image: Images, audio: Sounds, label: Labels); fingerprint ")
    assert "modality image: 36 items; size 64, channels 4" in lines and "target label: int32, 2: high, low" in lines


def test_empty_cells_are_missing(tmp_path):
    csv_file = write_folder(tmp_path, missing=(0, 7))
    dataset = from_manifest(csv_file, inputs=("image", "audio"), groups="speaker").load()
    absent = [
        int(name) - 1
        for split, rows in dataset.splits.items()
        for name, number in zip(dataset.metadata[split]["id"], rows.pointer["audio"])
        if number < 0
    ]
    assert sorted(absent) == [0, 7]
    assert dataset.columns["audio"].count == 34 and dataset.classes == {"label": CLASSES}
    of = {split: set(m["speaker"].tolist()) for split, m in dataset.metadata.items()}
    assert sum(map(len, of.values())) == len(SPEAKERS)  # whole speakers are held out


def test_a_changed_byte_of_a_file_changes_the_fingerprint(tmp_path):
    path = write(tmp_path / "data.csv")
    load = lambda: from_manifest(path, inputs=["file"], targets=["label"]).load().fingerprint
    before = load()
    assert load() == before
    image = tmp_path / "4.png"
    image.write_bytes(image.read_bytes() + b"\0")  # the same pixels
    assert load() != before


def test_text_files_and_arrays(tmp_path):
    lines = ["text,series,label"]
    for row in range(8):
        (tmp_path / f"{row}.txt").write_text(f"word {row % 2}")
        np.save(tmp_path / f"{row}.npy", np.full((2 + row % 2, 3), row, np.float32))
        lines.append(f"{row}.txt,{row}.npy,{'ab'[row % 2]}")
    (tmp_path / "data.csv").write_text("\n".join(lines))
    data = from_manifest(tmp_path / "data.csv")
    assert [type(kind) for kind in data.resolved(data.source.read()).values()] == [Texts, TimeSeries, Labels]
    dataset = data.load()
    assert dataset.sizes["series"] == {"steps": 3, "channels": 3}
    assert dataset.columns["text"].count == 2  # two different texts


def test_images_and_sounds_in_npy_files(tmp_path):
    lines = ["image,audio"]
    for row in range(5):
        np.save(tmp_path / f"i{row}.npy", np.full((3, 3, 3), row, np.uint8))
        np.save(tmp_path / f"a{row}.npy", np.full(4000, row, np.int16))
        lines.append(f"i{row}.npy,a{row}.npy")
    (tmp_path / "data.csv").write_text("\n".join(lines))
    data = from_manifest(tmp_path / "data.csv")
    assert [type(kind) for kind in data.resolved(data.source.read()).values()] == [Images, Sounds]
    dataset = data.load()
    assert dataset.columns["image"].read(4)[0, 0].tolist() == [4, 4, 4, 255]
    assert int(dataset.columns["audio"].read(4).length) == 4000  # at 16 kHz


def tree(folder, splits=("",)):
    for split in splits:
        for name, shade in (("dark", 10), ("light", 200)):
            place = folder / split / name
            place.mkdir(parents=True)
            for k in range(4):
                image = np.full((3, 3, 3), shade + k + 20 * splits.index(split), np.uint8)
                Image.fromarray(image).save(place / f"{k}.png")
                (place / f"{k}.txt").write_text(f"a {name} square")
    return folder


def test_a_tree_with_a_folder_per_class(tmp_path):
    folder = tree(tmp_path / "squares")
    (folder / "dark" / "0.txt").unlink()
    (folder / "dark" / ".hidden.png").write_bytes(b"")
    (folder / "README.md").write_text("not data")
    dataset = from_manifest(folder, split=None).at_fold(1).load()
    assert dataset.classes == {"label": ("dark", "light")} and set(dataset.columns) == {"image", "text"}
    ids = [name for m in dataset.metadata.values() for name in m["id"].tolist()]
    assert sorted(ids) == sorted(f"{name}/{k}" for name in ("dark", "light") for k in range(4))
    for split, rows in dataset.splits.items():
        named = [name.split("/")[0] for name in dataset.metadata[split]["id"]]
        assert [dataset.classes["label"][label] for label in rows.targets["label"]] == named
        assert [p < 0 for p in rows.pointer["text"]] == [name == "dark/0" for name in dataset.metadata[split]["id"]]


def test_a_tree_with_splits(tmp_path):
    dataset = from_manifest(tree(tmp_path / "squares", ("train", "test"))).load()
    assert len(dataset.splits["test"]) == 8 and len(dataset.splits["train"]) + len(dataset.splits["validation"]) == 8
    assert all(name.startswith("test/") for name in dataset.metadata["test"]["id"])


def test_a_folder_with_a_table(tmp_path):
    write(tmp_path / "metadata.jsonl")
    data = from_manifest(tmp_path, inputs={"image": "file"}, targets=["label"])
    assert data.source.file == tmp_path / "metadata.jsonl" and data.ids == "id"
    assert data.load().columns["image"].count == ROWS


def test_files_relative_to_another_folder(tmp_path):
    (tmp_path / "tables").mkdir()
    write(tmp_path / "data.csv").rename(tmp_path / "tables" / "data.csv")
    data = from_manifest(tmp_path / "tables" / "data.csv", inputs=["file"], targets=(), root=tmp_path)
    assert data.load().columns["file"].count == ROWS
    with pytest.raises(DataError, match=r"data.csv: row 1, field 'file': .*tables/0.png' is not a file"):
        from_manifest(tmp_path / "tables" / "data.csv", inputs=["file"]).load()


def test_kinds_are_stated(tmp_path):
    data = from_manifest(
        write(tmp_path / "data.csv"), inputs=["file"], targets=["height"], kinds={"file": Images(size=7), "height": Scores()}
    )
    dataset = data.load()
    assert dataset.sizes["file"] == {"size": 7, "channels": 4}
    assert dataset.splits["train"].targets["height"].dtype == np.float32
    with pytest.raises(DataError, match="kinds: there is no input or target 'image'; there are file"):
        from_manifest(tmp_path / "data.csv", inputs=["file"], targets=(), kinds={"image": Sounds()}).load()
