"""Retrieval: the positions of the relevant candidates in the ranking of each query.

Outcomes: {"rank": Int[u], the position of the best relevant candidate, from 1; "ap": Float[u], the average precision; "ndcg":
Float[u], the normalised discounted cumulative gain; "direction": Int[u], 0 or 1}. A unit is a query. Every metric is NaN if all
weights are 0.

The metrics of this module are means over queries. `over_directions` computes a metric in each direction, such as image to
text and text to image, and takes the mean of both, as is usual for cross-modal retrieval.
"""

from collections.abc import Callable
from functools import cache

import jax.numpy as jnp
from jaxtyping import Array, Float

from mmjax.metrics.weighted import mean, ratio
from mmjax.types import Outcomes

__all__ = [
    "Value", "average_precision", "median_rank", "ndcg", "of_direction", "over_directions", "recall_at", "reciprocal_rank",
]

Value = Callable[[Outcomes, Array], Array]


@cache
def recall_at(k: int) -> Value:
    """R@k: the share of queries with a relevant candidate among the first k.

    Cross-modal retrieval calls this recall. Information retrieval calls it hit rate or success; its recall is the share of the
    relevant candidates that are among the first k. The two are equal if each query has one relevant candidate.
    """

    def value(outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
        return mean(outcomes["rank"] <= k, weight)

    return value


def reciprocal_rank(outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
    """MRR: the mean of 1 / rank."""
    return mean(1 / jnp.maximum(outcomes["rank"], 1), weight)


def average_precision(outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
    """mAP: the mean over queries of the average precision at the positions of the relevant candidates."""
    return mean(outcomes["ap"], weight)


def ndcg(outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
    """nDCG: the mean over queries of the normalised discounted cumulative gain."""
    return mean(outcomes["ndcg"], weight)


def median_rank(outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
    """The weighted median of the ranks. If two ranks are in the middle, their mean, as in NumPy."""
    order = jnp.argsort(outcomes["rank"])
    rank, below = outcomes["rank"][order], jnp.cumsum(weight[order])
    half = below[-1] / 2
    margin = 1e-6 * half  # fractional weights, such as 1/9, do not add up to exactly one half
    low, high = jnp.argmax(below >= half - margin), jnp.argmax(below > half + margin)
    return jnp.where(half > 0, (rank[low] + rank[high]) / 2, jnp.nan)


def _only(outcomes: Outcomes, weight: Float[Array, " u"], direction: int) -> Float[Array, " u"]:
    """The weights, 0 for queries of the other direction."""
    return jnp.where(outcomes["direction"] == direction, weight, 0)


@cache
def of_direction(metric: Value, direction: int) -> Value:
    """A metric of the queries of one direction."""

    def value(outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
        return metric(outcomes, _only(outcomes, weight, direction))

    return value


@cache
def over_directions(metric: Value) -> Value:
    """The mean of a metric over the directions that have queries of positive weight."""

    def value(outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
        weights = [_only(outcomes, weight, direction) for direction in (0, 1)]
        counted = jnp.stack([jnp.sum(weight) > 0 for weight in weights])
        values = jnp.stack([metric(outcomes, weight) for weight in weights])
        return ratio(jnp.sum(jnp.where(counted, values, 0)), jnp.sum(counted), jnp.nan)

    return value
