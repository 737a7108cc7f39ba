"""Malformed data sets and files, each with what its one-line error must say. A case writes its files and returns the data."""

import io
import json
import os
import pickle
import tarfile

import numpy as np
import soundfile
from PIL import Image

from mmjax.data import from_arrays, from_manifest
from mmjax.data.custom import HeldOut, Images, KFold, Labels, Scores, Sounds, Vectors
from mmjax.data.formats import coco_captions, flickr8k, hugging_face, ljspeech, mmsa, webdataset

N = 10
VECTORS = np.arange(20.0).reshape(N, 2)


def png(shade=0):
    Image.fromarray(np.full((20, 20, 3), np.arange(20)[:, None, None] * 9 + shade, np.uint8)).save(file := io.BytesIO(), "PNG")
    return file.getvalue()


def folder_of(path, rows=N, header="image,audio,label,speaker", change=lambda lines: lines):
    """data.csv with images, sounds, labels and speakers. change: of its lines, the header first."""
    lines = [header]
    for k in range(rows):
        (path / f"{k}.png").write_bytes(png(k))
        soundfile.write(path / f"{k}.wav", np.sin(np.arange(800) / (k + 2)), 16_000)
        lines.append(f"{k}.png,{k}.wav,{'ab'[k % 2]},s{k // 2}")
    (path / "data.csv").write_text("\n".join(change(lines)) + "\n")
    return path / "data.csv"


def manifest(change=None, after=None, **options):
    """A case with a changed line or file. change: (lines) -> lines. after: called with the folder when all is written."""

    def make(path):
        file = folder_of(path, change=change or (lambda lines: lines))
        if after is not None:
            after(path)
        return from_manifest(file, **{"inputs": ["image", "audio"], "targets": ["label"], "groups": "speaker"} | options)

    return make


def line(number, text):
    return lambda lines: [*lines[:number], text, *lines[number + 1 :]]


def written(name, data):
    return lambda path: (path / name).write_bytes(data)


def arrays(inputs=None, targets=None, **options):
    return lambda path: from_arrays(inputs or {"vector": VECTORS}, targets or {"label": list("ab") * 5}, **options)


def changed(index, value, array=VECTORS):
    array = array.copy()
    array[index] = value
    return array


def jsonl(*lines):
    def make(path):
        (path / "data.jsonl").write_text("\n".join(lines))
        return from_manifest(path / "data.jsonl")

    return make


def pickled(value):
    def make(path):
        (path / "mosi.pkl").write_bytes(value if isinstance(value, bytes) else pickle.dumps(value))
        return mmsa(path / "mosi.pkl")

    return make


def mmsa_parts(**changes):
    part = {"id": ["a$_$1", "b$_$1"], "raw_text": ["one", "two"], "audio": np.ones((2, 3, 4)), "vision": np.ones((2, 3, 4)),
            "regression_labels": np.array([1.0, -1.0])}  # fmt: skip
    return {split: part | (changes if split == "valid" else {}) for split in ("train", "valid", "test")}


class Command:
    def __reduce__(self):
        return os.system, ("touch executed",)


def tree(path):
    (path / "tree").mkdir()
    (path / "tree" / "0.png").write_bytes(png())
    return from_manifest(path / "tree")


def coco(note):
    def make(path):
        content = {"images": [{"id": 1, "file_name": "1.png"}], "annotations": [{"id": 1, "image_id": 1, "caption": "x"}, note]}
        (path / "captions.json").write_text(json.dumps(content))
        return coco_captions(path / "captions.json", path)

    return make


def truncated_shard(path):
    with tarfile.open(path / "train-0.tar", "w") as tar:
        for k in range(3):
            member = tarfile.TarInfo(f"{k}.png")
            member.size = len(png(k))
            tar.addfile(member, io.BytesIO(png(k)))
    data = (path / "train-0.tar").read_bytes()
    (path / "train-0.tar").write_bytes(data[:1300])
    return webdataset(path / "train-0.tar")


def speech(path):
    (path / "metadata.csv").write_text("LJ001-0001|one|one\n")
    return ljspeech(path)


def without_state(path):
    (path / "dataset_dict.json").write_text('{"splits": ["train"]}')
    (path / "train").mkdir()
    (path / "train" / "dataset_info.json").write_text("{}")
    return hugging_face(path)


def without_names(path):
    (path / "state.json").write_text('{"_data_files": [{}]}')
    (path / "dataset_info.json").write_text("{}")
    return hugging_face(path)


def without_splits(path):
    (path / "dataset_dict.json").write_text("{}")
    return hugging_face(path)


