"""The variance of a mean over seeds and groups, its degrees of freedom, and intervals from both."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit

LEVEL, POWER = 0.95, 0.8
Bounds = tuple[float | int | None, float | int | None]


class Side(NamedTuple):
    """One model. influence: Float[s j]; the sum of its squares over j estimates a variance. training: Float[s f],
    each seed's value; with several folds, as a function of the training on one fold, which is independent of the others."""

    influence: np.ndarray
    training: np.ndarray


@dataclass(frozen=True)
class Variance:
    """The parts of the variance of an estimate (Cameron, Gelbach and Miller, 2011), and the degrees of freedom of two of them.

    groups: of the sums over each group of units; seeds: of the values of each training. Both contain the interaction of the
    two. Without several seeds, seeds and interaction are 0.
    """

    groups: float
    seeds: float
    interaction: float
    group_degrees: float
    seed_degrees: float

    @property
    def total(self) -> float:
        return float(np.max([self.groups + self.seeds - self.interaction, self.groups, self.seeds]))

    @property
    def degrees(self) -> float:
        """Degrees of freedom of `total` (Satterthwaite, 1946), at least 1."""
        parts = self.groups**2 / self.group_degrees + self.seeds**2 / self.seed_degrees
        return min(max(self.total**2 / parts, 1.0), 1e9) if parts > 0 else self.group_degrees

    def of_more(self, examples: float = 1.0, seeds: float = 1.0) -> "Variance":
        """The variance expected from `examples` times as many groups and `seeds` times as many seeds."""
        both = self.interaction / (examples * seeds)
        groups = max(self.groups - self.interaction, 0.0) / examples + both
        own = max(self.seeds - self.interaction, 0.0) / seeds + both
        return Variance(groups, own, both, self.group_degrees * examples, self.seed_degrees * seeds)


def variance(models: Sequence[Side], group_degrees: float) -> Variance:
    """Of one model's mean over its seeds, or of the difference of two models' means.

    Both models see the same groups, so their influences are subtracted group by group. Their seeds are independent: the
    variances add up. A model with one seed adds no variance of seeds.
    """
    means = [side.influence.mean(axis=0) for side in models]
    groups = np.sum((means[0] - means[1] if len(means) == 2 else means[0]) ** 2)
    seeds = interaction = over_degrees = 0.0
    for side, mean in zip(models, means):
        count = len(side.influence)
        if count > 1:
            parts = side.training.var(axis=0, ddof=1) / count
            seeds += parts.sum()
            over_degrees += np.sum(parts**2) / (count - 1)
            interaction += np.sum((side.influence - mean) ** 2) / (count * (count - 1))
    seed_degrees = seeds**2 / over_degrees if over_degrees > 0 else np.inf
    return Variance(float(groups), float(seeds), float(interaction), group_degrees, float(seed_degrees))


def degrees_of_freedom(share: np.ndarray) -> float:
    """Of the CR2 variance of a mean over groups with these shares of the weight (Bell and McCaffrey, 2002), at least 1.

    The working model is that the means of the groups are independent with one variance, which is the worst case: unequal
    groups then count as fewer. With k equal groups this is k - 1.

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
    """Two-sided, of a t statistic. Without any error, 1 if there is no difference and 0 if there is one."""
    return float(2 * stdtr(degrees, -abs(difference) / error)) if error > 0 else float(difference == 0)


def half_width(error: float, degrees: float) -> float:
    return float(stdtrit(degrees, (1 + LEVEL) / 2)) * error


def detectable(found: Variance) -> float:
    """The difference that a test of this variance detects with a probability of 80 %."""
    return float((stdtrit(found.degrees, (1 + LEVEL) / 2) + stdtrit(found.degrees, POWER)) * math.sqrt(found.total))


def clipped_interval(mean: float, error: float, degrees: float, bounds: Bounds) -> tuple[float, float]:
    """mean +- t error, within the bounds of the metric."""
    low, high = (default if bound is None else float(bound) for bound, default in zip(bounds, (-math.inf, math.inf)))
    half = half_width(error, degrees)
    return max(mean - half, low), min(mean + half, high)


def score_interval(mean: float, error: float, degrees: float, bounds: Bounds, groups: int) -> tuple[float, float]:
    """The interval of a smooth metric's value; it stays within the bounds of the metric.

    Wilson's score interval (1927): all values v with (mean - v)**2 <= t**2 error**2 f(v) / f(mean). f is (v - low) (high - v)
    between two bounds, as for a proportion, the distance to the bound if there is one only, as for a count, and constant
    without bounds, where the interval is mean +- t error.

    A mean at a bound shows no error (all units are right, say). Between two bounds the interval is then that of a proportion
    of `groups` trials; with one bound there is none (NaN, NaN).
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
