"""Classification: one of several classes per unit.

Outcomes: {"label": Int[u], the true class; "predicted": Int[u], negative if there is no prediction; "probability": Float[u],
the probability of the predicted class, in 0..1}. Every metric is in 0..1, and NaN if all weights are 0.

A ratio with an empty denominator is 0, as with `zero_division=0` in scikit-learn. A class occurs if it is the true class of a
unit of positive weight. Macro averages run over the classes that occur, so a class without units in some group (one language,
for instance) does not lower the average of that group. They equal scikit-learn's
`precision_recall_fscore_support(average="macro", labels=<classes in y_true>)`. Macro F1 is the mean of the F1 scores, not the
F1 of the means.
"""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mmjax.metrics.weighted import mean, ratio
from mmjax.types import Outcomes

__all__ = [
    "BINS", "Counts", "accuracy", "calibration_error", "confusion_matrix", "f1", "f1_macro", "of_class", "precision",
    "precision_macro", "recall", "recall_macro",
]

BINS = 15  # number of bins of the calibration error, as in Guo et al. (2017)


class Counts(NamedTuple):
    """Total weights of one class, or of each class in an array.

    hit: units of the class that are predicted correctly. true: units of the class. predicted: units predicted as the class.
    """

    hit: Float[Array, "..."]
    true: Float[Array, "..."]
    predicted: Float[Array, "..."]


def precision(counts: Counts) -> Float[Array, "..."]:
    """hit / predicted; 0 if nothing is predicted as the class."""
    return ratio(counts.hit, counts.predicted)


def recall(counts: Counts) -> Float[Array, "..."]:
    """hit / true; 0 if the class does not occur."""
    return ratio(counts.hit, counts.true)


def f1(counts: Counts) -> Float[Array, "..."]:
    """2 hit / (true + predicted), the harmonic mean of precision and recall."""
    return ratio(2 * counts.hit, counts.true + counts.predicted)


def _counts(outcomes: Outcomes, weight: Float[Array, " u"]) -> Counts:
    """Counts Float[u] with a slot for each class that is the label of a unit; all other slots are 0.

    The slot of a class is its first position among the sorted labels, so the number of classes need not be known.
    """
    label, predicted = outcomes["label"], outcomes["predicted"]
    ordered = jnp.sort(label)
    own, other = jnp.searchsorted(ordered, label), jnp.searchsorted(ordered, predicted)
    known = ordered.at[other].get(mode="clip") == predicted
    add = lambda slot, weight: jnp.zeros(label.shape[0]).at[slot].add(weight)
    hit = add(own, jnp.where(label == predicted, weight, 0))
    return Counts(hit, add(own, weight), add(other, jnp.where(known, weight, 0)))


def _macro(score: Callable[[Counts], Array], outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
    counts = _counts(outcomes, weight)
    occurs = counts.true > 0
    return ratio(jnp.sum(jnp.where(occurs, score(counts), 0)), jnp.sum(occurs), jnp.nan)


def accuracy(outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
    """The weighted share of correct predictions. Micro precision, recall and F1 equal it, since a unit has one class."""
    return mean(outcomes["label"] == outcomes["predicted"], weight)


def f1_macro(outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
    """The mean F1 score of the classes that occur."""
    return _macro(f1, outcomes, weight)


def precision_macro(outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
    """The mean precision of the classes that occur."""
    return _macro(precision, outcomes, weight)


def recall_macro(outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
    """The mean recall of the classes that occur."""
    return _macro(recall, outcomes, weight)


@cache
def of_class(score: Callable[[Counts], Array], k: int) -> Callable[[Outcomes, Array], Array]:
    """A metric: the score (`precision`, `recall` or `f1`) of class k; NaN if the class does not occur."""

    def value(outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
        true, predicted = outcomes["label"] == k, outcomes["predicted"] == k
        counts = Counts(*(jnp.sum(weight * chosen) for chosen in (true & predicted, true, predicted)))
        return jnp.where(counts.true > 0, score(counts), jnp.nan)

    return value


def calibration_error(outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
    """Expected calibration error (ECE): the weighted mean over bins of |accuracy - mean probability|, in 0..1.

    Naeini et al., "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015; 15 equally wide bins as in Guo
    et al., "On calibration of modern neural networks", ICML 2017. Bin i holds the probabilities in (i / 15, (i + 1) / 15], as
    in scikit-learn's `calibration_curve`. Bins with few units bias the value upwards.
    """
    probability = outcomes["probability"]
    inner_edges = np.linspace(0, 1, BINS + 1, dtype=np.float32)[1:-1]
    bin_of_unit = jnp.sum(probability[:, None] > inner_edges[None, :], axis=1)
    gap = jnp.where(weight > 0, (outcomes["label"] == outcomes["predicted"]) - probability, 0)
    gaps = jnp.zeros(BINS).at[bin_of_unit].add(weight * gap)
    return ratio(jnp.sum(jnp.abs(gaps)), jnp.sum(weight), jnp.nan)


def confusion_matrix(label: np.ndarray, predicted: np.ndarray, weight: np.ndarray, classes: int) -> np.ndarray:
    """Float64[c c]: entry [i, j] is the weight of the units of class i that are predicted as j. Runs on the host, for panels.

    label, predicted: Int[u]; values outside 0..c-1 are not counted. weight: Float[u].
    """
    valid = (label >= 0) & (label < classes) & (predicted >= 0) & (predicted < classes)
    cell = label[valid].astype(np.int64) * classes + predicted[valid]
    return np.bincount(cell, weight[valid], minlength=classes * classes).reshape(classes, classes)
