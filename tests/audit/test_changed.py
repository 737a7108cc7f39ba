"""Data sets whose test rows stand side by side, so that they are predicted together."""

from dataclasses import replace

import numpy as np

from mmjax.audit.changed import needed, side_by_side
from mmjax.data.dataset import Column, Dataset, Rows, identity
from mmjax.data.feed import CHUNK

ITEMS = {"a": np.arange(10.0), "b": np.arange(20.0, 25)}
POINTER = {"a": np.array([7, 2, -1, 7]), "b": np.array([-1, 4, 0, 1])}


def dataset():
    columns = {name: Column(len(of), of.__getitem__, identity) for name, of in ITEMS.items()}
    rows = Rows(POINTER, {"label": np.array([3, 1, 4, 1])}, np.array([1, 0, 2, 1], np.float32))
    return Dataset(columns, {"test": rows}, {"test": {}}, "")


def inputs(dataset, name):
    """The input of each test row, NaN if it is absent."""
    column = dataset.columns[name]
    return [float(column.read(int(p))) if p >= 0 else np.nan for p in dataset.splits["test"].pointer[name]]


def test_rows_keep_their_inputs_and_targets():
    one = needed(dataset(), ("a", "b"))
    other = replace(one, columns={**one.columns, "a": Column(3, lambda number: 100.0 + number, identity)})
    both = side_by_side([one, other, one])
    np.testing.assert_array_equal(inputs(one, "a"), [7, 2, np.nan, 7])
    np.testing.assert_array_equal(inputs(both, "a"), [7, 2, np.nan, 7, 101, 100, np.nan, 101, 7, 2, np.nan, 7])
    np.testing.assert_array_equal(inputs(both, "b"), [np.nan, 24, 20, 21] * 3)
    rows = both.splits["test"]
    assert rows.targets["label"].tolist() == [3, 1, 4, 1] * 3 and rows.weight.tolist() == [1, 0, 2, 1] * 3
    assert both.columns["b"] is one.columns["b"] and both.columns["a"].count == 2 * CHUNK and one.columns["a"].count == CHUNK
    assert [both.columns["a"].read(number) for number in (CHUNK + 2, CHUNK + 3, 2 * CHUNK - 1)] == [102, 102, 102]
