"""MultiLabelClassify: units, outcomes, baselines, details, panel and checks."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.tasks import MultiLabelClassify
from mmjax.tasks.baselines import TextExamples, label_frequencies, tfidf_labels
from mmjax.types import Task
from tests.tasks.data import dataset

TAGS = np.array([[1, 0, 1], [-1, -1, -1], [0, 1, -1], [0, 0, 0]])
DATA = dataset({"tags": TAGS}, classes={"tags": ("red", "round", "old")}, weight=[1, 1, 3, 1])
TASK = MultiLabelClassify("tags")


def shape(*dimensions):
    return jax.ShapeDtypeStruct(dimensions, jnp.float32)


def test_it_is_a_task():
    assert isinstance(TASK, Task)
    assert list(TASK.metrics) == ["f1_micro", "f1_macro", "f1_samples", "map"]


def test_units_are_rows_with_a_known_label():
    units = TASK.units(DATA, "test")
    assert units.target["target"].tolist() == [[1, 0, 1], [0, 1, -1], [0, 0, 0]]
    assert units.target["names"].tolist() == ["red\nold", "round", ""]
    assert (units.weight.tolist(), units.row.tolist()) == ([1, 3, 1], [0, 2, 3])


def test_outcomes_by_threshold_and_nan():
    logits = np.array([[1, -1, np.nan], [0, 0, 0], [2, np.nan, 1], [0.5, -3, 0]], np.float32)
    units = TASK.units(DATA, "test")
    found = TASK.outcomes(logits, units)
    assert found["predicted"].tolist() == [[True, False, False], [True, False, True], [True, False, False]]
    assert found["score"].tolist() == [[1, -1, -np.inf], [2, -np.inf, 1], [0.5, -3, 0]]
    # sigmoid(1) = .731, sigmoid(2) = .881
    strict = replace(TASK, threshold=0.75).outcomes(logits, units)
    assert strict["predicted"].tolist() == [[False, False, False], [True, False, False], [False, False, False]]


def test_the_prior_is_the_frequency_of_each_label():
    np.testing.assert_allclose(label_frequencies(TAGS, np.array([1, 1, 3, 1])), [1 / 5, 3 / 5, 1 / 2])
    units = TASK.units(DATA, "test")
    prior = TASK.baselines(DATA)["prior"]
    np.testing.assert_allclose(1 / (1 + np.exp(-prior)), [[1 / 5, 3 / 5, 1 / 2]] * 4, rtol=1e-5)
    assert TASK.outcomes(prior, units)["predicted"].tolist() == [[False, True, False]] * 3


def test_the_text_baseline_learns_each_label():
    texts = ["red ball", "round ball", "red round ball", "ball"] * 3
    tags = np.array([[1, 0], [0, 1], [1, 1], [0, 0]] * 3)
    data = dataset({"tags": tags}, classes={"tags": ("red", "round")}, text=texts)
    for threshold in (0.5, 0.9):
        task = MultiLabelClassify("tags", threshold=threshold)
        found = task.outcomes(task.baselines(data)["tfidf_svm"], task.units(data, "test"))
        np.testing.assert_array_equal(found["predicted"], tags)


def test_labels_without_two_known_values_get_a_constant():
    train = TextExamples(["a b", "c d", "e"], np.array([[1, 0, -1], [1, 0, 1], [-1, 0, 0]]), np.ones(3))
    margin = tfidf_labels(train, train, ["a", "x"])
    assert margin[:, :2].tolist() == [[1, -1], [1, -1]]
    blank = TextExamples(["", "", " "], train.target, train.weight)
    assert tfidf_labels(blank, blank, ["a"]).tolist() == [[1, -1, -1]]


def test_details_panel_and_show():
    units = TASK.units(DATA, "test")
    assert list(TASK.details(units)) == ["f1/red", "ap/red", "f1/round", "ap/round", "f1/old", "ap/old"]
    logits = np.array([[[1, -1, 2], [0, 0, 0], [2, 0, 1], [0, -3, 0]]] * 2, np.float32)
    outcomes = {name: np.stack([values] * 2) for name, values in TASK.outcomes(logits[0], units).items()}
    (panel,) = TASK.panels(outcomes, units)
    assert panel["labels"] == ["red", "round", "old"]
    np.testing.assert_allclose(panel["x"], [1 / 5, 3 / 5, 1 / 2])
    np.testing.assert_allclose(panel["y"], [1 / 4, 1, 1])  # the red unit, of weight 1, is below one of weight 3
    shown = TASK.show(logits, units, 0)
    assert shown == {"target": "red, old", "predicted": "red, old", "correct": True, "score": None}
    assert TASK.show(logits, units, 1)["correct"] is False
    few = units._replace(target={name: values[1:] for name, values in units.target.items()})
    assert list(TASK.details(few)) == ["f1/round", "ap/round"]


@pytest.mark.parametrize(
    ("task", "outputs", "message"),
    [
        (MultiLabelClassify("tag"), {"tag": shape(2, 3)}, "no target 'tag'"),
        (TASK, {"tags": shape(2, 4)}, r"has the shape \[2, 4\]; target 'tags' needs \[b, 3\]"),
        (replace(TASK, threshold=1.0), {"tags": shape(2, 3)}, "threshold is 1.0; it must be between 0 and 1"),
    ],
)
def test_check_names_the_field(task, outputs, message):
    with pytest.raises(ValueError, match=message):
        task.check(outputs, DATA)


def test_check_of_the_target():
    TASK.check({"tags": shape(2, 3)}, DATA)
    single = dataset({"tags": np.array([0, 1])}, classes={"tags": ("red", "round")})
    with pytest.raises(ValueError, match=r"'tags' is int64\[2\]; for 2 labels it must be Int\[n 2\]"):
        TASK.check({"tags": shape(2, 2)}, single)
