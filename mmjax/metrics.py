"""Metrics of classification, regression and retrieval as sums: what batches or shards return adds up, and the ratio is taken
once, at the end.

    confusion = sum(confusion_matrix(label, predicted, weight, classes) for each batch)
    precision, recall, f1 = macro(confusion)

Every row has a weight: 1, a fraction (1 / rows of its item, so that items count alike), or 0 for padding and for rows
outside a subset. A row of weight 0 leaves every sum as it was, whatever else it holds: NaN, or a label of -1. All
functions are pure, work under jit and vmap, and return float32; whole weights add up exactly as far as 2**24.

Conventions are scikit-learn's: row = true class, column = predicted class, and a ratio with an empty denominator is 0
(`zero_division=0`). Whether anything was counted at all is for the caller to ask: `confusion.sum()`.
"""

from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np


class PrecisionRecallF1(NamedTuple):
    """Three float32 arrays of one shape: [... c] per class, [...] averaged. Dimensionless, in 0..1."""

    precision: jax.Array
    recall: jax.Array
    f1: jax.Array


@flax.struct.dataclass
class CalibrationBins:
    """Sums over the rows whose confidence (largest probability) fell into each of equally wide bins; they add up.

    Each is Float[... bins]: weight, weight * confidence, and the weight of rows whose most probable class was right.
    """

    weight: jax.Array
    confidence: jax.Array
    correct: jax.Array


def _ratio(numerator, denominator):
    """numerator / denominator, and 0 (with gradient 0) where the denominator is 0."""
    return jnp.where(denominator == 0, 0.0, numerator / jnp.where(denominator == 0, 1.0, denominator))


def confusion_matrix(label, predicted, weight, classes: int) -> jax.Array:
    """label Int[n], predicted Int[n], weight Float[n] -> Float[c c]: the weight of rows of class i predicted as j.

    A scatter-add: under `vmap` over weights (a bootstrap, subgroups) no weighting costs [n c] or [n c*c] of memory.
    A label or a prediction outside 0..classes-1 is counted nowhere.
    """
    label, predicted = jnp.int32(label), jnp.int32(predicted)
    valid = (label >= 0) & (label < classes) & (predicted >= 0) & (predicted < classes)
    cell = jnp.where(valid, label * classes + predicted, classes * classes)
    return jnp.zeros(classes * classes).at[cell].add(jnp.float32(weight), mode="drop").reshape(classes, classes)


def accuracy(confusion) -> jax.Array:
    """confusion Float[... c c] -> Float[...]: the share of the weight that lies on the diagonal."""
    return _ratio(jnp.trace(confusion, axis1=-2, axis2=-1), confusion.sum((-2, -1)))


def _from_counts(hit, true, predicted) -> PrecisionRecallF1:
    """F1 = 2 hit / (true + predicted), the harmonic mean of precision and recall."""
    return PrecisionRecallF1(_ratio(hit, predicted), _ratio(hit, true), _ratio(2 * hit, true + predicted))


def precision_recall_f1(confusion) -> PrecisionRecallF1:
    """confusion Float[... c c] -> per class, each Float[... c]; 0 where undefined."""
    return _from_counts(jnp.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(-1), confusion.sum(-2))


def macro(confusion) -> PrecisionRecallF1:
    """confusion Float[... c c] -> each Float[...]: the mean over the classes that occur as the true class of some row.

    Equal to scikit-learn's `precision_recall_fscore_support(average="macro", labels=<classes in y_true>)`. A class that
    a subset (say, the test rows of one language) lacks does not pull the mean down; a row wrongly predicted as such a
    class still lowers the recall of its own. Macro F1 is the mean of the classes' F1, not the F1 of the means.
    """
    occurs = jnp.float32(confusion.sum(-1) > 0)
    return PrecisionRecallF1(*(_ratio((x * occurs).sum(-1), occurs.sum(-1)) for x in precision_recall_f1(confusion)))


def micro(confusion) -> PrecisionRecallF1:
    """confusion Float[... c c] -> each Float[...]: from counts summed over all classes, as scikit-learn's "micro".

    With one label and one prediction a row, all three equal the accuracy; papers report them, so here they are.
    """
    total = confusion.sum((-2, -1))
    return _from_counts(jnp.trace(confusion, axis1=-2, axis2=-1), total, total)


def calibration_bins(probabilities, label, weight, bins: int = 15) -> CalibrationBins:
    """probabilities Float[n c], label Int[n], weight Float[n] -> sums over `bins` equally wide bins of confidence.

    Bin i holds the confidences in (i / bins, (i + 1) / bins], as scikit-learn's `calibration_curve` has them.
    """
    confidence = jnp.float32(probabilities.max(-1))
    correct = jnp.float32(probabilities.argmax(-1) == label)
    inner_edges = np.linspace(0, 1, bins + 1, dtype=np.float32)[1:-1]
    bin_of_row = (confidence[:, None] > inner_edges[None, :]).sum(-1)
    # NaN is dropped here and not earlier: bins that depended on the weight would be found anew for each under vmap.
    total = lambda value: jnp.zeros(bins).at[bin_of_row].add(jnp.where(weight > 0, weight * value, 0.0))
    return CalibrationBins(total(jnp.ones_like(confidence)), total(confidence), total(correct))


def expected_calibration_error(bins: CalibrationBins) -> jax.Array:
    """Bins of Float[... bins] -> Float[...]: the mean over rows of |accuracy - mean confidence| of a row's bin, 0..1.

    Naeini et al., "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015; 15 bins as Guo et al.,
    "On calibration of modern neural networks", ICML 2017. Few rows in a bin bias it upwards: compare like with like.
    """
    return _ratio(jnp.abs(bins.correct - bins.confidence).sum(-1), bins.weight.sum(-1))


