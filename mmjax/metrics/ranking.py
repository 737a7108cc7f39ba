"""Exact search over a gallery, block by block: the positions of the relevant candidates of every query.

The memory does not grow with the gallery: two passes over its blocks find the similarities of the relevant candidates, and
count the other candidates that come before each of them. All products have one shape and come from one compiled program, so a
similarity has the same bits in both passes, at every place in the gallery and on every device: ties are exact, and positions
do not depend on the number of devices.
"""

from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

__all__ = ["CANDIDATES", "QUERIES", "Best", "best_so_far", "rank_outcomes", "relevant_positions"]

QUERIES, CANDIDATES = 256, 1024  # rows of one block of queries and of one block of candidates


Best = tuple[Float[Array, "q k"], Int[Array, "q k"]]
"""(similarities, rows in the gallery) of the k best candidates so far, the best first."""


def best_so_far(similarity: Float[Array, "q c"], start: Int[Array, ""], best: Best) -> Best:
    """The best k of those so far, which come first among equals, and of c more candidates, from row `start` on."""
    k = best[0].shape[1]
    found, place = lax.top_k(similarity, min(k, similarity.shape[1]))
    found = jnp.concatenate([best[0], found], axis=1)
    row = jnp.concatenate([best[1], start + place], axis=1)
    found, place = lax.top_k(found, k)
    return found, jnp.take_along_axis(row, place, axis=1)


@jax.jit
def _similarities(query: Float[Array, "q d"], candidates: Float[Array, "c d"]) -> Float[Array, "q c"]:
    return jnp.matmul(query, candidates.T, precision=lax.Precision.HIGHEST)


@jax.jit
def _collect(similarity, relevant, first, last, start):
    """Writes the similarities of the relevant candidates of a block, whose first one is `start`, into relevant Float[q r].

    The relevant candidates of a query are those from `first` to `last`, both Int[q].
    """
    place = first[:, None] + jnp.arange(relevant.shape[1])[None, :] - start
    inside = (place >= 0) & (place < similarity.shape[1]) & (place + start < last[:, None])
    found = jnp.take_along_axis(similarity, jnp.clip(place, 0, similarity.shape[1] - 1), axis=1)
    return jnp.where(inside, found, relevant)


@jax.jit
def _descending(relevant):
    """Negated similarities in ascending order, Float[q r]; NaN comes last."""
    return jnp.sort(jnp.where(jnp.isnan(relevant), jnp.inf, -relevant), axis=1)


@jax.jit
def _count(similarity, negated, counts, first, last, start, size):
    """Adds the irrelevant candidates of a block to counts Int[q r + 1].

    counts[:, j] is the number of irrelevant candidates between the relevant candidates j - 1 and j in the ranking.
    """
    index = start + jnp.arange(similarity.shape[1])
    relevant = (index[None, :] >= first[:, None]) & (index[None, :] < last[:, None])
    counted = (index < size)[None, :] & ~relevant
    place = jax.vmap(jnp.searchsorted)(negated, jnp.where(jnp.isnan(similarity), -jnp.inf, -similarity))
    return counts.at[jnp.arange(counts.shape[0])[:, None], place].add(counted)


@jax.jit
def _positions(counts):
    """counts Int[q r + 1] -> positions Int[q r] of the relevant candidates, from 1."""
    before = jnp.cumsum(counts[:, :-1], axis=1)
    return before + jnp.arange(1, counts.shape[1])[None, :]


