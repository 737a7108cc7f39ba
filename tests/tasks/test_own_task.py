"""A user's own task and metric: counting. The class `Count` is all that a new kind of work needs."""

from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np

from mmjax.metrics.weighted import mean
from mmjax.tasks import Classify, TaskDefaults
from mmjax.tasks.units import target_units
from mmjax.types import Batch, Metric, Task
from tests.tasks.data import dataset


def within_one(outcomes, weight):
    return mean(outcomes["error"] <= 1, weight)


def mean_error(outcomes, weight):
    return mean(outcomes["error"], weight)


@dataclass(frozen=True)
class Count(TaskDefaults):
    """How many objects does an image show? The output is [b 1], the target Int[n]."""

    output: str

    @property
    def metrics(self):
        return {"within_one": Metric(within_one), "error": Metric(mean_error, higher_is_better=False, bounds=(0, None))}

    def units(self, data, split):
        count = data.splits[split].targets["count"]
        return target_units(data, split, count >= 0, {"count": count})

    def predict(self, apply, tokens, present, batch):
        return apply(tokens, present)[self.output][:, 0]

    def outcomes(self, predicted, units):
        return {"error": np.abs(predicted[units.entry] - units.target["count"])}


def test_a_user_task_is_scored():
    task = Count("count")
    assert isinstance(task, Task)
    data = dataset({"count": np.array([2, 5, -1])}, weight=[1, 3, 1])
    batch = Batch({}, {"image": jnp.ones(3, bool)}, {}, jnp.ones(3))
    predicted = task.predict(lambda tokens, present: {"count": jnp.array([[2.5], [8], [0]])}, {}, {}, batch)
    units = task.units(data, "test")
    outcomes = task.outcomes(np.asarray(predicted), units)
    found = {name: metric.value(outcomes, jnp.asarray(units.weight)) for name, metric in task.metrics.items()}
    np.testing.assert_allclose([found["within_one"], found["error"]], [1 / 4, (0.5 + 3 * 3) / 4], rtol=1e-6)
    assert task.subsets(("text", "image")) == (("image",), ("text",), ("image", "text"))
    assert task.baselines(data) == task.details(units) == {}
    assert task.panels(outcomes, units) == []
    assert task.show(predicted[None], units, 1)["target"] == "5"
    assert task.check({}, data) is None


def confident_errors(outcomes, weight):
    """The share of units that are wrong with a probability of at least 0.9."""
    return mean((outcomes["predicted"] != outcomes["label"]) & (outcomes["probability"] >= 0.9), weight)


def test_a_new_metric_is_one_function_and_one_line():
    task = Classify("label", extra={"confident_errors": Metric(confident_errors, higher_is_better=False)})
    assert list(task.metrics)[-1] == "confident_errors"
    outcomes = {"label": np.array([0, 1, 0]), "predicted": np.array([1, 1, 1]), "probability": np.array([0.95, 0.99, 0.6])}
    assert task.metrics["confident_errors"].value(outcomes, jnp.array([1.0, 2, 1])) == 1 / 4
    assert replace(task, extra={}) == Classify("label")
