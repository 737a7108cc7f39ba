"""Partners of examples whose inputs are exchanged."""

import numpy as np
import pytest

from mmjax.audit.audited import Audited
from mmjax.audit.part import AuditedPart
from mmjax.audit.swaps import _groups, _partner, _references, _sources, partners
from mmjax.data.dataset import Column, Dataset, Rows, identity
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
