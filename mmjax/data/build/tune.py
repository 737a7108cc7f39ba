"""Thresholds of near-duplicates from planted copies, with their precision and recall."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mmjax.data.build.nearest import Pairs

__all__ = ["BETA", "TOLERANCE", "Tuned", "tune"]

BETA = 0.5  # of the F-measure: precision counts more than recall, since chains of wrong pairs join many items
TOLERANCE = 0.01  # of the F-measure


class Tuned(NamedTuple):
    """threshold: of the score. recall: {kind: share of its copies that are joined to their original, or to an item that is
    known to belong with it}. precision: share of the pairs of copies and items that belong together; a lower bound, since
    earlier duplicates count as errors. copies: of each kind."""

    threshold: float
    recall: dict[str, float]
    precision: float
    copies: int


def tune(pairs: Pairs, original: np.ndarray, kinds: Sequence[str], same: np.ndarray, beta: float = BETA) -> Tuned:
    """The lowest threshold whose F-measure is within 0.01 of the highest, since a leak costs more than a joined item. The
    duplicates that a set has already lower the precision at every threshold alike, so a fixed precision would be out of reach
    for sets with many of them.

    pairs: scored pairs of (copy, item). original: Int64[c], the item of each copy. kinds: the kind of each copy. same:
    Int64[n], equal for items that are known to be duplicates, such as byte-equal files. beta: the weight of recall.
    """
    copy, item = pairs.pairs[:, 0], pairs.pairs[:, 1]
    own = np.full(len(original), -np.inf)
    right = same[original[copy]] == same[item]
    np.maximum.at(own, copy[right], pairs.score[right])
    of = np.array(kinds)
    if not np.isfinite(own).any():
        return Tuned(1.0, {kind: 0.0 for kind in dict.fromkeys(kinds)}, 0.0, sum(kind == kinds[0] for kind in kinds))
    order = np.argsort(-pairs.score, kind="stable")
    score = pairs.score[order]
    precision = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    recall = np.searchsorted(np.sort(-own), -score, side="right") / len(own)
    measure = (1 + beta**2) * precision * recall / np.maximum(beta**2 * precision + recall, 1e-12)
    measure[np.append(score[1:] == score[:-1], False)] = -1  # equal scores are on the same side of a threshold
    at = int(np.flatnonzero(measure >= measure.max() - TOLERANCE)[-1])
    # Half way to the next lower score, so that a rounding error elsewhere changes nothing.
    threshold = float((score[at] + score[at + 1]) / 2) if at + 1 < len(score) else float(score[at] - 1e-6)
    found = {kind: float((own[of == kind] >= threshold).mean()) for kind in dict.fromkeys(kinds)}
    return Tuned(threshold, found, float(precision[at]), int((of == kinds[0]).sum()))
