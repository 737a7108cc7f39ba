"""Damaged records, features and values, and epochs that other numbers of processes continue."""

import shutil
import warnings
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path

import jax
import numpy as np

from injections.row import problem
from mmjax.data.decode import DataError
from mmjax.data.stamps.pack import StampsPack
from mmjax.pretrained.feature_cache import load_features, save_features
from tests.data.stamps.packs import write_pack
from tests.faults.nonfinite import ROWS, Trainer, assert_stopped_at, rows, spoiled
from tests.faults.saved import flip
from tests.train.shares import assert_whole_epochs

__all__ = ["flips", "nonfinite", "shards"]

Faults = Iterator[tuple[str, str | None]]


def flips(random: np.random.Generator, count: int | None, scratch: Path) -> Faults:
    """Seven of ten in a pack of records, which is refused with the remedy; the others in a file of features, which are computed
    again."""
    pack = write_pack(scratch / "pack", StampsPack(), list(range(8)), clips=2)
    features = {"x": np.random.default_rng(0).normal(size=(50, 16)).astype(np.float32)}
    save_features(scratch / "features.npz", features)
    names = sorted(file.name for file in pack.iterdir())
    for number in range(count or 0):
        if number % 10 < 7:
            folder = scratch / "copy"
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(pack, folder)
            what = f"record: {flip(folder / str(random.choice(names)), random)}"
            yield what, problem(lambda: _refused(folder))
        else:
            file = Path(shutil.copy(scratch / "features.npz", scratch / "flipped.npz"))
            what = f"features: {flip(file, random)}"
            yield what, problem(lambda: _unread_or_equal(file, features))


def _refused(folder: Path) -> None:
    try:
        StampsPack(folder).verify()
    except DataError as error:
        assert str(folder) in str(error) and "restore it with git" in str(error) and "\n" not in str(error), error
    else:
        raise AssertionError("the pack was read")


def _unread_or_equal(file: Path, features: dict[str, np.ndarray]) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = load_features(file)
    if found is None:
        assert [file.name in str(line.message) for line in caught] == [True], caught
    else:
        assert found.keys() == features.keys() and all(found[name].tobytes() == features[name].tobytes() for name in found)


def shards(random: np.random.Generator, count: int | None, scratch: Path) -> Faults:
    """Epochs that one number of processes begins and another one ends; needs eight devices."""
    del scratch
    for before, after in list(permutations((1, 2, 4, 8), 2))[:count]:
        rows, batch, fsdp = int(random.integers(9, 300)), 8 * int(random.integers(1, 4)), int(random.choice([1, 2]))
        steps = rows // np.gcd(rows, batch)
        change = int(random.integers(1, steps))
        what = f"{before} -> {after} processes after step {change} of {steps}, {rows} rows, batch {batch}, fsdp {fsdp}"
        yield what, problem(lambda: assert_whole_epochs(rows, batch, 2, before, after, change, fsdp))


def nonfinite(random: np.random.Generator, count: int | None, scratch: Path) -> Faults:
    """One value of one row. An absent modality may be anything; otherwise the first step that draws the row is named."""
    del scratch
    train = Trainer()
    for _ in range(count or 0):
        value, modality = float(random.choice([np.nan, np.inf, -np.inf])), str(random.choice(["image", "audio"]))
        row, together = int(random.integers(ROWS)), bool(random.integers(2))
        schedule = {"steps_per_call": 3, "checkpoint_every": 3, "evaluate_every": 3} if together else {}

        def check(value=value, modality=modality, row=row, schedule=schedule):
            result, saved = train(spoiled(value, modality, row), **schedule)
            if rows().present[modality][row]:
                assert_stopped_at(row, modality, result, saved)
            else:
                assert max(saved) == 6 and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(saved[6])), result

        yield f"{value} in {modality} of row {row}, {'three steps' if together else 'one step'} per call", problem(check)
