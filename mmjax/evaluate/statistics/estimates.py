"""Metrics of one model on one set of weighted units, with their intervals."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from mmjax.evaluate.statistics.influence import draw_weights, influences
from mmjax.evaluate.statistics.variance import Side, clipped_interval, degrees_of_freedom, score_interval, variance
from mmjax.types import Metric, Outcomes

INTERVAL = "95 %: t interval, variance over groups of test units and over seeds by influence functions"
ONE_SEED = "one seed was trained: no claim is made about other seeds"


class Sample(NamedTuple):
    """What two paired estimates share: the same units, weights and groups.

    fingerprint: of all of them. units: number of units of positive weight; groups: of their groups. degrees: of freedom of the
    variance over groups.
    """

    fingerprint: str
    units: int
    groups: int
    degrees: float


@dataclass(frozen=True)
class Estimate:
    """The mean of a metric over seeds, its 95 % interval and the value of each seed. NaN where there is none.

    There is no interval for fewer than two groups of test units, nor if the metric is undefined for one of the seeds. With one
    seed the interval covers other test sets only (`ONE_SEED`).
    """

    mean: float
    low: float
    high: float
    per_seed: tuple[float, ...]
    metric: Metric = field(repr=False, compare=False)
    sample: Sample = field(repr=False, compare=False)
    side: Side = field(repr=False, compare=False)
    digests: tuple[str, ...] = field(repr=False, compare=False)  # of each seed's outcomes

    def to_json(self) -> dict[str, Any]:
        """As `ESTIMATE` of `mmjax.runs.schema`, with None for NaN."""
        summary = {"mean": finite(self.mean), "low": finite(self.low), "high": finite(self.high)}
        return summary | {"per_seed": [finite(value) for value in self.per_seed]}


def finite(x: float) -> float | None:
    """JSON has neither NaN nor infinity."""
    return x if math.isfinite(x) else None


def estimates(
    metrics: Mapping[str, Metric], outcomes: Outcomes, weight: Any, group: Any, fold: Any = None
) -> dict[str, Estimate]:
    """All metrics of one model on one set of units.

    outcomes: {name: [s u ...]} of s seeds; a baseline has one. weight: Float[u]; units of weight 0 do not count. group: Int[u];
    units of one group are not independent. fold: Int[u], for test predictions joined over the folds of a cross-validation,
    where a model with s seeds was trained s times per fold; None for one test set.

    The metrics are compiled together, once for each set of functions and shapes; a function that is defined anew at every call
    is compiled at every call.
    """
    outcomes = {name: np.asarray(values) for name, values in outcomes.items()}
    weight = np.asarray(weight, np.float32)
    _check(outcomes, weight, np.asarray(group), fold)
    names, group = np.unique(np.asarray(group), return_inverse=True)
    size = np.bincount(group, weight, len(names))
    share = size / max(size.sum(), 1e-30)
    groups = int(np.count_nonzero(share))
    fold_of_group = _fold_of_group(group, np.zeros(len(group), int) if fold is None else np.asarray(fold), names)
    degrees = degrees_of_freedom(share) if groups > 1 else np.nan
    sample = Sample(_digest(weight, group, fold_of_group), int(np.count_nonzero(weight)), groups, degrees)
    digests = tuple(_digest(*(outcomes[name][s][weight > 0] for name in sorted(outcomes))) for s in range(_seeds(outcomes)))
    smooth = tuple(metric.smooth for metric in metrics.values())
    draws = np.ones((0, len(names)), np.float32) if all(smooth) else draw_weights(share)
    functions = tuple(metric.value for metric in metrics.values())
    found = influences(functions, smooth, outcomes, weight, group, np.float32(share), draws)
    return {
        name: _estimate(name, metric, *values, share, fold_of_group, sample, digests)
        for (name, metric), values in zip(metrics.items(), jax.tree.map(lambda x: np.asarray(x, np.float64), found))
    }


def _estimate(
    name: str,
    metric: Metric,
    values: np.ndarray,
    influence: np.ndarray,
    share: np.ndarray,
    fold_of_group: np.ndarray,
    sample: Sample,
    digests: tuple[str, ...],
) -> Estimate:
    training = values[:, None]
    if metric.smooth:
        influence = _checked(name, metric, values, influence)
        folds = np.arange(fold_of_group.max(initial=0) + 1)[:, None] == fold_of_group[None, :]
        training = influence @ folds.T + values[:, None] * (folds @ share)[None, :]  # adds up to the value
        influence = influence / np.sqrt(np.maximum(1 - share, 1e-6))  # CR2
    else:
        influence = (influence - influence.mean(axis=1, keepdims=True)) / math.sqrt(len(influence[0]) - 1)
    side = Side(np.float32(influence), training)
    mean = float(values.mean()) if np.isfinite(values).all() else math.nan
    low = high = math.nan
    if math.isfinite(mean) and sample.groups > 1:
        found = variance([side], sample.degrees)
        rule = partial(score_interval, groups=sample.groups) if metric.smooth else clipped_interval
        low, high = rule(mean, math.sqrt(found.total), found.degrees, metric.bounds)
    return Estimate(mean, low, high, tuple(values.tolist()), metric, sample, side, digests)


def _checked(name: str, metric: Metric, values: np.ndarray, influence: np.ndarray) -> np.ndarray:
    """The influences, 0 at a bound of the metric: there, a root has no finite derivative (a root mean squared error of 0)."""
    bad = np.isfinite(values) & ~np.isfinite(influence).all(axis=1)
    bounds = np.array([[bound for bound in metric.bounds if bound is not None]])
    at_bound = (np.abs(values[:, None] - bounds) < 1e-6).any(axis=1)
    if np.any(bad & ~at_bound):
        seed = int(np.argmax(bad & ~at_bound))
        raise ValueError(
            f"metric {name!r} is {values[seed]:.6g}, but its derivative with respect to the weights is not finite: guard its "
            "divisions and roots (see mmjax.metrics.weighted), or declare smooth=False"
        )
    return np.where((bad & at_bound)[:, None], 0, influence)


def _seeds(outcomes: Mapping[str, np.ndarray]) -> int:
    return len(next(iter(outcomes.values())))


def _check(outcomes: Mapping[str, np.ndarray], weight: np.ndarray, group: np.ndarray, fold: Any) -> None:
    if weight.ndim != 1 or group.shape != weight.shape or (fold is not None and np.shape(fold) != weight.shape):
        shapes = f"weight {weight.shape}, group {group.shape}" + ("" if fold is None else f", fold {np.shape(fold)}")
        raise ValueError(f"weight, group and fold have one value per unit; got {shapes}")
    if not np.all(np.isfinite(weight) & (weight >= 0)):
        raise ValueError(f"weights must be finite and at least 0; got {weight[~(np.isfinite(weight) & (weight >= 0))][0]}")
    seeds = _seeds(outcomes)
    for name, values in outcomes.items():
        if values.shape[:2] != (seeds, weight.size):
            raise ValueError(f"outcome {name!r} must have shape [{seeds} seeds, {weight.size} units, ...], not {values.shape}")


def _fold_of_group(group: np.ndarray, fold: np.ndarray, names: np.ndarray) -> np.ndarray:
    """group Int[u], fold Int[u] -> Int[k] in 0..folds-1."""
    fold = np.unique(fold, return_inverse=True)[1]
    of_group = np.zeros(len(names), int)
    of_group[group] = fold
    divided = of_group[group] != fold
    if divided.any():
        raise ValueError(f"group {names[group[divided]][0]} has units in two folds; the units of a group belong to one fold")
    return of_group


def _digest(*arrays: np.ndarray) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
