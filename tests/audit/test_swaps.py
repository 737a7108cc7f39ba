"""Partners of examples whose inputs are exchanged."""

from pathlib import Path

import numpy as np
import pytest

from mmjax.audit.audited import Audited
from mmjax.audit.part import AuditedPart
from mmjax.audit.swaps import _groups, _partner, _references, _sources, conflict, partners
from mmjax.data.dataset import Column, Dataset, Rows, identity
from mmjax.runs.read import Run
from mmjax.tasks import Classify


@pytest.mark.parametrize("seed", range(5))
def test_partners_differ_in_key_and_are_used_once(seed):
    rng = np.random.default_rng(seed)
    key, eligible = rng.integers(0, 6, 40), rng.random(40) < 0.8
    found = partners(key, eligible, seed)
    assert (found[~eligible] == -1).all()
    rows = np.flatnonzero(eligible)
    assert np.bincount(key[rows]).max() <= len(rows) / 2
    assert (key[found[rows]] != key[rows]).all() and sorted(found[rows]) == rows.tolist()


def test_a_key_of_most_rows_leaves_some_without_partner():
    key = np.array([0, 0, 0, 0, 1, 2])
    found = partners(key, np.ones(6, bool))
    paired = found >= 0
    assert (key[found[paired]] != key[paired]).all() and 0 < paired.sum() < 6
    assert (partners(key, np.zeros(6, bool)) == -1).all()
    assert (partners(np.zeros(4, int), np.ones(4, bool)) == -1).all()


@pytest.fixture(scope="module")
def data():
    """Six test rows, of which 1 and 3 have no label and 4 does not count; 0 and 5 are of one leak-free group."""
    rows = Rows({"x": np.arange(6)}, {"label": np.array([0, -1, 1, -1, 0, 1])}, np.float32([1, 1, 1, 1, 0, 1]))
    metadata = {"id": np.array(list("abcdef")), "group": np.array([7, 7, 8, 9, 8, 7])}
    column = Column(6, lambda number: np.zeros(1, np.float32), identity)
    return Dataset({"x": column}, {"test": rows}, {"test": metadata}, "made", classes={"label": ("no", "yes")})


def test_only_rows_with_a_reference_answer_are_partners(data):
    """Only 0, with the answer "no", and 2 and 5, with "yes", count; one of these two gets the input of 0."""
    found = _partner(Classify("label"), data, "x", _references, 0)
    assert (found[[1, 3, 4]] == -1).all() and found[0] in (2, 5) and sorted(found[[2, 5]]) == [-1, 0]


def test_the_group_of_an_input_is_that_of_its_row(data):
    """The only other group of 0 and 5 is that of 2, whose input one of them gets; 2 gets the input of one of them."""
    task = Classify("label")
    part = object.__new__(AuditedPart)
    part.__dict__.update(fold=None, task=task, dataset=data)
    audited = object.__new__(Audited)
    audited.__dict__.update(parts=(part, part), _units=(task.units(data, "test"), None))
    units, partner = audited.units, _partner(task, data, "x", _groups, 0)
    source, share = _sources(audited, "x", 0)
    group = dict(zip(units.row.tolist(), units.group.tolist()))
    assert source.tolist() == [group[partner[row] if partner[row] >= 0 else row] for row in units.row]
    assert (source != units.group).sum() == 2 and share == pytest.approx(2 / 3)


def test_the_numbers_of_a_conflict(monkeypatch):
    """A model follows the image, but answers by the text if this is that of row 0.

    Rows 0 to 3 have both modalities and the classes 0 1 0 1; 4 and 5 have the image alone, so nothing contradicts it. With
    exchanged images, rows 1 to 3 answer as the new image says, and row 0 as its text does. With exchanged texts, the one row
    that gets the text of row 0 follows it.
    """
    label = np.array([0, 1, 0, 1, 0, 1])
    rows = Rows({"image": np.arange(6), "text": np.array([0, 1, 2, 3, -1, -1])}, {"label": label}, np.ones(6, np.float32))
    column = Column(6, lambda number: np.zeros(1, np.float32), identity)
    data = Dataset(
        {"image": column, "text": column}, {"test": rows}, {"test": {"id": np.arange(6), "group": np.arange(6)}}, "made",
        classes={"label": ("no", "yes")},
    )  # fmt: skip
    task = Classify("label")
    part = object.__new__(AuditedPart)
    part.__dict__.update(fold=None, task=task, dataset=data)
    cells = {"c": {"tasks": {"t": {"complete": "image+text"}}}}
    audited = Audited(Run(Path("none"), {"cells": cells}), "c", "t")
    audited.__dict__.update(parts=(part,), task=task, _units=(task.units(data, "test"), None))

    def predictions(self, split="test", change=None):
        pointer = change(data).splits["test"].pointer
        said = np.where(pointer["text"] == 0, label[0], label[pointer["image"]])
        return {None: np.eye(2, dtype=np.float32)[said][None]}

    monkeypatch.setattr(Audited, "predictions", predictions)
    found = conflict(audited)
    assert {name: one.mean for name, one in found.estimates.items()} == {
        "image of another: as image": 0.75, "image of another: as text": 0.25, "image of another: difference": 0.5,
        "text of another: as text": 0.25, "text of another: as image": 0.75, "text of another: difference": -0.5,
    }  # fmt: skip
    assert found.conclusions[0] == (
        "If image contradicts text, answers have accuracy 0.750 by the reference of image and 0.250 by that of text: neither "
        "dominates."
    )
