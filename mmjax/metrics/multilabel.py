"""Multi-label classification: each of l labels applies to a unit or does not.

Outcomes: {"target": Int[u l], 1 or 0, -1 if unknown; "predicted": Bool[u l]; "score": Float[u l], larger if the label is more
likely}. An unknown entry has weight 0. Every metric is in 0..1, and NaN if all weights are 0.

Ratios with an empty denominator are 0, as with `zero_division=0` in scikit-learn. A label occurs if it applies to a unit of
positive weight. Means over labels run over the labels that occur.
"""

from collections.abc import Callable
from functools import cache

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mmjax.metrics.classification import Counts, f1
from mmjax.metrics.weighted import mean, ratio
from mmjax.types import Outcomes

__all__ = [
    "average_precision_of_label", "average_precisions", "f1_macro", "f1_micro", "f1_of_label", "f1_samples",
    "mean_average_precision",
]


def _entry_weights(outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, "u l"]:
    return jnp.where(outcomes["target"] >= 0, weight[:, None], 0)


def _counts(outcomes: Outcomes, weight: Float[Array, "u l"], axis: int) -> Counts:
    """Counts over one axis of the entries: over units (0) for each label, or over labels (1) for each unit."""
    true, predicted = outcomes["target"] == 1, outcomes["predicted"]
    return Counts(*(jnp.sum(jnp.where(chosen, weight, 0), axis=axis) for chosen in (true & predicted, true, predicted)))


def f1_macro(outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
    """The mean over labels of the F1 score."""
    counts = _counts(outcomes, _entry_weights(outcomes, weight), 0)
    occurs = counts.true > 0
    return ratio(jnp.sum(jnp.where(occurs, f1(counts), 0)), jnp.sum(occurs), jnp.nan)


def f1_micro(outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
    """The F1 score of all entries together."""
    entries = _entry_weights(outcomes, weight)
    counts = Counts(*(jnp.sum(count) for count in _counts(outcomes, entries, 0)))
    return jnp.where(jnp.sum(entries) > 0, f1(counts), jnp.nan)


def f1_samples(outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
    """The mean over units of the F1 score of a unit's labels, which is 0 if it has neither true nor predicted labels."""
    known = (outcomes["target"] >= 0).astype(jnp.float32)
    return mean(f1(_counts(outcomes, known, 1)), weight)


def _average_precision(
    target: Int[Array, " u"], score: Float[Array, " u"], weight: Float[Array, " u"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """(the average precision of one label, the weight of its positives).

    The mean over positives of the precision among the units whose score is at least as high. Tied units share a threshold, as
    in scikit-learn's `average_precision_score`.
    """
    order = jnp.argsort(-score)
    ordered, positive = -score[order], jnp.where(target == 1, weight, 0)
    last = jnp.searchsorted(ordered, -score, side="right") - 1  # the last unit with the same score
    above = lambda values: jnp.cumsum(values[order])[last]
    return ratio(jnp.sum(positive * ratio(above(positive), above(weight))), jnp.sum(positive)), jnp.sum(positive)


def average_precisions(
    target: Int[Array, "u l"], score: Float[Array, "u l"], weight: Float[Array, " u"]
) -> tuple[Float[Array, " l"], Float[Array, " l"]]:
    """(the average precision of each label, 0 if it does not occur; the weight of its positives), both Float[l]."""
    entries = jnp.where(target >= 0, weight[:, None], 0)
    return jax.vmap(_average_precision, in_axes=1)(target, score, entries)


def mean_average_precision(outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
    """mAP: the mean over labels of the average precision."""
    precision, positives = average_precisions(outcomes["target"], outcomes["score"], weight)
    occurs = positives > 0
    return ratio(jnp.sum(jnp.where(occurs, precision, 0)), jnp.sum(occurs), jnp.nan)


@cache
def f1_of_label(k: int) -> Callable[[Outcomes, Array], Array]:
    """A metric: the F1 score of label k; NaN if it does not occur."""

    def value(outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
        chosen = {name: outcomes[name][:, k : k + 1] for name in ("target", "predicted")}
        return f1_macro(chosen, weight)

    return value


@cache
def average_precision_of_label(k: int) -> Callable[[Outcomes, Array], Array]:
    """A metric: the average precision of label k; NaN if it does not occur."""

    def value(outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
        chosen = {name: outcomes[name][:, k : k + 1] for name in ("target", "score")}
        return mean_average_precision(chosen, weight)

    return value
