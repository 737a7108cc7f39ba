"""Thresholds of near-duplicates from planted copies, with their precision and recall."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mmjax.data.build.nearest import Pairs

__all__ = ["PRECISION", "Tuned", "tune"]

PRECISION = 0.95  # wanted among the pairs of planted copies and originals


class Tuned(NamedTuple):
    """threshold: of the score. recall: {kind: share of its copies that are found}. precision: share of the pairs of copies
    and items that belong together; a lower bound, since earlier duplicates count as errors. copies: of each kind."""

    threshold: float
    recall: dict[str, float]
    precision: float
    copies: int


def tune(pairs: Pairs, original: np.ndarray, kinds: Sequence[str], same: np.ndarray, wanted: float = PRECISION) -> Tuned:
    """The lowest threshold whose precision reaches `wanted`; else the one with the highest precision.

    pairs: scored pairs of (copy, item). original: Int64[c], the item of each copy. kinds: the kind of each copy. same:
    Int64[n], equal for items that are known to be duplicates, such as byte-equal files.
    """
    copy, item = pairs.pairs[:, 0], pairs.pairs[:, 1]
    right = same[original[copy]] == same[item]
    order = np.argsort(-pairs.score, kind="stable")
    precision = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    score = pairs.score[order]
    last = np.flatnonzero(np.append(score[1:] < score[:-1], True)) if len(score) else np.zeros(0, int)  # of equal scores
    enough = last[precision[last] >= wanted]
    at = enough[-1] if len(enough) else last[int(np.argmax(precision[last]))] if len(last) else None
    threshold = float(score[at]) if at is not None else 1.0
    own = np.zeros(len(original))
    own[copy[item == original[copy]]] = pairs.score[item == original[copy]]
    of = np.array(kinds)
    recall = {kind: float((own[of == kind] >= threshold).mean()) for kind in dict.fromkeys(kinds)}
    reached = float(precision[at]) if at is not None else 0.0
    return Tuned(threshold, recall, reached, int((of == kinds[0]).sum()) if len(of) else 0)
