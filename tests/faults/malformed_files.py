"""Writers of malformed files for the cases of malformed_data.py; each is a function of the folder that returns the data."""

import io
import json
import os
import pickle
import tarfile

import numpy as np
import soundfile
from PIL import Image

from mmjax.data import from_arrays, from_manifest
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
