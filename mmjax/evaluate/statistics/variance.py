"""The variance of a mean over seeds and groups, its degrees of freedom, and intervals from both."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit

__all__ = [
    "LEVEL", "POWER", "TWO_TRAININGS", "Bounds", "Contributions", "Variance", "clipped_interval", "degrees_of_freedom",
    "detectable", "half_width", "p_value", "score_interval", "variance",
]

LEVEL, POWER = 0.95, 0.8
TWO_TRAININGS = 4 / 3  # at most so many degrees of freedom for two seeds: Welch's estimate from two values each is too high
Bounds = tuple[float | int | None, float | int | None]


class Contributions(NamedTuple):
    """The contributions of groups and of trainings to the values of s seeds.

    influence: Float[s j]; the sum of its squares over j estimates the variance over groups. training: Float[s f], the value of
    each seed; with f folds, its dependence on the training of each fold, which is independent of the other folds. folds: their
    effective number, f for folds of equal weight.
    """

    influence: np.ndarray
    training: np.ndarray
    folds: float


@dataclass(frozen=True)
class Variance:
    """The two-way components of the variance of an estimate (Cameron, Gelbach and Miller, 2011).

    groups: the variance over groups of units. seeds: the variance over trainings. Both contain the interaction of the two. With
    one seed, seeds and interaction are 0. group_degrees, seed_degrees: degrees of freedom. floor: the least standard error.
    """

    groups: float
    seeds: float
    interaction: float
    group_degrees: float
    seed_degrees: float
    floor: float = 0.0

    @property
    def total(self) -> float:
        """groups + seeds - interaction, but at least each of the two, since noise may make the interaction too large."""
        return float(np.max([self.groups + self.seeds - self.interaction, self.groups, self.seeds]))

    @property
    def error(self) -> float:
        """The standard error."""
        return float(np.maximum(np.sqrt(self.total), self.floor))

    @property
    def degrees(self) -> float:
        """Degrees of freedom of `total` (Satterthwaite, 1946), at least 1."""
        parts = self.groups**2 / self.group_degrees + self.seeds**2 / self.seed_degrees
        return min(max(self.total**2 / parts, 1.0), 1e9) if parts > 0 else self.group_degrees

    def extrapolated(self, examples: float = 1.0, seeds: float = 1.0) -> "Variance":
        """The variance expected with `examples` times as many groups and `seeds` times as many seeds."""
        both = self.interaction / (examples * seeds)
        groups = max(self.groups - self.interaction, 0.0) / examples + both
        trainings = max(self.seeds - self.interaction, 0.0) / seeds + both
        return Variance(
            groups, trainings, both, self.group_degrees * examples, self.seed_degrees * seeds, self.floor / examples
        )


def variance(models: Sequence[Contributions], group_degrees: float) -> Variance:
    """The variance of one model's mean over seeds, or of the difference of the means of two models.

    Two models have the same groups, so their influences are subtracted group by group. Their seeds are independent, so the
    variances over seeds add up. A model with one seed adds no variance over seeds. The trainings of all folds are assumed to
    vary equally, so their degrees of freedom add up.
    """
    means = [model.influence.mean(axis=0) for model in models]
    groups = np.sum((means[0] - means[1] if len(means) == 2 else means[0]) ** 2)
    seeds = interaction = over_degrees = 0.0
    for model, mean in zip(models, means):
        count = len(model.influence)
        if count > 1:
            own = model.training.var(axis=0, ddof=1).sum() / count
            seeds += own
            over_degrees += own**2 / (model.folds * (count - 1))
            interaction += np.sum((model.influence - mean) ** 2) / (count * (count - 1))
    seed_degrees = seeds**2 / over_degrees if over_degrees > 0 else np.inf
    if max(model.training.size for model in models) == 2:
        seed_degrees = min(seed_degrees, TWO_TRAININGS)
    return Variance(float(groups), float(seeds), float(interaction), group_degrees, float(seed_degrees))


def degrees_of_freedom(share: np.ndarray) -> float:
    """Degrees of freedom, at least 1, of the CR2 variance of a mean over groups (Bell and McCaffrey, 2002).

    share: Float[k], each group's share of the weight. The working model is that the means of the groups are independent with
    equal variances, which is the worst case: unequal groups then count as fewer. With k equal groups the result is k - 1.

    CR2 is the quadratic form y' M y with M = A' D A, A = I - 1 h' and D = diag(h**2 / (1 - h)). By Satterthwaite's rule it has
    trace(M)**2 / trace(M M) degrees of freedom; since A A' = I + H - h_i - h_j with H = sum(h**2), both traces are sums.
    """
    h = share[share > 0]
    total, d = np.sum(h**2), h**2 / (1 - h)
    trace = np.sum(d * (1 - 2 * h + total))
    d0, d1, d2 = d.sum(), d @ h, d @ h**2
    square = (total * d0) ** 2 + 2 * d0 * d2 + 2 * d1**2 - 4 * total * d0 * d1 + np.sum(d**2 * (1 + 2 * (total - 2 * h)))
    return float(max(trace**2 / square, 1.0))


def p_value(difference: float, error: float, degrees: float) -> float:
    """The two-sided p-value of a t statistic. With an error of 0: 1 if the difference is 0, else 0."""
    return float(2 * stdtr(degrees, -abs(difference) / error)) if error > 0 else float(difference == 0)


def half_width(error: float, degrees: float) -> float:
    """Half the width of the 95 % t interval of a value with this standard error."""
    return float(stdtrit(degrees, (1 + LEVEL) / 2)) * error


def detectable(found: Variance, alpha: float = 1 - LEVEL) -> float:
    """The smallest true difference that a two-sided test with error rate `alpha` detects with 80 % power."""
    return float((stdtrit(found.degrees, 1 - alpha / 2) + stdtrit(found.degrees, POWER)) * found.error)


def clipped_interval(mean: float, error: float, degrees: float, bounds: Bounds) -> tuple[float, float]:
    """mean +- t error, within the bounds of the metric."""
    low, high = (default if bound is None else float(bound) for bound, default in zip(bounds, (-math.inf, math.inf)))
    half = half_width(error, degrees)
    return max(mean - half, low), min(mean + half, high)


def score_interval(mean: float, error: float, degrees: float, bounds: Bounds, groups: int) -> tuple[float, float]:
    """The interval of a metric's value; it stays within the bounds of the metric.

    Wilson's score interval (1927): all values v with (mean - v)**2 <= t**2 error**2 f(v) / f(mean). With two bounds, f(v) is
    (v - low) (high - v), as for a proportion; with one bound it is the distance to the bound, as for a count; without bounds it
    is constant, and the interval is mean +- t error.

    The error of a mean at a bound is 0 (all units are right, for instance). With two bounds, the interval then equals the
    interval of a proportion in `groups` trials; with one bound it is (NaN, NaN).
    """
    low, high = bounds
    if low is None and high is None:
        return clipped_interval(mean, error, degrees, bounds)
    t2 = half_width(1.0, degrees) ** 2
    if low is not None and high is not None:
        p = min(max((mean - low) / (high - low), 0.0), 1.0)
        at_bound = min(p, 1 - p) < 1e-6
        ratio = t2 / groups if at_bound else t2 * (error / (high - low)) ** 2 / (p * (1 - p))
        middle, half = (p + ratio / 2) / (1 + ratio), math.sqrt(ratio * p * (1 - p) + ratio**2 / 4) / (1 + ratio)
        return low + (high - low) * max(middle - half, 0.0), low + (high - low) * min(middle + half, 1.0)
    distance = mean - low if low is not None else high - mean
    if distance < 1e-9:
        return math.nan, math.nan
    ratio = t2 * error**2 / distance
    middle, half = distance + ratio / 2, math.sqrt(ratio * distance + ratio**2 / 4)
    near, far = max(middle - half, 0.0), middle + half
    return (low + near, low + far) if low is not None else (high - far, high - near)
