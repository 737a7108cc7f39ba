"""Metrics of one model on one set of weighted units, with their intervals."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import numpy as np

from mmjax.evaluate.statistics.influence import Influence, draw_weights, influences
from mmjax.evaluate.statistics.variance import Contributions, clipped_interval, degrees_of_freedom, score_interval, variance
from mmjax.types import Metric, Outcomes

__all__ = ["INTERVAL", "Estimate", "Sample", "estimates", "finite"]

INTERVAL = "95 %: t interval, variance over groups of test units and over seeds"


class Sample(NamedTuple):
    """The test units of an estimate; two estimates are paired if they have equal samples.

    fingerprint: a hash of the weights, groups and folds. units: the number of units of positive weight. groups: the number of
    their groups. degrees: the degrees of freedom of the variance over groups.
    """

    fingerprint: str
    units: int
    groups: int
    degrees: float


@dataclass(frozen=True)
class Estimate:
    """The mean of a metric over seeds, its 95 % interval and the value of each seed; NaN if undefined.

    The interval is undefined with fewer than two groups of test units, or if the metric is undefined for a seed. With one seed,
    the interval accounts for the choice of test units only.
    """

    mean: float
    low: float
    high: float
    per_seed: tuple[float, ...]
    metric: Metric = field(repr=False, compare=False)
    sample: Sample = field(repr=False, compare=False)
    contributions: Contributions = field(repr=False, compare=False)
    digests: tuple[str, ...] = field(repr=False, compare=False)  # hashes of each seed's outcomes

    def to_json(self) -> dict[str, Any]:
        """As `ESTIMATE` of `mmjax.runs.schema`, with None for NaN."""
        summary = {"mean": finite(self.mean), "low": finite(self.low), "high": finite(self.high)}
        return summary | {"per_seed": [finite(value) for value in self.per_seed]}


def finite(x: float) -> float | None:
    """x, or None if it is NaN or infinite, since JSON has neither."""
    return x if math.isfinite(x) else None


def estimates(
    metrics: Mapping[str, Metric], outcomes: Outcomes, weight: Any, group: Any, fold: Any = None, program: Any = influences
) -> dict[str, Estimate]:
    """All metrics of one model on one set of units.

    outcomes: {name: [s u ...]} of s seeds; a baseline has one. weight: Float[u]; units of weight 0 do not count. group: Int[u];
    units of one group are not independent. fold: Int[u], for test predictions joined over the folds of a cross-validation,
    where a model with s seeds was trained s times per fold; None for one test set. program: `influences`, or `mean_influences`
    for a mean, which needs no compilation.

    All metrics are compiled as one program, once for each set of functions and shapes; a new function object compiles again.
    Raises ValueError, naming the argument, for shapes that do not fit, for negative or non-finite weights, and for a smooth
    metric without a finite gradient.
    """
    if not metrics:
        return {}
    outcomes = {name: np.asarray(values) for name, values in outcomes.items()}
    weight = np.asarray(weight, np.float32)
    fold = np.zeros(weight.shape, int) if fold is None else np.unique(np.asarray(fold), return_inverse=True)[1]
    _check(outcomes, weight, np.asarray(group), fold)
    names, group = np.unique(np.asarray(group), return_inverse=True)
    size = np.bincount(group, weight, len(names))
    share = size / max(size.sum(), 1e-30)
    groups = int(np.count_nonzero(share))
    degrees = degrees_of_freedom(share) if groups > 1 else np.nan
    sample = Sample(_digest(weight, group, fold), int(np.count_nonzero(weight)), groups, degrees)
    digests = tuple(_digest(*(outcomes[name][s][weight > 0] for name in sorted(outcomes))) for s in range(_seeds(outcomes)))
    smooth = tuple(metric.smooth for metric in metrics.values())
    draws = np.ones((0, len(names)), np.float32) if all(smooth) else draw_weights(share)
    functions = tuple(metric.value for metric in metrics.values())
    inputs = (outcomes, weight, group, np.float32(share), draws, fold)
    found = program(functions, smooth, *inputs, folds=int(fold.max(initial=0)) + 1)
    found = jax.tree.map(lambda x: np.asarray(x, np.float64), found)
    squares = np.bincount(fold, weight) ** 2
    folds = float(max(squares.sum() ** 2 / max(np.sum(squares**2), 1e-30), 1.0))  # their effective number
    return {
        name: _estimate(name, metrics[name], values, share, folds, sample, digests) for name, values in zip(metrics, found)
    }


def _estimate(
    name: str,
    metric: Metric,
    found: Influence,
    share: np.ndarray,
    folds: float,
    sample: Sample,
    digests: tuple[str, ...],
) -> Estimate:
    parts = found.parts
    if metric.smooth:
        parts = _checked(name, metric, found) / np.sqrt(np.maximum(1 - share, 1e-6))  # CR2
    else:
        parts = (parts - parts.mean(axis=1, keepdims=True)) / math.sqrt(parts.shape[1] - 1)
    contributions = Contributions(np.float32(parts), found.training, folds)
    mean = float(found.value.mean()) if np.isfinite(found.value).all() else math.nan
    low = high = math.nan
    v = variance([contributions], sample.degrees)
    if math.isfinite(mean) and math.isfinite(v.total) and sample.groups > 1:
        low, high = score_interval(mean, math.sqrt(v.total), v.degrees, metric.bounds, sample.groups)
        if not metric.smooth and math.isnan(low):  # a median may equal the bound and still have an error
            low, high = clipped_interval(mean, math.sqrt(v.total), v.degrees, metric.bounds)
    return Estimate(mean, low, high, tuple(found.value.tolist()), metric, sample, contributions, digests)


def _checked(name: str, metric: Metric, found: Influence) -> np.ndarray:
    """The influences; 0 if they are not finite at a bound of the metric, such as a root mean squared error of 0.

    Raises ValueError if they are not finite elsewhere.
    """
    values = found.value
    bad = np.isfinite(values) & ~np.isfinite(found.parts).all(axis=1)
    bounds = np.array([[bound for bound in metric.bounds if bound is not None]])
    at_bound = (np.abs(values[:, None] - bounds) < 1e-6).any(axis=1)
    if np.any(bad & ~at_bound):
        seed = int(np.argmax(bad & ~at_bound))
        raise ValueError(
            f"metric {name!r} is {values[seed]:.6g}, but its derivative with respect to the weights is not finite: guard its "
            "divisions and roots (see mmjax.metrics.weighted), or declare smooth=False"
        )
    return np.where((bad & at_bound)[:, None], 0, found.parts)


def _seeds(outcomes: Mapping[str, np.ndarray]) -> int:
    return len(next(iter(outcomes.values())))


def _check(outcomes: Mapping[str, np.ndarray], weight: np.ndarray, group: np.ndarray, fold: np.ndarray) -> None:
    if weight.ndim != 1 or not weight.shape == group.shape == fold.shape:
        shapes = f"weight {weight.shape}, group {group.shape}, fold {fold.shape}"
        raise ValueError(f"weight, group and fold have one value per unit; got {shapes}")
    if not np.all(np.isfinite(weight) & (weight >= 0)):
        raise ValueError(f"weights must be finite and at least 0; got {weight[~(np.isfinite(weight) & (weight >= 0))][0]}")
    seeds = _seeds(outcomes)
    for name, values in outcomes.items():
        if values.shape[:2] != (seeds, weight.size):
            raise ValueError(f"outcome {name!r} must have shape [{seeds} seeds, {weight.size} units, ...], not {values.shape}")


def _digest(*arrays: np.ndarray) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