def damaged_text(path):
    """A Parquet file with a string that is not UTF-8."""
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table({"text": ["abcdefgh"] * 3}), path / "data.parquet", compression="none")
    data = (path / "data.parquet").read_bytes()
    (path / "data.parquet").write_bytes(data.replace(b"abcdefgh", b"abc\xffefgh"))
    return from_manifest(path / "data.parquet")


def damaged_arrow(path):
    without_info = {"_data_files": [{"filename": "data.arrow"}]}
    (path / "state.json").write_text(json.dumps(without_info))
    (path / "dataset_info.json").write_text("{}")
    (path / "data.arrow").write_bytes(b"ARROW1" + bytes(30))
    return hugging_face(path)


def flickr(path):
    (path / "Images").mkdir()
    (path / "Flickr8k.token.txt").write_text("1.jpg#0\tA dog.\n1.jpg#1\n")
    return flickr8k(path)


CASES = {
    # tables
    "an empty file": (manifest(lambda lines: []), r"data\.csv: the file is empty"),
    "no rows": (manifest(lambda lines: lines[:1]), r"data\.csv: there are no rows"),
    "a short row": (manifest(line(3, "2.png,2.wav,a")), r"data\.csv: row 3 has 3 cells; the first line names 4 columns"),
    "a repeated column": (manifest(line(0, "image,audio,label,label")), r"data\.csv: the first line repeats the name 'label'"),
    "an open quote": (manifest(line(2, '"1.png,1.wav,b,s0')), r"data\.csv: it is damaged"),
    "not UTF-8": (manifest(after=lambda p: (p / "data.csv").write_bytes(b"image\n\xff.png\n")), r"data\.csv: byte 6 is 0xff"),
    "a zero byte": (manifest(line(2, "1.png\0,1.wav,b,s0")), r"data\.csv: it has a zero byte"),
    "an unknown column": (
        manifest(inputs=["picture"]),
        r"data\.csv: there is no field 'picture' for 'picture'; the fields are image",
    ),
    "no such table": (lambda path: from_manifest(path / "no.csv"), r"no\.csv: No such file or directory"),
    "another extension": (
        lambda path: from_manifest(path / "data.xlsx"),
        r"data\.xlsx: the extension must be \.csv, \.tsv, \.jsonl",
    ),
    "a damaged Parquet file": (
        lambda path: written("data.parquet", b"PAR1" + bytes(40))(path) and from_manifest(path / "data.parquet"),
        r"data\.parquet: the Parquet file is damaged",
    ),
    "a line that is not JSON": (jsonl('{"text": "a"}', '{"text": '), r"data\.jsonl: line 2 is not JSON"),
    "a line that is a list": (jsonl('{"text": "a"}', "[1]"), r"data\.jsonl: line 2 is list; each line should be an object"),
    "an object in a cell": (jsonl('{"text": {"a": 1}}'), r"data\.jsonl: row 1, field 'text': it is an object"),
    "a file in no class folder": (tree, r"0\.png: it is in no folder of a class; move it to tree/CLASS"),
    # files that cells name
    "a missing file": (manifest(line(4, "no.png,3.wav,b,s1")), r"data\.csv: row 4, field 'image': '.*no\.png' is not a file"),
    "a folder as a file": (
        manifest(line(4,
        ".png,3.wav,b,s1"), after=lambda p: (p / ".png").mkdir(), kinds={"image": Images()},
    ),
                           r"data\.csv: row 4, field 'image': '.*/\.png' is not a file"),
    "a truncated image": (
        manifest(after=written("5.png", png()[:60])),
        r"row 6, field 'image': .*5\.png: the image is truncated",
    ),
    "an empty image": (manifest(after=written("5.png", b"")), r"row 6, field 'image': .*5\.png: the image file is empty"),
    "a text as an image": (
        manifest(after=written("5.png", b"hello")),
        r"row 6, field 'image': .*5\.png: the format is not known",
    ),
    "a damaged sound": (
        manifest(after=written("7.wav", b"RIFF" + bytes(40))),
        r"row 8, field 'audio': 7\.wav: the audio cannot be",
    ),
    "a sound column with a text": (
        manifest(line(5, "4.png,loud,a,s2")),
        r"row 5, field 'audio': 'loud' is not a file with the ext",
    ),
    "columns of several kinds": (
        manifest(line(5, "4.wav,4.wav,a,s2")),
        r"row 1, field 'image': the column has files of several",
    ),
    # labels, groups, splits, ids
    "an unknown class": (
        manifest(kinds={"label": Labels(("a", "c"))}),
        r"row 2, field 'label': 'b' is not one of the classes a, c",
    ),
    "one class": (
        manifest(lambda lines: [row.replace(",b,", ",a,") for row in lines]),
        r"field 'label': Labels needs at least 2",
    ),
    "a score that is a word": (manifest(kinds={"label": Scores()}), r"data\.csv: row 1, field 'label': 'a' is not a number"),
    "an empty group": (
        manifest(line(7, "6.png,6.wav,a,")),
        r"data\.csv: row 7, field 'speaker': it is empty; each row needs a group",
    ),
    "too few groups": (manifest(split=KFold(7)), r"data\.csv: the number of groups is 5, too few for 7 folds"),
    "an unknown split": (
        manifest(split="speaker", groups=None),
        r"row 1, field 'speaker': 's0' is not a split; it must be train, val",
    ),
    "a group that does not occur": (
        manifest(split=HeldOut(("zoe",))),
        r"data\.csv: the group 'zoe' of the test split does not occur",
    ),
    "a group in two splits": (
        arrays(groups=[0, 0, *range(1, 9)], split=["train", "test"] + ["train"] * 7 + ["valid"]),
        "from_arrays: rows 1 and 2 are of the group '0', but in the splits train and test",
    ),
    "a repeated id": (arrays(ids=[*range(9), 3]), r"from_arrays: row 10, field 'id': the id '3' is that of row 4 too"),
    # arrays
    "NaN in a vector": (
        arrays({"vector": changed((6, 1), np.nan)}),
        r"from_arrays: row 7, field 'vector': the value at \[1\] is nan",
    ),
    "an infinite score": (arrays(targets={"score": changed(4, np.inf, np.arange(10.0))}), r"row 5, field 'score': it is inf"),
    "vectors of two widths": (
        arrays({"v": [*VECTORS[:9], np.ones(1)]}, kinds={"v": Vectors()}),
        r"row 10, field 'v': a vector has 1 numbers",
    ),
    "columns of two lengths": (
        arrays(targets={"label": ["a", "b"]}),
        r"different numbers of rows: \{'vector': 10, 'label': 2\}",
    ),
    "float images": (
        arrays({"image": np.zeros((N, 4, 4, 3))}),
        r"row 1, field 'image': an array float64\[4, 4, 3\] is of no known",
    ),
    "a loud wave": (
        arrays({"audio": [(np.arange(9.0) + k, 8000) for k in range(N)]}),
        r"row 1, field 'audio': a recording has no samples, or sampl",
    ),
    "a wave without samples": (
        arrays({"a": [(np.zeros(5 + k), 0) for k in range(N)]}, kinds={"a": Sounds()}),
        r"row 1, field 'a': it is \(array",
    ),
    # formats
    "a pickle that runs a command": (
        pickled(pickle.dumps(Command())),
        r"mosi\.pkl: the pickle has posix\.system; only NumPy arrays",
    ),
    "a pickle without a split": (pickled({"train": {}}), r"mosi\.pkl: it should be a dictionary with train, valid and test"),
    "a pickle without labels": (
        pickled({split: {"id": []} for split in ("train", "valid", "test")}),
        r"mosi\.pkl: train has no field 'regression_labels'",
    ),
    "a pickle of unequal fields": (
        pickled(mmsa_parts(raw_text=["one"])),
        r"mosi\.pkl: the fields of valid have different numbers",
    ),
    "a pickle with NaN": (
        pickled(mmsa_parts(vision=np.full((2, 3, 4), [1, 2, np.nan, 3]))),
        r"mosi\.pkl: row 3, field 'vision'",
    ),
    "a caption of no image": (
        coco({"id": 2, "image_id": 7, "caption": "x"}),
        r"captions\.json: annotation 2, field 'image_id'",
    ),
    "a caption that is a number": (coco({"id": 2, "image_id": 1, "caption": 5}), r"annotation 2, field 'caption': it is int"),
    "an image without caption": (flickr, r"Flickr8k\.token\.txt: row 2 has no caption"),
    "a truncated shard": (truncated_shard, r"train-0\.tar: .*(truncated|damaged)"),
    "a recording that is missing": (speech, r"metadata\.csv: row 1, field 'audio': there is no wavs/LJ001-0001\.wav"),
    "a folder without state.json": (without_state, r"train/state\.json: No such file"),
    "a state.json without names": (without_names, r"state\.json: it names no data files"),
    "a dataset_dict.json without splits": (without_splits, r"dataset_dict\.json: it names no splits"),
    "a text that is not UTF-8 in Parquet": (damaged_text, r"data\.parquet: field 'text' is damaged"),
    "a damaged Arrow file": (damaged_arrow, r"data\.arrow: the Arrow file is missing or damaged"),
}  # fmt: skip
