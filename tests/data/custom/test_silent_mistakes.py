"""Inputs that once gave silently wrong data sets."""

import json

import numpy as np
import pytest
from PIL import Image

from mmjax.data import from_arrays, from_manifest
from mmjax.data.custom import Sounds
from mmjax.data.custom.folders import Folders
from mmjax.data.custom.table import digest
from mmjax.data.custom.target_kinds import sorted_names
from mmjax.data.decode import DataError
from mmjax.data.fetch import _deb_data
from mmjax.data.formats.pickles import read_arrays_pickle


def palette_image(colour):
    image = Image.new("P", (4, 4), 0)
    image.putpalette([*colour, *[0] * 765])
    return image


def test_images_with_other_palettes_are_other_images():
    red, blue = palette_image((255, 0, 0)), palette_image((0, 0, 255))
    assert red.tobytes() == blue.tobytes() and digest(red) != digest(blue) and digest(red) == digest(red.copy())


def test_the_fingerprint_of_sounds_has_their_rate():
    waves = [np.sin(np.arange(400) * (row + 1)).astype(np.float32) for row in range(9)]
    split = ["train", "validation", "test"] * 3
    label = {"label": ["a", "b", "c"] * 3}
    of = lambda rate: from_arrays({"audio": waves}, label, split=split, kinds={"audio": Sounds(rate=rate)})
    assert of(16000).load().columns["audio"].fingerprint != of(8000).load().columns["audio"].fingerprint


def test_a_stray_file_does_not_lose_the_official_split(tmp_path):
    for split in ("train", "val", "test"):
        for label in ("a", "b"):
            (tmp_path / split / label).mkdir(parents=True)
            (tmp_path / split / label / "1.txt").write_text(f"{split} {label}")
    assert "split" in Folders(tmp_path).read().cells
    (tmp_path / "train" / "classes.txt").write_text("a b")
    with pytest.raises(DataError, match=r"classes: it is in no folder SPLIT/CLASS, but .* is; move it"):
        Folders(tmp_path).read()


def test_lines_may_have_other_separators(tmp_path):
    rows = [{"text": f"one\u2028two {row}", "label": "ab"[row % 2]} for row in range(6)]
    (tmp_path / "data.jsonl").write_text("\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows), newline="")
    assert from_manifest(tmp_path / "data.jsonl").source.read().cells["text"] == [row["text"] for row in rows]


def test_equal_integers_have_one_order():
    assert sorted_names({"1", "01", "2", "02"}) == ("01", "1", "02", "2")


def test_shared_references_are_read_once(tmp_path):
    import pickle

    value = ["end"]
    for _ in range(40):
        value = [value, value]
    (tmp_path / "data.pkl").write_bytes(pickle.dumps({"x": value}))
    assert read_arrays_pickle(tmp_path / "data.pkl")["x"][0] is not None


def test_a_package_with_a_negative_size_ends():
    member = b"control.tar".ljust(16) + b" " * 32 + b"-60".ljust(10) + b"`\n"
    with pytest.raises(ValueError, match=r"control\.tar.* has a negative size"):
        _deb_data(b"!<arch>\n" + member + b" " * 120)
