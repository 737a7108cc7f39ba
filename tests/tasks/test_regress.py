"""Regress: units, outcomes, baselines, panel and checks."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.metrics.sentiment import SENTIMENT
from mmjax.tasks import Regress
from mmjax.tasks.baselines import TextExamples, tfidf_ridge, weighted_median
from mmjax.types import Batch, Task
from tests.tasks.data import dataset

TASK = Regress("score")
ROWS = dataset({"score": np.array([0.5, np.nan, -2], np.float32)}, weight=[1, 1, 3])
STEPS = dataset({"score": np.array([[1, 2], [np.nan, 4]], np.float32)}, weight=[2, 1], id=["a", "b", "c"], group=[0, 0, 1])


def shape(*dimensions):
    return jax.ShapeDtypeStruct(dimensions, jnp.float32)


def test_it_is_a_task():
    assert isinstance(TASK, Task)
    assert list(TASK.metrics) == ["mae", "rmse", "pearson", "spearman", "r2"]
    assert list(replace(TASK, extra=SENTIMENT).metrics)[5:] == ["acc2_nonneg", "acc2_nonzero", "acc5", "acc7"]


def test_units_are_the_known_targets():
    units = TASK.units(ROWS, "test")
    assert units.target["target"].tolist() == [0.5, -2]
    assert (units.weight.tolist(), units.entry.tolist()) == ([1, 3], [0, 2])
    units = TASK.units(STEPS, "test")
    assert units.target["target"].tolist() == [1, 2, 4]
    assert (units.weight.tolist(), units.row.tolist(), units.entry.tolist()) == ([1, 1, 1], [0, 0, 1], [0, 1, 3])


@pytest.mark.parametrize(("data", "output"), [(ROWS, (3, 1)), (ROWS, (3,)), (STEPS, (2, 2, 1)), (STEPS, (2, 2))])
def test_predictions_and_outcomes(data, output):
    TASK.check({"score": shape(*output)}, data)
    values = jnp.arange(np.prod(output), dtype=jnp.bfloat16)
    targets = data.splits["test"].targets
    batch = Batch({}, {}, targets, jnp.ones(len(targets["score"])))
    predicted = TASK.predict(lambda tokens, present: {"score": values.reshape(output)}, {}, {}, batch)
    assert predicted.shape == targets["score"].shape and predicted.dtype == jnp.float32
    units = TASK.units(data, "test")
    found = TASK.outcomes(np.asarray(predicted), units)
    assert found["predicted"].tolist() == units.entry.tolist()
    assert found["target"].tolist() == units.target["target"].tolist()


def test_baselines_without_text():
    data = dataset({"score": np.array([1, 2, 6, np.nan], np.float32)}, weight=[1, 1, 2, 9])
    found = TASK.baselines(data)
    assert list(found) == ["mean", "median"]
    units = TASK.units(data, "test")
    assert TASK.outcomes(found["mean"], units)["predicted"].tolist() == [3.75] * 3
    assert TASK.outcomes(found["median"], units)["predicted"].tolist() == [4] * 3  # of 1, 2, 6, 6


@pytest.mark.parametrize("weight", [[1, 1, 1], [1, 2, 1], [3, 1, 1], [2, 1, 1], [1, 1, 2]])
def test_the_weighted_median_is_numpys(weight):
    values = np.array([5.0, 1.0, 2.0])
    assert weighted_median(values, np.array(weight)) == np.median(np.repeat(values, weight))


def test_the_text_baseline_learns_words():
    texts = ["good film", "bad film", "very good", "very bad"] * 3
    data = dataset({"score": np.array([1, -1, 1, -1] * 3, np.float32)}, text=texts)
    found = TASK.baselines(data)["tfidf_ridge"]
    assert np.sign(found).tolist() == [1, -1, 1, -1] * 3


def test_ridge_on_blank_texts_is_the_mean():
    train = TextExamples(["", " "], np.array([1.0, 4.0]), np.array([2.0, 1.0]))
    assert tfidf_ridge(train, train, ["new", ""]).tolist() == [2, 2]


def test_panel_and_show():
    units = TASK.units(ROWS, "test")
    predicted = np.array([[1, 0, -1], [2, 0, -2]], np.float32)
    outcomes = [TASK.outcomes(values, units) for values in predicted]
    (panel,) = TASK.panels({name: np.stack([o[name] for o in outcomes]) for name in outcomes[0]}, units)
    assert (panel["x"], panel["y"], panel["labels"]) == ([0.5, -2], [1.5, -1.5], ["row0", "row2"])
    assert TASK.show(predicted, units, 1) == {"target": "-2", "predicted": "-1.5", "correct": None, "score": None}
    many = dataset({"score": np.arange(5000, dtype=np.float32)})
    outcomes = {name: np.arange(5000.0)[None] for name in ("target", "predicted")}
    (panel,) = TASK.panels(outcomes, TASK.units(many, "test"))
    assert len(panel["x"]) == 1000 and (panel["x"][0], panel["x"][-1]) == (0, 4999)


@pytest.mark.parametrize(
    ("task", "outputs", "message"),
    [
        (Regress("value"), {"value": shape(3, 1)}, "no target 'value'; their targets are kind, score"),
        (Regress("kind"), {"kind": shape(3, 1)}, r"'kind' is int64\[3\]; it must be Float"),
        (TASK, {"score": shape(3, 2)}, r"has the shape \[3, 2\]; target 'score' needs \[b, 1\]"),
        (TASK, {"score": shape(3, 4, 1)}, r"needs \[b, 1\]"),
    ],
)
def test_check_names_the_field(task, outputs, message):
    data = dataset(ROWS.splits["test"].targets | {"kind": np.arange(3)})
    with pytest.raises(ValueError, match=message):
        task.check(outputs, data)
