"""How far a confidence can be trusted: overconfidence, selective prediction, and out-of-distribution detection.

The outcomes are those of `metrics.classification`, {"label", "predicted": Int[u], "probability": Float[u]}, unless a metric
lists others. Units are accepted in the order of falling probability, ties in the order of the units.
"""

from functools import cache, partial

import jax.numpy as jnp
from jaxtyping import Array, Float

from mmjax.metrics.weighted import mean, ratio
from mmjax.types import Metric, Outcomes

__all__ = ["accuracy_at", "auroc", "cross_entropy", "overconfidence", "risk_area"]


def overconfidence(outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
    """The mean probability of the predicted class minus the accuracy, in -1..1."""
    return mean(outcomes["probability"] - (outcomes["label"] == outcomes["predicted"]), weight)


def cross_entropy(outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
    """The mean of {"nats": Float[u]}, -log probability of the true class."""
    return mean(outcomes["nats"], weight)


@cache
def accuracy_at(coverage: float) -> Metric:
    """The accuracy on the most confident units that make up this share of the weight; the last one may count in part.

    Not smooth: its derivative by the weight of an accepted unit depends on whether the last accepted unit is right.
    """
    return Metric(partial(_accuracy_at, coverage), smooth=False)


def _accuracy_at(coverage: float, outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
    hit, weight = _by_confidence(outcomes, weight)
    before = jnp.cumsum(weight) - weight
    accepted = jnp.clip(coverage * jnp.sum(weight) - before, 0, weight)
    return ratio(jnp.sum(accepted * hit), jnp.sum(accepted), jnp.nan)


def risk_area(outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
    """The area under the risk-coverage curve (AURC): the error rate of the accepted units, averaged over all coverages.

    Geifman, Uziel and El-Yaniv, "Bias-reduced uncertainty estimation for deep neural classifiers", ICLR 2019: the mean over
    units of the error rate of all units that are at least as confident.
    """
    hit, weight = _by_confidence(outcomes, weight)
    errors = ratio(jnp.cumsum(weight * (1 - hit)), jnp.cumsum(weight))
    return mean(errors, weight)


def _by_confidence(outcomes: Outcomes, weight: Float[Array, " u"]) -> tuple[Float[Array, " u"], Float[Array, " u"]]:
    """(1 for correct, weight) of the units, the most confident first."""
    order = jnp.argsort(-outcomes["probability"], stable=True)
    hit = (outcomes["label"] == outcomes["predicted"]).astype(weight.dtype)
    return hit[order], weight[order]


def auroc(outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
    """P(inside > outside) + P(inside = outside) / 2 for a random unit of each kind: the area under the ROC curve.

    outcomes: {"inside": Float[u], the score of each unit; "outside": Float[u], the score of its scrambled version}.
    """
    order = jnp.argsort(outcomes["outside"])
    scores = outcomes["outside"][order]
    below = jnp.concatenate([jnp.zeros(1), jnp.cumsum(weight[order])])
    at = lambda side: below[jnp.searchsorted(scores, outcomes["inside"], side=side)]
    return ratio(mean((at("left") + at("right")) / 2, weight), jnp.sum(weight), jnp.nan)
