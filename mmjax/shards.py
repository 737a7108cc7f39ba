"""The axis over which batches are split, and functions that give the same results whether or not a batch is split.

The same step runs on one device and, inside `pmap(..., axis_name=SHARD)`, on a part of the batch. Sums run over all shards, and
random numbers depend on the position of an example in the whole batch, so losses and parameters are equal.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key

__all__ = [
    "SHARD", "computed_in_parts", "example_keys", "gather_over_shards", "gathered_from", "in_parts", "is_on_mesh",
    "shard_index", "sum_over_blocks", "sum_over_shards",
]  # fmt: skip

SHARD = "shard"
_PARTS: ContextVar[dict[int, tuple[Any, Any, Any]]] = ContextVar("parts")  # while tracing, as the names of axes are in JAX


def shard_index() -> Int[Array, ""] | int:
    """The index of this shard; 0 if the batch is not split."""
    try:
        return jax.lax.axis_index(SHARD)
    except NameError:  # JAX has no public test of whether an axis name is bound
        return 0


def sum_over_shards(tree: Any) -> Any:
    """Sums each leaf over all shards; the identity if the batch is not split."""
    try:
        return jax.lax.psum(tree, SHARD)
    except NameError:
        return tree


def gather_over_shards(x: Array) -> Array:
    """[b ...] of this shard -> [B ...] of the whole batch, in order; the identity if the batch is not split."""
    try:
        return jax.lax.all_gather(x, SHARD, tiled=True)
    except NameError:
        return x


def sum_over_blocks(block: Callable[[Any, bool], Array], part: Any) -> Array:
    """The sum of block(part, own) over the parts of all shards; own is True for the part of this shard.

    Each part is passed from shard to shard, so that a shard holds one part of another at a time.
    """
    total = block(part, True)
    try:
        size = jax.lax.axis_size(SHARD)
    except NameError:
        return total
    ring = [(i, (i + 1) % size) for i in range(size)]

    def step(carry, _):
        part, total = carry
        part = jax.tree.map(lambda x: jax.lax.ppermute(x, SHARD, ring), part)
        return (part, total + block(part, False)), None

    return jax.lax.scan(step, (part, total), None, length=size - 1)[0][1]


def example_keys(key: Key[Array, ""], count: int) -> Key[Array, " b"]:
    """One key for each of the `count` examples of this shard, independent of how the batch is split."""
    position = shard_index() * count + jnp.arange(count)
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, position)


@contextmanager
def gathered_from(parts: Any, whole: Any, shardings: Any) -> Iterator[None]:
    """While a model is traced with the variables `whole`, `in_parts` finds where each was gathered from. Three equal trees:
    arrays that lie in parts on the devices of a mesh, the gathered arrays, and the shardings of these."""
    known = {id(new): (new, old, sharding) for new, old, sharding in zip(*map(jax.tree.leaves, (whole, parts, shardings)))}
    token = _PARTS.set(known)
    try:
        yield
    finally:
        _PARTS.reset(token)


def is_on_mesh() -> bool:
    """Whether a model is traced for a mesh, with variables of `gathered_from`."""
    return bool(_PARTS.get({}))


def in_parts(tree: Any) -> tuple[Any, Callable[[Any], Any]]:
    """(the arrays that those of the tree were gathered from, the function that gathers them); the tree and the identity
    without a mesh. A loop over blocks gathers one block at a time with it."""
    known = _PARTS.get({})
    found = [known.get(id(leaf), (leaf, leaf, None)) for leaf in jax.tree.leaves(tree)]
    structure = jax.tree.structure(tree)

    def gather(parts: Any) -> Any:
        place = lambda leaf, sharding: leaf if sharding is None else jax.lax.with_sharding_constraint(leaf, sharding)
        return structure.unflatten([place(leaf, of[2]) for leaf, of in zip(jax.tree.leaves(parts), found, strict=True)])

    return structure.unflatten([part for _, part, _ in found]), gather


def computed_in_parts(function: Callable[..., Array], first: Any, *others: Any) -> Any:
    """function(first, *others), an array like `first`. If `first` was gathered, the parts are computed and then gathered, so
    that a loop over blocks gathers one block of the result at a time."""
    known = _PARTS.get({})
    if id(first) not in known:
        return function(first, *others)
    _, part, sharding = known[id(first)]
    part = function(part, *(known[id(one)][1] if id(one) in known else one for one in others))
    new = jax.lax.with_sharding_constraint(part, sharding)
    known[id(new)] = new, part, sharding
    return new
