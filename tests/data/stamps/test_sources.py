"""The Stamps task on small packs: equal from archives and through TFDS, and damage is reported."""

import dataclasses
import sys

import jax
import numpy as np
import pytest

from mmjax.data.dataset import stack
from mmjax.data.decode import DataError
from mmjax.data.stamps import dataset as stamps_dataset
from mmjax.data.stamps.dataset import Stamps
from mmjax.data.stamps.pack import StampsPack
from tests.data.stamps.packs import read_index, write_index, write_pack

pytest.importorskip("tokenizers")
pytest.importorskip("soundfile")

OPEN_SOURCE = stamps_dataset.open_source  # before `in_memory` replaces it
TASK = Stamps(image_size=12, speech_languages=("nl",), seconds=0.5)


def small(folder, pack, truncated=None):
    """The task on 45 animals and all clothes, with six clips."""
    animals = [i for i, record in enumerate(pack.index) if record["folder"] == "animals"][:45]
    clothes = [i for i, record in enumerate(pack.index) if record["folder"] == "clothes"]
    return dataclasses.replace(TASK, root=write_pack(folder, pack, animals + clothes, clips=6, truncated=truncated))


def test_archives_and_tfds_give_equal_columns(tmp_path, pack, in_memory, monkeypatch):
    tfds = pytest.importorskip("mmjax.data.stamps.tfds", exc_type=ImportError)
    task = small(tmp_path / "pack", pack)
    memory = task.load()
    monkeypatch.setattr(stamps_dataset, "open_source", lambda root: (tfds.tfds_source(root, tmp_path / "cache"), "TFDS"))
    through = task.load()
    assert (memory.source, through.source) == ("StampsPack", "TFDS") and memory.fingerprint == through.fingerprint
    for split, rows in memory.splits.items():
        jax.tree.map(np.testing.assert_array_equal, rows, through.splits[split])
    for name, column in memory.columns.items():
        first = stack([column.read(i) for i in range(column.count)])
        second = stack([through.columns[name].read(i) for i in range(through.columns[name].count)])
        jax.tree.map(np.testing.assert_array_equal, first, second)
        preprocessed = jax.jit(column.preprocess)(first), jax.jit(through.columns[name].preprocess)(second)
        jax.tree.map(np.testing.assert_array_equal, *preprocessed)
    assert memory.media(0) == through.media(0)


def test_a_truncated_image_is_named(tmp_path, pack, in_memory, monkeypatch):
    """When loading, if z-scores are fitted on it; else when it is read."""
    monkeypatch.setattr(stamps_dataset, "MAX_ITEMS", 400)  # all training items
    whole = small(tmp_path / "whole", pack).load()
    for split in ("train", "test"):
        name, number = str(whole.metadata[split]["id"][0]), int(whole.splits[split].pointer["image"][0])
        task = small(tmp_path / split, pack, truncated=name)
        with pytest.raises(DataError, match=f"image of {name}: the image is truncated or damaged"):
            task.load().columns["image"].read(0 if split == "train" else number)


@pytest.mark.parametrize("tfds", [True, False])
def test_a_changed_name_is_refused(tmp_path, pack, monkeypatch, tfds):
    """The index is verified through either reader: its new fingerprint has no prepared copy."""
    if tfds:
        pytest.importorskip("mmjax.data.stamps.tfds", exc_type=ImportError)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    else:
        monkeypatch.setitem(sys.modules, "mmjax.data.stamps.tfds", None)
    root = write_pack(tmp_path / "pack", pack, [0, 1, 2])
    assert len(OPEN_SOURCE(root)[0]) == 3
    write_index(root, read_index(root).replace('"A frog."', '"A toad."'))
    with pytest.raises(DataError, match=r"stamps\.jsonl\.gz is damaged: its sha256 .* restore it with git"):
        OPEN_SOURCE(root)


def test_the_reader_without_tfds(monkeypatch):
    monkeypatch.setitem(sys.modules, "mmjax.data.stamps.tfds", None)
    source, reader = OPEN_SOURCE(None)
    assert isinstance(source, StampsPack) and reader == "StampsPack (tensorflow-datasets is not installed)"
