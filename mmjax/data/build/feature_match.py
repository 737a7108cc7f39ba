"""Near-duplicates by the features of a published encoder: a search beside those that need no weights.

Sentence embeddings find paraphrases, which share few letters with their originals. They miss misspelt words, which the letters
find, so both searches are made and their pairs are joined; each has its own threshold from planted copies.
"""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from mmjax.data.build.duplicates import MATCHERS, Matcher
from mmjax.data.build.nearest import Candidates, Pairs, best_pairs, nearest, pairs_between_groups, unit
from mmjax.data.decode import DataError

__all__ = ["FLOOR", "KINDS", "NEIGHBOURS", "Featured", "Features", "feature_duplicates", "feature_matcher", "feature_pairs"]

KINDS = ("image", "text")  # whose items are encoded
NEIGHBOURS = 6  # candidates per item and round of the search
FLOOR = 0.5  # cosine of a candidate


class Features(NamedTuple):
    """name: of the weights, for the report. of: a text, or an image uint8 [h w 3] or [h w 4], -> Float[d]."""

    name: str
    of: Callable[[Any], np.ndarray]


class Featured(NamedTuple):
    """vector: float32 [d], a unit vector. numbers: of a text, in order; texts with different ones are different."""

    vector: np.ndarray
    numbers: tuple[str, ...]


def feature_matcher(kind: str, features: Features) -> Matcher:
    """The comparison of items of a kind by the cosine of their features. Raises DataError for a kind without features."""
    if kind not in KINDS:
        raise DataError(f"features of {kind!r} are not supported; the kinds are {', '.join(KINDS)}")
    describe = partial(_featured, features.of)
    return MATCHERS[kind]._replace(describe=describe, pairs=feature_pairs, among=feature_duplicates)


def _featured(of: Callable[[Any], np.ndarray], raw: Any) -> Featured:
    numbers = tuple(re.findall(r"\d+", raw)) if isinstance(raw, str) else ()
    return Featured(unit(np.asarray(of(raw), np.float32)), numbers)


def feature_pairs(queries: Sequence[Featured], keys: Sequence[Featured]) -> Pairs:
    """Scored pairs of queries and their nearest keys. score: the cosine, 0 for texts with different numbers."""
    if not queries or not keys:
        return Pairs(np.zeros((0, 2), np.int64), np.zeros(0))
    found = nearest(_vectors(queries), _vectors(keys), NEIGHBOURS, FLOOR)
    return best_pairs(found.query, found.key, _scores(queries, keys, found), same=False)


def feature_duplicates(items: Sequence[Featured], threshold: float, known: np.ndarray) -> Pairs:
    """Scored pairs (i < j) among the items; see `pairs_between_groups` for threshold and known."""
    if not items:
        return Pairs(np.zeros((0, 2), np.int64), np.zeros(0))
    return pairs_between_groups(_vectors(items), partial(_scores, items, items), threshold, known, NEIGHBOURS, FLOOR)


def _vectors(items: Sequence[Featured]) -> np.ndarray:
    """float32 [n 1 d]: an item has one variant."""
    return np.stack([one.vector for one in items])[:, None]


def _scores(queries: Sequence[Featured], keys: Sequence[Featured], found: Candidates) -> np.ndarray:
    return np.array([
        float(queries[i].vector @ keys[j].vector) if queries[i].numbers == keys[j].numbers else 0.0
        for i, j in zip(found.query.tolist(), found.key.tolist())
    ])  # fmt: skip
