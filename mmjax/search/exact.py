"""Exact search: the k candidates with the largest dot products, block by block, on one or several devices.

All blocks have one shape and come from one compiled program, so that a similarity has the same bits at every place in the
gallery and on every device. Among equal similarities, the first in the gallery comes first. So results do not depend on the
number of devices. The memory beyond two blocks per device does not grow with the gallery.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Shaped

from mmjax.data.decode import DataError
from mmjax.metrics.ranking import Best, best_so_far
from mmjax.search.gallery import Gallery

__all__ = ["BLOCK", "CHAINS", "QUERIES", "SHORTLIST", "Block", "Found", "Resident", "blocks_of", "checked", "search"]

BLOCK, QUERIES = 16_384, 64
"""Candidates of a block, and queries that are compared with it at once."""
CHAINS = 2
"""Blocks that are compared at the same time: while one core of a CPU chooses the k best of a block, the other multiplies."""
SHORTLIST = 4
"""By codes, this many times k candidates are compared again by their vectors."""


class Found(NamedTuple):
    """For each of q queries, its k best candidates, the best first.

    similarity: dot products, Float32[q k]. row: of the candidates in the gallery, Int64[q k]. exact: Bool[q], whether no
    candidate outside can be better: always without codes; with codes, whether their error is too small to matter.
    """

    similarity: Float[np.ndarray, "q k"]
    row: Int[np.ndarray, "q k"]
    exact: Bool[np.ndarray, " q"]


@jax.jit
def _best_of_block(
    query: Float[Array, "q d"],
    block: Shaped[Array, "c d"],
    scale: Float[Array, " c"],
    size: Int[Array, ""],
    start: Int[Array, ""],
    best: Best,
) -> Best:
    """`best_so_far` with the first `size` candidates of a block."""
    product = jnp.matmul(query, block.astype(jnp.float32).T, precision=lax.Precision.HIGHEST) * scale[None, :]
    return best_so_far(jnp.where((jnp.arange(block.shape[0]) < size)[None, :], product, -jnp.inf), start, best)


class Block(NamedTuple):
    """Candidates on a device: vectors or codes [c d], their scales, how many of them count, and the row of the first one."""

    device: jax.Device
    vectors: Shaped[Array, "c d"]
    scale: Float[Array, " c"]
    size: Int[Array, ""]
    start: Int[Array, ""]


@dataclass(frozen=True, eq=False)
class Resident:
    """A gallery whose blocks, of codes if it has them, stay on their devices for repeated searches."""

    gallery: Gallery
    blocks: tuple[Block, ...]

    @classmethod
    def of(cls, gallery: Gallery, devices: Sequence[jax.Device] | None = None) -> "Resident":
        """devices: that the blocks are spread over; None for all local devices."""
        return cls(gallery, tuple(blocks_of(gallery, devices)))


def blocks_of(gallery: Gallery, devices: Sequence[jax.Device] | None = None) -> Iterator[Block]:
    """The gallery, codes if it has them, in blocks of one shape, one after the other on each of the devices by turns."""
    devices = jax.local_devices() if devices is None else devices
    vectors = gallery.vectors if gallery.codes is None else gallery.codes
    size = min(BLOCK, len(vectors))
    for number, start in enumerate(range(0, len(vectors), size)):
        rows, device = slice(start, start + size), devices[number % len(devices)]
        chunk, scale = vectors[rows], np.ones(size, np.float32) if gallery.scales is None else gallery.scales[rows]
        valid = len(chunk)
        if valid < size:  # the last block
            chunk = np.concatenate([chunk, np.zeros((size - valid, chunk.shape[1]), chunk.dtype)])
            scale = np.concatenate([scale[:valid], np.zeros(size - valid, np.float32)])
        yield Block(device, *jax.device_put((chunk, scale, np.int32(valid), np.int32(start)), device))


def search(query: Float[np.ndarray, "q d"], gallery: Gallery | Resident, k: int = 10) -> Found:
    """The k candidates of the gallery with the largest dot products with each query; fewer if the gallery has fewer.

    With codes, SHORTLIST * k candidates are chosen by their codes and ranked by their vectors. A gallery that is not `Resident`
    is read block by block, onto all local devices. Raises DataError for queries of another width or that are not finite.
    """
    vectors = gallery.gallery if isinstance(gallery, Resident) else gallery
    query, k = checked(query, vectors, k), min(k, len(vectors))
    parts = []
    for at in range(0, len(query), QUERIES):
        blocks = gallery.blocks if isinstance(gallery, Resident) else blocks_of(vectors)
        parts.append(_search(query[at : at + QUERIES], vectors, blocks, k))
    if not parts:
        return Found(np.zeros((0, k), np.float32), np.zeros((0, k), np.int64), np.zeros(0, bool))
    return Found(*map(np.concatenate, zip(*parts)))


def checked(query: Any, gallery: Gallery, k: int) -> Float[np.ndarray, "q d"]:
    """The queries as float32. Raises DataError for another width, numbers that are not finite, and k below 1."""
    query = np.asarray(query, np.float32)
    if query.ndim != 2 or query.shape[1] != gallery.width:
        raise DataError(f"the queries have the shape {list(query.shape)}; it must be [q, {gallery.width}], as the gallery has")
    if not np.isfinite(query).all() or k < 1:
        raise DataError(f"k is {k} and must be at least 1, and all numbers of the queries must be finite")
    return query


def _search(query: np.ndarray, gallery: Gallery, blocks: Iterable[Block], k: int) -> Found:
    """Of at most QUERIES queries."""
    padded = np.zeros((QUERIES, gallery.width), np.float32)
    padded[: len(query)] = query
    count = k if gallery.codes is None else min(SHORTLIST * k, len(gallery))
    rough, row = (x[: len(query)] for x in _by_blocks(padded, blocks, count, len(gallery)))
    if gallery.codes is None:
        return Found(rough, row, np.ones(len(query), bool))
    similarity = np.einsum("qd,qkd->qk", query, gallery.vectors[row], dtype=np.float32)
    order = np.lexsort((row, -similarity))[:, :k]
    best = np.take_along_axis(similarity, order, axis=1)
    # |query . (vector - scale * code)| <= sum |query| * scale / 2, and all that was left out has at most the last rough value
    error = np.abs(query).sum(axis=1) * float(gallery.scales.max()) / 2 * (1 + 1e-4)
    exact = (count == len(gallery)) | (best[:, -1] > rough[:, -1] + error)
    return Found(best, np.take_along_axis(row, order, axis=1), exact)


def _by_blocks(query: np.ndarray, blocks: Iterable[Block], k: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(similarity Float32[q k], row Int64[q k]), the best first. count: the size of the gallery."""
    remaining, lock = iter(blocks), Lock()

    def chain(number: int) -> list[Best]:
        """The best of the blocks that this thread takes, for each device."""
        del number
        queries, best = {}, {}
        while True:
            with lock:
                block = next(remaining, None)
            if block is None:
                return list(best.values())
            at = block.device
            if at not in best:
                none = np.full((len(query), k), -np.inf, np.float32), np.full((len(query), k), count, np.int32)
                queries[at], best[at] = jax.device_put((query, none), at)
            best[at] = _best_of_block(queries[at], block.vectors, block.scale, block.size, block.start, best[at])

    with ThreadPoolExecutor(CHAINS) as pool:
        found = [best for of_thread in pool.map(chain, range(CHAINS)) for best in of_thread]
    similarity, row = (np.concatenate([np.asarray(best[i]) for best in found], axis=1) for i in (0, 1))
    order = np.lexsort((row, -similarity))[:, :k]
    return np.take_along_axis(similarity, order, axis=1), np.take_along_axis(row, order, axis=1).astype(np.int64)
