"""One axis name over which batches are split, and what is exact under splitting.

The same step runs on one device and, inside `pmap(..., axis_name=SHARD)`, on a part of the batch: sums run over all parts,
and random numbers belong to an example's place in the whole batch, so that both give the same losses and parameters.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key

SHARD = "shard"


def shard_index() -> Int[Array, ""] | int:
    """Which part of the batch this is: 0 where the batch is not split."""
    try:
        return jax.lax.axis_index(SHARD)
    except NameError:  # JAX's way, and the only public one, of saying that no such axis is bound here
        return 0


def sum_over_shards(tree: Any) -> Any:
    """Sums each leaf over the parts of the batch; the identity where the batch is not split."""
    try:
        return jax.lax.psum(tree, SHARD)
    except NameError:
        return tree


def gather_over_shards(x: Array) -> Array:
    """[b ...] of this part -> [B ...], the examples of the whole batch in their order; the identity where it is not split."""
    try:
        return jax.lax.all_gather(x, SHARD, tiled=True)
    except NameError:
        return x


def example_keys(key: Key[Array, ""], count: int) -> Key[Array, " b"]:
    """Keys for the `count` examples of this part, one each, the same however the batch is split."""
    position = shard_index() * count + jnp.arange(count)
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, position)
