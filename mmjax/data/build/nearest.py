"""Candidate pairs of a search for near-duplicates: nearest neighbours by the cosine of descriptors."""

from typing import NamedTuple

import numpy as np

__all__ = ["CHUNK", "Candidates", "Pairs", "best_pairs", "nearest", "unit"]

CHUNK = 256  # queries per matrix product


class Pairs(NamedTuple):
    """m scored pairs. pairs: Int64[m 2], numbers of a query and a key. score: Float64[m], 1 for equal items."""

    pairs: np.ndarray
    score: np.ndarray

    def above(self, threshold: float) -> np.ndarray:
        """Int64[p 2]: the pairs that reach this score."""
        return self.pairs[self.score >= threshold]


class Candidates(NamedTuple):
    """query, key: Int64[m]. variant: Int64[m]: this variant of the query resembles the key; if negative, variant -1 - v of the
    key resembles the query."""

    query: np.ndarray
    key: np.ndarray
    variant: np.ndarray


def unit(x: np.ndarray) -> np.ndarray:
    """Vectors [... d] divided by their norms; zero vectors stay zero. float32."""
    return (x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-9)).astype(np.float32)


def nearest(queries: np.ndarray, keys: np.ndarray, k: int, floor: float, same: bool) -> Candidates:
    """The k most similar keys of each query, by the maximum of the cosine over variants of the query or of the key.

    queries, keys: float32 [n v d] and [m v d], unit vectors of v variants; the first variant is the item itself. floor: the
    smallest cosine of a candidate. same: queries and keys are the same items in the same order, so a query is not its own
    candidate. The time is proportional to n m v d.
    """
    found: tuple[list, list, list] = [], [], []
    for start in range(0, len(queries), CHUNK):
        block = queries[start : start + CHUNK]
        best = np.full((len(block), len(keys)), -np.inf, np.float32)
        variant = np.zeros(best.shape, np.int16)
        for v in range(queries.shape[1]):
            for cosine, name in ((block[:, v] @ keys[:, 0].T, v), (block[:, 0] @ keys[:, v].T, -1 - v)):
                variant[cosine > best] = name
                np.maximum(best, cosine, out=best)
        if same:
            best[np.arange(len(block)), start + np.arange(len(block))] = -np.inf
        few = min(k, len(keys))
        top = np.argpartition(-best, few - 1, axis=1)[:, :few]
        rows = np.repeat(np.arange(len(block)), few)
        good = best[rows, top.ravel()] >= floor
        for column, values in zip(found, (rows + start, top.ravel(), variant[rows, top.ravel()])):
            column.append(values[good].astype(np.int64))
    return Candidates(*(np.concatenate(column) if column else np.zeros(0, np.int64) for column in found))


def best_pairs(query: np.ndarray, key: np.ndarray, score: np.ndarray, same: bool) -> Pairs:
    """Unique pairs with the highest of their scores, sorted; if same, (i, j) and (j, i) are one pair with i < j."""
    pairs = np.stack([query, key], axis=1).astype(np.int64).reshape(-1, 2)
    pairs = np.sort(pairs, axis=1) if same else pairs
    unique, at = np.unique(pairs, axis=0, return_inverse=True)
    highest = np.full(len(unique), -np.inf)
    np.maximum.at(highest, at.ravel(), np.asarray(score, np.float64))
    return Pairs(unique, highest)
