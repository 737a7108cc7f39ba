"""Candidate pairs of a search for near-duplicates: nearest neighbours by the cosine of descriptors."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mmjax.data.groups import connected_groups, pairs_sharing_a_key

__all__ = ["CHUNK", "Candidates", "Pairs", "best_pairs", "nearest", "pairs_between_groups", "unit"]

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


def nearest(
    queries: np.ndarray,
    keys: np.ndarray,
    k: int,
    floor: float,
    groups: np.ndarray | None = None,
    rows: np.ndarray | None = None,
) -> Candidates:
    """The k most similar keys of each query, by the maximum of the cosine over variants of the query or of the key.

    queries, keys: float32 [n v d] and [m v d], unit vectors of v variants; the first variant is the item itself. floor: the
    smallest cosine of a candidate. groups: Int64[n], if queries and keys are the same items in the same order; items of the
    query's own group are not candidates. rows: the numbers of the queries to search for; None: all. The time is proportional
    to the number of these rows times m v d.
    """
    rows = np.arange(len(queries)) if rows is None else rows
    found: tuple[list, list, list] = [], [], []
    for start in range(0, len(rows), CHUNK):
        own = rows[start : start + CHUNK]
        block = queries[own]
        best = np.full((len(block), len(keys)), -np.inf, np.float32)
        variant = np.zeros(best.shape, np.int16)
        for v in range(queries.shape[1]):
            for cosine, name in ((block[:, v] @ keys[:, 0].T, v), (block[:, 0] @ keys[:, v].T, -1 - v)):
                variant[cosine > best] = name
                np.maximum(best, cosine, out=best)
        if groups is not None:
            best[groups[own][:, None] == groups] = -np.inf
        few = min(k, len(keys))
        top = np.argpartition(-best, few - 1, axis=1)[:, :few]
        line = np.repeat(np.arange(len(block)), few)
        good = best[line, top.ravel()] >= floor
        for column, values in zip(found, (own[line], top.ravel(), variant[line, top.ravel()])):
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


def pairs_between_groups(
    variants: np.ndarray,
    score: Callable[[Candidates], np.ndarray],
    threshold: float,
    known: np.ndarray,
    k: int,
    floor: float,
) -> Pairs:
    """Scored pairs of a search among n items that is repeated between the groups it joins, until none join.

    The k nearest items alone would divide a cluster of more than k copies into parts that never meet. So after each round, the
    items with a neighbour in their own group look for the k nearest items of other groups. Since each round joins groups with
    their neighbours, few rounds suffice (Boruvka's algorithm).

    variants: float32 [n v d], as in `nearest`. score: of candidates, Float[m]. threshold: the score that joins two items.
    known: Int64[n], equal for items that are in one group already; their pairs are scored in the first round only.
    """
    n = len(variants)
    rows, groups = np.arange(n), np.arange(n)
    last = np.zeros((0, 2), np.int64)  # the candidates of each item in its latest round
    edges = pairs_sharing_a_key([[value] for value in known.tolist()])
    columns: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    while len(rows):
        found = nearest(variants, variants, k, floor, groups, rows)
        scores = np.asarray(score(found), np.float64)
        columns.append((found.query, found.key, scores))
        pairs = np.stack([found.query, found.key], axis=1)
        edges += pairs[scores >= threshold].tolist()
        groups = connected_groups(n, edges)
        last = np.concatenate([last[~np.isin(last[:, 0], rows)], pairs])
        rows = np.unique(last[groups[last[:, 0]] == groups[last[:, 1]], 0])
    if not columns:
        return Pairs(np.zeros((0, 2), np.int64), np.zeros(0))
    return best_pairs(*(np.concatenate(column) for column in zip(*columns)), same=True)
