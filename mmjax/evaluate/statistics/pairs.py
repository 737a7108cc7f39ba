"""Estimates on units that depend on two groups each, such as an example with one input of another example."""

import math
from dataclasses import replace

import numpy as np
from jaxtyping import Int

from mmjax.evaluate.statistics.estimates import Estimate
from mmjax.evaluate.statistics.variance import Contributions, degrees_of_freedom, score_interval, variance

__all__ = ["of_pairs"]


def of_pairs(
    estimate: Estimate, weight: np.ndarray, first: Int[np.ndarray, " u"], second: Int[np.ndarray, " u"]
) -> Estimate:
    """The estimate with the interval for units that depend on both of their groups; not to be combined any more.

    estimate: of a smooth metric, or a `combination` of some, on units that are groups of their own (`group=np.arange(u)`).
    weight: Float[u]. first, second: the two groups of each unit; a group may be the first one of some units and the second one
    of others.

    The variance over groups is the dyadic one (Aronow, Samii and Assenova, 2015, "Cluster-robust variance estimation for dyadic
    data"): the products of the influences of all two units that share a group, in whatever role. It is the sum of squares over
    groups minus that over pairs of groups, whose units share both and were counted twice. As in CR2, the influence of a group
    is divided by sqrt(1 - share), for each role. Degrees of freedom are those of the role with fewer.
    """
    if not estimate.metric.smooth:
        raise ValueError("the metric is not smooth, so its units have no influences to add up")
    names, codes = np.unique(np.concatenate([first, second]), return_inverse=True)
    one, other = np.split(codes, 2)
    share = np.asarray(weight, np.float64) / max(np.sum(weight), 1e-30)
    influence = estimate.contributions.influence * np.sqrt(np.maximum(1 - share, 1e-6))  # without CR2 over units
    apart = one != other
    _, pair = np.unique(np.minimum(one, other) * len(names) + np.maximum(one, other), return_inverse=True)
    size = len(names)
    of_groups = _sums(one, influence, share, size) + _sums(other, influence * apart, share, size)
    of_both = _sums(pair, influence * apart, share, int(pair.max()) + 1)
    shares = [np.bincount(role, share) for role in (one, other)]
    groups = min(int(np.count_nonzero(sizes)) for sizes in shares)
    if groups < 2 or not math.isfinite(estimate.mean):
        return replace(estimate, low=math.nan, high=math.nan)
    degrees = min(map(degrees_of_freedom, shares))
    single, both = (
        variance([Contributions(parts, *estimate.contributions[1:])], degrees) for parts in (of_groups, of_both)
    )
    bounds = estimate.metric.bounds
    found = replace(
        single,
        groups=max(single.groups - both.groups, both.groups),
        interaction=max(single.interaction - both.interaction, 0.0),
        floor=abs(estimate.mean) / groups if bounds == (None, None) else 0.0,  # as of `combination`
    )
    low, high = score_interval(estimate.mean, found.error, found.degrees, bounds, groups)
    return replace(estimate, low=low, high=high)


def _sums(codes: np.ndarray, influence: np.ndarray, share: np.ndarray, count: int) -> np.ndarray:
    """Influences [s u] -> [s count], summed over the units of each code and divided by sqrt(1 - share)."""
    sums = np.stack([np.bincount(codes, of_seed, count) for of_seed in influence])
    return sums / np.sqrt(np.maximum(1 - np.bincount(codes, share, count), 1e-6))
