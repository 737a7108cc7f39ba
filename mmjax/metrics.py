"""Classification metrics as sums: what batches or shards return adds up, and the ratio is taken once, at the end.

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
