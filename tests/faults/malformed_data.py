"""Malformed data sets and files, each with what its one-line error must say. A case writes its files and returns the data."""

import pickle

import numpy as np

from mmjax.data import from_manifest
from mmjax.data.custom import HeldOut, Images, KFold, Labels, Scores, Sounds, Vectors
from tests.faults.malformed_files import (
    VECTORS,
    Command,
    N,
    arrays,
    changed,
    coco,
    damaged_arrow,
    damaged_text,
    flickr,
    jsonl,
    line,
    manifest,
    mmsa_parts,
    pickled,
    png,
    speech,
    tree,
    truncated_shard,
    without_names,
    without_splits,
    without_state,
    written,
)

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
