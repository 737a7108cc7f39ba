"""Diagnostics of a common space of two kinds of embeddings: hubs, and the gap between the kinds.

Outcomes, one unit per embedding: "occurrence" Int[u], how many embeddings of the other kind have it among their k nearest;
"along_gap" Float[u], its component along the gap; "direction" Int[u], 0 for the first kind and 1 for the second.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from mmjax.metrics.ranking import Best, best_so_far
from mmjax.metrics.weighted import mean, ratio
from mmjax.types import Outcomes

__all__ = ["CANDIDATES", "QUERIES", "along_gap", "hubness", "modality_gap", "occurrences"]

QUERIES, CANDIDATES = 256, 8192  # rows of one block of queries and of one block of candidates


@jax.jit
def _best_of_block(
    query: Float[Array, "q d"], block: Float[Array, "c d"], size: Int[Array, ""], start: Int[Array, ""], best: Best
) -> Best:
    """`best_so_far` with the first `size` candidates of a block."""
    similarity = jnp.matmul(query, block.T, precision="highest")
    return best_so_far(jnp.where((jnp.arange(block.shape[0]) < size)[None, :], similarity, -jnp.inf), start, best)


def occurrences(query: Float[np.ndarray, "q d"], gallery: Float[np.ndarray, "g d"], k: int) -> Int[np.ndarray, " g"]:
    """For each candidate, the number of queries that have it among their k largest dot products. NaN counts as 0.

    The memory beyond one block does not grow with the gallery.
    """
    query, gallery = (np.nan_to_num(x.astype(np.float32)) for x in (query, gallery))
    count, k, size = np.zeros(len(gallery), np.int32), min(k, len(gallery)), min(CANDIDATES, len(gallery))
    for start in range(0, len(query), QUERIES):
        chunk = query[start : start + QUERIES]
        padded = _padded(chunk, min(QUERIES, len(query)))
        best = np.full((len(padded), k), -np.inf, np.float32), np.zeros((len(padded), k), np.int32)
        for at in range(0, len(gallery), size):
            block = gallery[at : at + size]
            best = _best_of_block(padded, _padded(block, size), np.int32(len(block)), np.int32(at), best)
        np.add.at(count, np.asarray(best[1])[: len(chunk)].reshape(-1), 1)
    return count


def _padded(x: Float[np.ndarray, "n d"], rows: int) -> Float[np.ndarray, "rows d"]:
    """x with zeros up to `rows` rows, so that one shape is compiled."""
    return np.concatenate([x, np.zeros((rows - len(x), x.shape[1]), x.dtype)])


def along_gap(
    first: Float[np.ndarray, "a d"], second: Float[np.ndarray, "b d"], weight: tuple[np.ndarray, np.ndarray]
) -> tuple[Float[np.ndarray, " a"], Float[np.ndarray, " b"]]:
    """The components of embeddings, scaled to unit length, along the difference of the weighted means of the two kinds.

    The difference of their means is its length, and its gradient by the weights is that of the length.
    """
    unit = [x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in map(np.nan_to_num, (first, second))]
    means = [(w[:, None] * x).sum(axis=0) / max(w.sum(), 1e-12) for x, w in zip(unit, weight)]
    gap = means[0] - means[1]
    gap = gap / max(float(np.linalg.norm(gap)), 1e-12)
    return tuple((x @ gap).astype(np.float32) for x in unit)


def modality_gap(outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
    """The distance between the means of the two kinds on the unit sphere, 0 to 2 (Liang et al., "Mind the gap", 2022)."""
    of = lambda side: mean(outcomes["along_gap"], jnp.where(outcomes["direction"] == side, weight, 0))
    return of(0) - of(1)


def hubness(outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
    """The skewness of `occurrence`: 0 if all candidates are found equally often, large if a few are found by most queries
    (Radovanovic et al., "Hubs in space", 2010, section 2.1). NaN if all are found equally often."""
    count = outcomes["occurrence"].astype(jnp.float32)
    centred = count - mean(count, weight)
    square, cube = mean(centred**2, weight), mean(centred**3, weight)
    return ratio(cube, jnp.where(square > 0, square, 0) ** 1.5, jnp.nan)
