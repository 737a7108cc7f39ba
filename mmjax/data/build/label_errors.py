"""Candidates for wrong labels, from out-of-fold predictions (confident learning)."""

from typing import NamedTuple

import numpy as np

from mmjax.data.decode import DataError

__all__ = ["LabelErrors", "label_errors"]


class LabelErrors(NamedTuple):
    """joint: Int64[k k], items with given label i that are confidently of class j. rows: Int64[m], candidates, the most
    suspicious first. suggested: Int64[m], their likely classes."""

    joint: np.ndarray
    rows: np.ndarray
    suggested: np.ndarray


def label_errors(labels: np.ndarray, probabilities: np.ndarray) -> LabelErrors:
    """Confident learning (Northcutt, Jiang and Chuang, JAIR 2021).

    labels: Int[n] in [0, k). probabilities: Float[n k], of a model that has not seen the item (out of fold), else memorised
    errors are missed. The threshold of class j is the mean probability of j over the items with label j. An item is confidently
    of class j if its probability reaches that threshold; of several such classes the most probable counts. Candidates are the
    items outside the diagonal, sorted by the probability of the given label minus that of the suggested class.
    Raises DataError for other shapes or labels.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, np.float64)
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1]:
        raise DataError(f"labels {labels.shape} and probabilities {probabilities.shape} must be [n] and [n, classes]")
    classes = probabilities.shape[1]
    if len(labels) == 0 or labels.min() < 0 or labels.max() >= classes:
        raise DataError(f"labels must lie in [0, {classes}), one for each of at least one item")
    own = [probabilities[labels == j, j] for j in range(classes)]
    threshold = np.array([values.mean() if len(values) else np.inf for values in own])
    confident = np.where(probabilities >= threshold - 1e-12, probabilities, -1.0)
    suggested = confident.argmax(axis=1)
    certain = confident.max(axis=1) >= 0
    joint = np.zeros((classes, classes), np.int64)
    np.add.at(joint, (labels[certain], suggested[certain]), 1)
    rows = np.flatnonzero(certain & (suggested != labels))
    margin = probabilities[rows, labels[rows]] - probabilities[rows, suggested[rows]]
    rows = rows[np.argsort(margin, kind="stable")]
    return LabelErrors(joint, rows, suggested[rows])