def multilabel_confusion(target, predicted, weight) -> jax.Array:
    """target Int[n c] of 0, 1 or -1 (unknown), predicted Bool[n c], weight Float[n] -> Float[c 2 2], a confusion a label.

    As scikit-learn's `multilabel_confusion_matrix`: [label, is it so?, was it said?]. Unknown entries are counted nowhere.
    """
    known = (target == 0) | (target == 1)
    weight = jnp.where(known, jnp.float32(weight)[:, None], 0.0)
    so, said = (jnp.stack([x == 0, x == 1], -1) for x in (target, jnp.int32(predicted)))
    return jnp.einsum("nc,nci,ncj->cij", weight, jnp.float32(so), jnp.float32(said), precision="highest")


def multilabel_macro(confusion) -> PrecisionRecallF1:
    """confusion Float[... c 2 2] -> each Float[...]: the mean over the labels that some row has, as `macro` does."""
    occurs = jnp.float32(confusion[..., 1, :].sum(-1) > 0)
    each = _from_counts(confusion[..., 1, 1], confusion[..., 1, :].sum(-1), confusion[..., :, 1].sum(-1))
    return PrecisionRecallF1(*(_ratio((x * occurs).sum(-1), occurs.sum(-1)) for x in each))


def multilabel_micro(confusion) -> PrecisionRecallF1:
    """confusion Float[... c 2 2] -> each Float[...]: from counts summed over all labels."""
    total = confusion.sum(-3)
    return _from_counts(total[..., 1, 1], total[..., 1, :].sum(-1), total[..., :, 1].sum(-1))


@flax.struct.dataclass
class RegressionSums:
    """Sums over rows, which add up, each Float[...]: weight; weight * |error| and * error^2; and the weighted moments of
    x = predicted - centre and y = target - centre."""

    weight: jax.Array
    absolute: jax.Array
    squared: jax.Array
    x: jax.Array
    y: jax.Array
    xx: jax.Array
    yy: jax.Array
    xy: jax.Array


def regression_sums(predicted, target, weight, centre: float = 0.0) -> RegressionSums:
    """predicted, target, weight, each Float[n] -> sums; a target of NaN (unknown) is counted nowhere.

    centre: where most targets are, in their unit. Correlation does not depend on it, but float32 loses digits where the
    values lie much further from it than from each other.
    """
    counts = (weight > 0) & ~jnp.isnan(target)
    x, y = jnp.float32(predicted) - centre, jnp.float32(target) - centre
    total = lambda value: jnp.sum(jnp.where(counts, weight * value, 0.0))
    return RegressionSums(*map(total, (jnp.ones_like(x), jnp.abs(x - y), (x - y) ** 2, x, y, x * x, y * y, x * y)))


def mean_absolute_error(sums: RegressionSums) -> jax.Array:
    """Float[...], in the unit of the target."""
    return _ratio(sums.absolute, sums.weight)


def mean_squared_error(sums: RegressionSums) -> jax.Array:
    """Float[...], in the squared unit of the target."""
    return _ratio(sums.squared, sums.weight)


def pearson(sums: RegressionSums) -> jax.Array:
    """Pearson's correlation of prediction and target, Float[...] in -1..1.

    0 where one of them does not vary: where its deviation is under 0.3 % of its size about the centre, float32 sees none.
    """

    def spread(square, plain):
        total = sums.weight * square
        return jnp.where(total - plain**2 > 1e-5 * total, total - plain**2, 0.0)

    covariance = sums.weight * sums.xy - sums.x * sums.y
    return jnp.clip(_ratio(covariance, jnp.sqrt(spread(sums.xx, sums.x)) * jnp.sqrt(spread(sums.yy, sums.y))), -1.0, 1.0)


def retrieval_ranks(similarity, relevant, candidate=None) -> jax.Array:
    """similarity Float[q d], relevant Bool[q d], candidate Bool[d] (None: all) -> Int[q], the rank of the best relevant one.

    1 is the first. Of equal similarities the irrelevant come first, and so does NaN: a model that says the same of
    everything must not look good. A query without any relevant candidate has rank d + 1, beyond all.
    """
    candidate = jnp.ones(similarity.shape[1], bool) if candidate is None else candidate
    relevant = relevant & candidate[None, :]
    best = jnp.max(jnp.where(relevant, similarity, -jnp.inf), axis=1, keepdims=True)
    before = candidate[None, :] & ~relevant & ~(similarity < best)
    return jnp.where(relevant.any(axis=1), 1 + before.sum(axis=1), similarity.shape[1] + 1)


def rank_counts(rank, weight, most: int) -> jax.Array:
    """rank Int[n], weight Float[n] -> Float[most]: the weight of the queries at each rank 1..most, larger ones at the last."""
    return jnp.zeros(most).at[jnp.minimum(rank, most) - 1].add(jnp.float32(weight))


def recall_at(counts, k: int) -> jax.Array:
    """Counts Float[... most] with k < most -> Float[...]: the share of queries with a relevant candidate among the first k."""
    return _ratio(counts[..., :k].sum(-1), counts.sum(-1))


def median_rank(counts) -> jax.Array:
    """Counts Float[... most] -> Float[...]: the median rank; between two middle ones their mean, as `numpy.median`."""
    below, half = jnp.cumsum(counts, axis=-1), counts.sum(-1, keepdims=True) / 2
    low, high = jnp.argmax(below >= half, axis=-1), jnp.argmax(below > half, axis=-1)
    return jnp.where(half[..., 0] > 0, (low + high) / 2 + 1, 0.0)
