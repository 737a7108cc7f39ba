"""Attention whose memory grows linearly with the number of tokens."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

__all__ = ["attend_in_blocks"]


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def attend_in_blocks(
    q: Float[Array, "b h n k"],
    k: Float[Array, "b h m k"],
    v: Float[Array, "b h m v"],
    mask: Bool[Array, "b m"] | Bool[Array, "b n m"],
    block: int,
) -> Float[Array, "b h n v"]:
    """`nn.attention.attend` for about `block` queries at a time, so that there are never more than 2 b h block m scores.

    The gradient computes the weights again, from the scores and the logarithms of the sums of their exponentials: Dao et al.
    (2022), "FlashAttention", algorithm 4, where keys are divided too. That saves nothing while m is much smaller than b h block
    m. Reverse-mode differentiation only; `jax.jvp` raises an error.
    """
    return _forward(q, k, v, mask, block)[0]


def _forward(
    q: Array, k: Array, v: Array, mask: Array, block: int
) -> tuple[Float[Array, "b h n v"], tuple[Array, ...]]:
    """(the output, what the gradient needs)."""

    def part(given):
        scores = _scores(given[0], k, given[1])
        highest = jnp.max(scores, axis=-1, keepdims=True)
        highest = jnp.where(jnp.isfinite(highest), highest, 0)  # a query without a valid key
        exponentials = jnp.exp(scores - highest)
        total = jnp.maximum(jnp.sum(exponentials, axis=-1, keepdims=True), jnp.finfo(jnp.float32).tiny)
        output = jnp.einsum("bhnm,bhmv->bhnv", exponentials.astype(v.dtype), v, preferred_element_type=jnp.float32)
        return (output / total).astype(v.dtype), highest + jnp.log(total)

    rows = q.shape[2]
    output, logarithm = (_joined(x, rows) for x in lax.map(part, (_divided(q, block), _masks(mask, rows, block))))
    return output, (q, k, v, mask, output, logarithm)


def _backward(block: int, residuals: tuple[Array, ...], cotangent: Float[Array, "b h n v"]) -> tuple[Any, ...]:
    """The gradients by q, k and v. cotangent: that by the output."""
    q, k, v, mask, output, logarithm = residuals
    rows, scale = q.shape[2], q.shape[-1] ** -0.5
    product = partial(jnp.einsum, preferred_element_type=jnp.float32)
    mean = jnp.sum(output.astype(jnp.float32) * cotangent, axis=-1, keepdims=True)

    def part(sums, given):
        q, cotangent, logarithm, mean, mask = given
        weights = jnp.exp(_scores(q, k, mask) - logarithm)
        by_scores = weights * (product("bhnv,bhmv->bhnm", cotangent, v) - mean)
        weights, by_scores = weights.astype(v.dtype), by_scores.astype(q.dtype)
        by_k = sums[0] + product("bhnm,bhnk->bhmk", by_scores, q)
        by_v = sums[1] + product("bhnm,bhnv->bhmv", weights, cotangent)
        return (by_k, by_v), product("bhnm,bhmk->bhnk", by_scores, k)

    blocks = (*(_divided(x, block) for x in (q, cotangent, logarithm, mean)), _masks(mask, rows, block))
    zeros = jnp.zeros(k.shape, jnp.float32), jnp.zeros(v.shape, jnp.float32)
    (by_k, by_v), by_q = lax.scan(part, zeros, blocks)
    return (_joined(by_q, rows) * scale).astype(q.dtype), (by_k * scale).astype(k.dtype), by_v.astype(v.dtype), None


attend_in_blocks.defvjp(_forward, _backward)


def _scores(
    q: Float[Array, "b h n k"], k: Float[Array, "b h m k"], mask: Bool[Array, "b 1 #n m"]
) -> Float[Array, "b h n m"]:
    """q k^T / sqrt(d) in float32, -inf for keys that are not valid."""
    scores = jnp.einsum("bhnk,bhmk->bhnm", q, k, preferred_element_type=jnp.float32) * q.shape[-1] ** -0.5
    return jnp.where(mask, scores, -jnp.inf)


def _size(rows: int, block: int) -> tuple[int, int]:
    """(the number of blocks, the queries of each): equal blocks, since 1,025 queries in blocks of 128 would take as long as
    1,152."""
    count = max(rows // block, 1)
    return count, -(-rows // count)


def _divided(x: Array, block: int) -> Array:
    """[b h n ...] -> [count b h size ...], with zeros at the end."""
    count, size = _size(x.shape[2], block)
    x = jnp.pad(x, [(0, count * size - x.shape[2]) if axis == 2 else (0, 0) for axis in range(x.ndim)])
    return jnp.moveaxis(x.reshape(*x.shape[:2], count, size, *x.shape[3:]), 2, 0)


def _masks(mask: Array, rows: int, block: int) -> Array:
    """The mask of each block of queries, Bool[count b 1 size m], or Bool[count b 1 1 m] if it is that of all queries."""
    if mask.ndim == 3:
        return _divided(mask[:, None], block)
    return jnp.broadcast_to(mask[:, None, None], (_size(rows, block)[0], mask.shape[0], 1, 1, mask.shape[1]))


def _joined(x: Array, rows: int) -> Array:
    """[count b h size ...] -> [b h n ...], without the zeros at the end."""
    x = jnp.moveaxis(x, 0, 2)
    return x.reshape(*x.shape[:2], -1, *x.shape[4:])[:, :, :rows]
