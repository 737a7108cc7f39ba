"""Thresholds of near-duplicates from planted copies, with their precision and recall.

A set may have copies that no column declares. A planted copy of an item then matches the item's other copies too, and such a
match looks like an error. Three things keep the threshold from rising until it finds none of them: a planted copy counts as one
error however many other items it matches; copies like the planted ones are expected among the matches at a share that is
estimated from all thresholds (mixture proportion estimation: Blanchard, Lee and Scott, 2010); and precision is stated as a
range, since no planted copy can tell such a match from an error.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mmjax.data.build.nearest import Pairs

__all__ = ["BETA", "SEEN", "TOLERANCE", "Tuned", "tune"]

BETA = 0.5  # of the F-measure: precision counts more than recall, since chains of wrong pairs join many items
TOLERANCE = 0.01  # of the F-measure
SEEN = 0.1  # recall of a kind from which its scores can describe undeclared copies; fewer would leave the share to chance


class Tuned(NamedTuple):
    """threshold: of the score. recall: {kind: share of its copies that are joined to their original, or to an item that is
    known to belong with it}. precision: found copies / (found copies + copies that are joined to another item); a lower bound,
    since an undeclared duplicate counts as an error. precision_at_most: the same without the errors that undeclared copies
    explain. undeclared: the share of planted copies that match one by this estimate. copies: of each kind."""

    threshold: float
    recall: dict[str, float]
    precision: float
    precision_at_most: float
    undeclared: float
    copies: int


def tune(pairs: Pairs, original: np.ndarray, kinds: Sequence[str], same: np.ndarray, beta: float = BETA) -> Tuned:
    """The lowest threshold whose F-measure is within 0.01 of the highest, since a leak costs more than a joined item.

    The F-measure is of recall and of `precision_at_most`. The estimate of undeclared copies supposes that they are altered as
    the planted ones of one kind; the share is the largest that the matches allow at every threshold, for kinds of which a
    tenth is found if every match counts as an error. Without undeclared copies there are no matches at the highest scores, so
    the share is 0.

    pairs: scored pairs of (copy, item). original: Int64[c], the item of each copy. kinds: the kind of each copy. same:
    Int64[n], equal for items that are known to be duplicates, such as byte-equal files. beta: the weight of recall.
    """
    copy, item = pairs.pairs[:, 0], pairs.pairs[:, 1]
    right = same[original[copy]] == same[item]
    own, other = (_highest(copy[which], pairs.score[which], len(original)) for which in (right, ~right))
    of, names = np.array(kinds), list(dict.fromkeys(kinds))
    if not np.isfinite(own).any():
        return Tuned(1.0, dict.fromkeys(names, 0.0), 0.0, 0.0, 0.0, sum(kind == kinds[0] for kind in kinds))
    scores = np.unique(pairs.score)[::-1]
    found, wrong = _reaching(own, scores), _reaching(other, scores)
    first = _best(found, wrong, len(own), beta)
    explained, undeclared = np.zeros(len(scores)), 0.0
    for kind in names:
        recall = _reaching(own[of == kind], scores) / (of == kind).sum()
        if recall[first] >= SEEN:
            share = float((wrong[recall >= SEEN] / recall[recall >= SEEN]).min())
            explained, undeclared = np.maximum(explained, share * recall), max(undeclared, share / len(own))
    at = _best(found, wrong - explained, len(own), beta)
    # Half way to the next lower score, so that a rounding error elsewhere changes nothing.
    threshold = float((scores[at] + scores[at + 1]) / 2) if at + 1 < len(scores) else float(scores[at] - 1e-6)
    least, most = (float(found[at] / (found[at] + errors)) for errors in (wrong[at], wrong[at] - explained[at]))
    return Tuned(
        threshold, {kind: float((own[of == kind] >= threshold).mean()) for kind in names}, least, most, undeclared,
        int((of == kinds[0]).sum()),
    )  # fmt: skip


def _highest(copy: np.ndarray, score: np.ndarray, copies: int) -> np.ndarray:
    """Float64[copies]: the highest score of each copy, -inf without one."""
    highest = np.full(copies, -np.inf)
    np.maximum.at(highest, copy, score)
    return highest


def _reaching(highest: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """How many of `highest` reach each of the scores."""
    return np.searchsorted(np.sort(-highest), -scores, side="right")


def _best(found: np.ndarray, wrong: np.ndarray, copies: int, beta: float) -> int:
    """The last threshold whose F-measure is within the tolerance of the highest. found, wrong: copies, for falling scores."""
    precision, recall = found / np.maximum(found + wrong, 1e-12), found / copies
    measure = (1 + beta**2) * precision * recall / np.maximum(beta**2 * precision + recall, 1e-12)
    return int(np.flatnonzero(measure >= measure.max() - TOLERANCE)[-1])
