"""Units by hand: rows with a label, without one, and with one at each step."""

import numpy as np

from mmjax.data.dataset import Rows
from mmjax.evaluate.units import units


def test_rows_without_a_label_are_left_out():
    rows = Rows({}, {"label": np.array([2, -1, 0])}, np.array([1.0, 1.0, 0.5], np.float32))
    found = units(rows, {"id": np.array(["a", "b", "c"]), "group": np.array([7, 8, 9])}, "label")
    assert found.label.tolist() == [2, 0]
    assert found.weight.tolist() == [1.0, 0.5]
    assert found.about["id"].tolist() == ["a", "c"]
    assert found.about["language"].tolist() == ["", ""]
    assert found.at.tolist() == [0, 2]
    outputs = np.arange(3 * 2, dtype=np.float32).reshape(1, 1, 3, 2)
    assert found.of(outputs)[0, 0].tolist() == [[0, 1], [4, 5]]


def test_steps_are_units_in_the_order_of_rows():
    rows = Rows({}, {"label": np.array([[1, 0, -1], [-1, -1, -1], [1, -1, -1]])}, np.array([2.0, 0.0, 1.0], np.float32))
    found = units(rows, {"id": np.array(["a0", "a1", "c0"]), "group": np.array([0, 0, 2])}, "label")
    assert found.label.tolist() == [1, 0, 1]
    assert found.weight.tolist() == [1, 1, 1]  # a row's weight, shared by its steps
    assert found.at.tolist() == [0, 1, 2]
    outputs = np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3, 1)
    assert found.of(outputs).ravel().tolist() == [0, 1, 6]