def relevant_positions(
    query: Float[np.ndarray, "q d"],
    gallery: Float[np.ndarray, "g d"],
    query_match: Int[np.ndarray, " q"],
    gallery_match: Int[np.ndarray, " g"],
    devices: Sequence[jax.Device] | None = None,
) -> Iterator[tuple[Int[np.ndarray, "b r"], Int[np.ndarray, " b"]]]:
    """For consecutive blocks of b queries: the positions of their relevant candidates from 1, ascending, and their number.

    query, gallery: float32 embeddings. Candidates are ordered by dot product, the largest first. A candidate is relevant if its
    match equals the query's; negative matches are equal to nothing. Among equal similarities the irrelevant candidates come
    first. With a NaN similarity, irrelevant candidates come first of all and relevant ones last. Positions beyond a query's
    number of relevant candidates are undefined.

    devices: the blocks of queries are spread over them; None for all local devices.
    """
    devices = jax.local_devices() if devices is None else devices
    order = np.argsort(gallery_match, kind="stable")
    codes = gallery_match[order]
    first, last = (np.searchsorted(codes, query_match, side).astype(np.int32) for side in ("left", "right"))
    last = np.where(query_match < 0, first, last)
    max_relevant = 1 << int((last - first).max(initial=1) - 1).bit_length()  # a power of two, so that few shapes are compiled
    for start in range(0, len(query), QUERIES * len(devices)):
        blocks = []
        for at, device in zip(range(start, len(query), QUERIES), devices):
            rows = slice(at, at + QUERIES)
            blocks.append((device, *(_padded(x[rows], QUERIES, device) for x in (query, first, last))))
        for at, found in zip(range(start, len(query), QUERIES), _search(blocks, gallery, order, max_relevant)):
            count = (last - first)[at : at + QUERIES]
            yield np.asarray(found)[: len(count)], count


def _padded(x: np.ndarray, rows: int, device: jax.Device) -> jax.Array:
    """x with zeros up to `rows` rows, on a device."""
    padded = np.zeros((rows, *x.shape[1:]), x.dtype)
    padded[: len(x)] = x
    return jax.device_put(padded, device)


def _search(blocks: Sequence[tuple], gallery: np.ndarray, order: np.ndarray, max_relevant: int) -> list[jax.Array]:
    """The positions Int[QUERIES max_relevant] of each block (device, queries, first, last), all blocks side by side."""
    relevant = [jax.device_put(np.full((QUERIES, max_relevant), np.nan, np.float32), device) for device, *_ in blocks]
    counts = [jax.device_put(np.zeros((QUERIES, max_relevant + 1), np.int32), device) for device, *_ in blocks]

    def candidates():
        for start in range(0, len(gallery), CANDIDATES):
            chosen = gallery[order[start : start + CANDIDATES]]
            for i, (device, query, first, last) in enumerate(blocks):
                yield i, start, _similarities(query, _padded(chosen, CANDIDATES, device)), first, last

    for i, start, similarity, first, last in candidates():
        relevant[i] = _collect(similarity, relevant[i], first, last, start)
    negated = [_descending(values) for values in relevant]
    for i, start, similarity, first, last in candidates():
        counts[i] = _count(similarity, negated[i], counts[i], first, last, start, len(gallery))
    return [_positions(values) for values in counts]


def rank_outcomes(
    positions: Int[np.ndarray, "q r"], count: Int[np.ndarray, " q"], candidates: int, k: int
) -> dict[str, np.ndarray]:
    """Positions of the relevant candidates of q queries, and their number -> the outcomes of `metrics.retrieval`.

    "rank" Int32[q], the position of the best relevant candidate; "ap" Float32[q], the average precision; "ndcg" Float32[q], the
    normalised discounted cumulative gain of the first k candidates (Jaervelin and Kekaelaeinen, 2002; gain 1, discount
    log2(1 + position)). A query without relevant candidates has rank `candidates` + 1, and its other outcomes are 0.
    """
    number = np.arange(1, positions.shape[1] + 1)
    valid = number <= count[:, None]
    precision = np.where(valid, number / positions, 0)
    gain = np.where(valid & (positions <= k), 1 / np.log2(1 + positions), 0)
    ideal = np.cumsum(1 / np.log2(1 + np.arange(1, k + 1)))
    return {
        "rank": np.where(count > 0, positions[:, 0], candidates + 1).astype(np.int32),
        "ap": (precision.sum(axis=1) / np.maximum(count, 1)).astype(np.float32),
        "ndcg": (gain.sum(axis=1) / ideal[np.clip(count, 1, k) - 1]).astype(np.float32),
    }
