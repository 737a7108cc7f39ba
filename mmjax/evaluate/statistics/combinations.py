"""Linear combinations of estimates on the same units, such as a Shapley value or the gap between two groups."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mmjax.evaluate.statistics.differences import Difference
from mmjax.evaluate.statistics.estimates import Estimate, Sample
from mmjax.evaluate.statistics.variance import LEVEL, Contributions, Variance, half_width, p_value, variance
from mmjax.types import Metric

__all__ = ["against_zero", "combination"]


def combination(estimates: Sequence[Estimate], coefficients: Sequence[float | int], higher_is_better: bool = True) -> Estimate:
    """sum(coefficient * estimate) with its 95 % interval.

    Influence is linear in the metric, so the influence of a group on the combination is the combination of its influences; the
    same holds for the value of each seed. Seeds are paired: seed k of all estimates is the same trained model. Estimates of one
    seed, such as baselines, count for all seeds. The interval is mean +- t error; as for a difference, the error is at least
    |mean| / groups, since a value that is equal in all groups may be another one in the next.

    The estimates may be of different weights, such as those of two groups of the same units. They must have the same units in
    the same groups and folds; those that are not smooth must have equal weights too. ValueError for other seeds or groups.
    """
    if not estimates or len(estimates) != len(coefficients):
        raise ValueError(f"there are {len(estimates)} estimates and {len(coefficients)} coefficients; give one for each")
    seeds = {len(one.per_seed) for one in estimates}
    shapes = {one.contributions.influence.shape[1:] for one in estimates}
    smooth = {one.metric.smooth for one in estimates}
    if len(seeds - {1}) > 1 or len(shapes) > 1 or len(smooth) > 1:
        raise ValueError("the estimates have different seeds or groups of units, or some of them are not smooth")
    if smooth == {False} and len({one.sample.fingerprint for one in estimates}) > 1:
        raise ValueError("the estimates are not smooth, and have different weights, so they are not paired")
    terms = list(zip(coefficients, estimates))
    per_seed = sum(c * np.asarray(one.per_seed) for c, one in terms)
    per_seed = np.broadcast_to(per_seed, max(seeds))
    influence = sum(c * np.float64(one.contributions.influence) for c, one in terms)
    training = sum(c * np.float64(one.contributions.training) for c, one in terms)
    folds = min(one.contributions.folds for one in estimates)
    contributions = Contributions(influence, training, folds)
    used = [one for c, one in terms if c]
    sample = used[0].sample if len({one.sample.fingerprint for one in used}) == 1 else _joined([one.sample for one in used])
    mean = float(per_seed.mean()) if np.isfinite(per_seed).all() else math.nan
    low = high = math.nan
    found = _variance(mean, contributions, sample)
    if found is not None:
        half = half_width(found.error, found.degrees)
        low, high = mean - half, mean + half
    metric = Metric(used[0].metric.value, higher_is_better, used[0].metric.smooth, (None, None))
    digests = tuple(_hash([one.digests[k % len(one.digests)] for one in estimates]) for k in range(max(seeds)))
    return Estimate(mean, low, high, tuple(per_seed.tolist()), metric, sample, contributions, digests)


def against_zero(gap: Estimate) -> Difference:
    """A `combination` that is 0 under the null hypothesis, such as the gap between two groups, with its p-value and verdict."""
    better, units, seeds = gap.metric.higher_is_better, gap.sample.units, len(gap.per_seed)
    found = _variance(gap.mean, gap.contributions, gap.sample)
    if found is None:
        return Difference(gap.mean, math.nan, math.nan, math.nan, "inconclusive", better, None, units, seeds)
    p = p_value(gap.mean, found.error, found.degrees)
    decided = "better" if (gap.mean > 0) == better else "worse"
    verdict = "inconclusive" if p > 1 - LEVEL or gap.mean == 0 else decided
    return Difference(gap.mean, gap.low, gap.high, p, verdict, better, found, units, seeds)


def _variance(mean: float, contributions: Contributions, sample: Sample) -> Variance | None:
    """None if it is undefined."""
    found = variance([contributions], sample.degrees)
    if not math.isfinite(mean) or not math.isfinite(found.total) or sample.groups < 2:
        return None
    return replace(found, floor=abs(mean) / sample.groups)


def _joined(samples: Sequence[Sample]) -> Sample:
    """The sample of estimates with different weights: its degrees of freedom are the fewest of them."""
    fingerprint = _hash([sample.fingerprint for sample in samples])
    few = min(samples, key=lambda sample: sample.degrees)
    return Sample(fingerprint, sum(sample.units for sample in samples), few.groups, few.degrees)


def _hash(texts: Sequence[str]) -> str:
    return hashlib.blake2b("".join(texts).encode(), digest_size=16).hexdigest()
