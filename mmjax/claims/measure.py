"""The costs of cells: parameters, FLOPs and seconds of a training step."""

import time
from collections.abc import Mapping
from typing import Any

import jax

from mmjax.data import feed
from mmjax.data.dataset import Dataset
from mmjax.experiment import Experiment
from mmjax.experiment.costs import costs
from mmjax.experiment.load import load_and_check
from mmjax.experiment.training import training_of
from mmjax.train.parallel import single
from mmjax.train.seeds import orders

__all__ = ["STEPS", "measure"]

STEPS = 50  # that are timed; the fastest one counts


def measure(cells: Mapping[str, Experiment], timed: bool) -> dict[str, dict[str, float]]:
    """{cell: {"parameters", "flops"}} of one seed on one device, in the last stage of its training; and "seconds" if timed."""
    if not cells:
        return {}
    loaded, found = load_and_check(cells), {}
    for name, cell in cells.items():
        dataset, weights = loaded.datasets[cell.data], loaded.weights[name]
        *_, last = costs(cell, dataset, weights, seeds=1)
        found[name] = {"parameters": float(last.parameters), "flops": last.flops}
        if timed:
            found[name]["seconds"] = _step_seconds(cell, dataset, weights)
    return found


def _step_seconds(cell: Experiment, dataset: Dataset, weights: Mapping[str, Any]) -> float:
    """The seconds of the fastest of STEPS training steps on one batch, after one that compiles."""
    rows, plan = dataset.splits["train"], single()
    read = feed.HostFeed(dataset, rows, cell.encoders)
    order = orders([0], len(rows), cell.batch, cell.sampling, cell.sampling.width(len(rows), cell.batch, cell.steps))
    training = training_of(cell, plan)
    state, frozen = training.init([0], read(order(0)[0]), weights or None)
    number = len(training.resolved) - 1
    state = jax.vmap(lambda state: training.reset(state, number))(state)
    (batches,) = plan.feed(read).chunks(order, [range(1)])
    step, times = plan.train(training.step(number)), []
    for _ in range(STEPS + 1):
        began = time.perf_counter()
        state, _ = jax.block_until_ready(step(state, frozen, batches))
        times.append(time.perf_counter() - began)
    return min(times[1:])
