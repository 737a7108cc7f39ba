"""Diagnostics of a common space of two kinds of embeddings: hubs, and the gap between the kinds.

Outcomes, one unit per embedding: "occurrence" Int[u], how many embeddings of the other kind have it among their k nearest;
"along_gap" Float[u], its component along the gap; "direction" Int[u], 0 for the first kind and 1 for the second.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from mmjax.metrics.weighted import mean, ratio
from mmjax.types import Outcomes

__all__ = ["QUERIES", "along_gap", "hubness", "modality_gap", "occurrences"]

QUERIES = 256  # compared with all candidates at once


@partial(jax.jit, static_argnames="k")
def _nearest(query: Float[Array, "q d"], gallery: Float[Array, "g d"], k: int) -> Int[Array, "q k"]:
    return jax.lax.top_k(jnp.matmul(query, gallery.T, precision="highest"), k)[1]


def occurrences(query: Float[np.ndarray, "q d"], gallery: Float[np.ndarray, "g d"], k: int) -> Int[np.ndarray, " g"]:
    """For each candidate, the number of queries that have it among their k largest dot products. NaN counts as 0."""
    query, gallery = (np.nan_to_num(x.astype(np.float32)) for x in (query, gallery))
    count, k = np.zeros(len(gallery), np.int32), min(k, len(gallery))
    for start in range(0, len(query), QUERIES):
        chunk = query[start : start + QUERIES]
        padded = np.zeros((min(QUERIES, len(query)), query.shape[1]), np.float32)  # one shape
        padded[: len(chunk)] = chunk
        np.add.at(count, np.asarray(_nearest(padded, gallery, k))[: len(chunk)].reshape(-1), 1)
    return count


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
