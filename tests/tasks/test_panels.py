"""Panels are JSON values that name what does not fit."""

import json

import numpy as np
import pytest

from mmjax.tasks import panels


def test_every_panel_is_json_without_nan():
    values = [
        panels.matrix("m", ["a"], ["a", "b"], np.array([[1, np.nan]])),
        panels.points("p", np.float32([1, 2]), [np.inf, 1 / 3], ["x", "y"], diagonal=True),
        panels.histogram("h", [0, 1, 2], np.array([3, 4])),
        panels.intervals("i", ["a"], [0.5], [0.25], [np.nan]),
        panels.lines("l", ["a", "b"], [0, 1], [[1, 2], [3, np.nan]], [[0, 1], [2, 3]], [[2, 3], [4, 5]], "severity"),
    ]
    read = json.loads(json.dumps(values, allow_nan=False))
    assert read == values
    assert [value["panel"] for value in read] == ["matrix", "points", "histogram", "intervals", "lines"]
    assert read[0]["values"] == [[1, None]]
    assert read[1]["y"] == [None, 0.333333]
    assert read[3]["high"] == [None]
    assert read[4]["mean"] == [[1, 2], [3, None]]


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"values has shape \(1, 1\); the panel needs \(1, 2\)"):
        panels.matrix("m", ["a"], ["a", "b"], [[1]])
    with pytest.raises(ValueError, match="1 labels for 2 points"):
        panels.points("p", [1, 2], [1, 2], ["x"])
    with pytest.raises(ValueError, match=r"counts has shape \(2,\); the panel needs \(1,\)"):
        panels.histogram("h", [0, 1], [1, 2])
