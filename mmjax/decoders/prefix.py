"""What language models share: a prefix of vectors before the token ids, positions that skip padding, and a cache.

A sequence has slots: those of the prefix, then those of the tokens. A slot is valid or padding. Positions count the valid slots
before, so padding anywhere changes nothing.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from mmjax.decoders.transformer import KeysValues, reorder_beams
from mmjax.types import Declared, Padded, Tokens

__all__ = [
    "BothWays", "LanguageCache", "Slots", "attended", "empty_prefix", "prefix_vectors", "segmented", "slots", "updated",
    "visible",
]  # fmt: skip


@struct.dataclass
class LanguageCache:
    """The keys and values that a language model keeps between steps; a plain pytree.

    past: (keys, values) of each block, Float[b h slots k]; zeros from slot `count` on. valid: Bool[b slots], False for slots of
    padding. count: Int[], the number of slots that are filled. prefix: the number of slots of the prefix. beams: the number of
    adjacent sequences with the same prefix.
    """

    past: Declared[tuple[KeysValues, ...]]
    valid: Declared[Bool[Array, "b slots"]]
    count: Declared[Int[Array, ""]]
    prefix: int = struct.field(pytree_node=False, default=0)
    beams: int = struct.field(pytree_node=False, default=1)

    @property
    def layout(self) -> "LanguageCache":
        """The logical axes of each array, as `PartitionSpec`s for `flax.linen.logical_to_mesh_sharding`."""
        past = jax.tree.map(lambda _: PartitionSpec("batch", "heads", "time", "features"), self.past)
        return self.replace(past=past, valid=PartitionSpec("batch", "time"), count=PartitionSpec())

    def pad_left(self, padding: Int[Array, " b"]) -> "LanguageCache":
        """The cache, without tokens before, in which the first padding[i] tokens of row i are padding."""
        token = jnp.arange(self.valid.shape[1])[None] - self.prefix
        return self.replace(valid=self.valid & ((token < 0) | (token >= padding[:, None])))

    def enlarged(self, slots: int) -> "LanguageCache":
        """The cache with room for more tokens. slots: of the new cache, at least as many as it has."""
        more = slots - self.valid.shape[1]
        past = jax.tree.map(lambda x: jnp.pad(x, ((0, 0), (0, 0), (0, more), (0, 0))), self.past)
        return self.replace(past=past, valid=jnp.pad(self.valid, ((0, 0), (0, more)), constant_values=True))

    def reorder(self, source: Int[Array, " b"]) -> "LanguageCache":
        """The cache in which row i continues the sequence of row source[i], a sequence with the same prefix."""
        past, valid = reorder_beams((self.past, self.valid), source, self.beams)
        return self.replace(past=past, valid=valid)


class BothWays(NamedTuple):
    """Which of n new tokens attend to each other in both directions.

    groups: Int[b n]; tokens of the same group do, if it is at least 0. within_window: whether a window also limits them, as in
    Gemma 3; in PaliGemma 2 it does not.
    """

    groups: Int[Array, "b n"]
    within_window: bool


class Slots(NamedTuple):
    """The place of n new tokens among all slots.

    number: Int[n], the slots of the new tokens. positions: Int[b n] of the new tokens, and `of_all`: Int[b slots] of all slots;
    a position is the number of valid slots before. valid: Bool[b slots]. segments: Int[b slots], the number of each slot's text
    in a row of several texts, which increases along the row; None for one text. both_ways: of the new tokens; None for causal
    attention alone.
    """

    number: Int[Array, " n"]
    positions: Int[Array, "b n"]
    of_all: Int[Array, "b slots"]
    valid: Bool[Array, "b slots"]
    segments: Int[Array, "b slots"] | None = None
    both_ways: BothWays | None = None


def slots(valid: Bool[Array, "b slots"], first: Int[Array, ""] | int, count: int) -> Slots:
    """The slots first, ..., first + count - 1."""
    of_all = jnp.maximum(jnp.cumsum(valid, axis=1, dtype=jnp.int32) - 1, 0)
    return Slots(first + jnp.arange(count), lax.dynamic_slice_in_dim(of_all, first, count, axis=1), of_all, valid)


def segmented(where: Slots, segments: Int[Array, "b slots"] | None) -> Slots:
    """The slots of rows of several texts, all of them new, with positions that restart at each text; None changes nothing.

    Raises ValueError if there are slots of a prefix, which would belong to no text.
    """
    if segments is None:
        return where
    if segments.shape != where.positions.shape:
        before = where.positions.shape[1] - segments.shape[1]
        raise ValueError(f"a row of several texts cannot have vectors before the text, but there are {before}")
    begins = jnp.pad(segments[:, 1:] != segments[:, :-1], ((0, 0), (1, 0)))
    before = jnp.cumsum(where.valid, axis=1, dtype=jnp.int32) - where.valid
    of_all = jnp.maximum(where.of_all - lax.cummax(jnp.where(begins, before, 0), axis=1), 0)
    return where._replace(positions=of_all, of_all=of_all, segments=segments)


def visible(where: Slots, window: int | None) -> Bool[Array, "b n slots"]:
    """Which slots a new token attends to: the valid ones of its text up to its own, and of these the last `window`; None for
    all; and those of its group (`BothWays`)."""
    seen = where.valid[:, None] & (jnp.arange(where.valid.shape[1])[None] <= where.number[:, None])[None]
    if where.segments is not None:
        seen &= where.segments[:, :, None] == where.segments[:, None]
    both = jnp.zeros_like(seen)
    if where.both_ways is not None:
        groups = where.both_ways.groups
        same = (groups[:, :, None] == groups[:, None]) & (groups >= 0)[:, None]
        both = lax.dynamic_update_slice(both, same, (0, 0, where.number[0])) & where.valid[:, None]
        seen |= both
    if window is None:
        return seen
    near = seen & (where.positions[..., None] - where.of_all[:, None] < window)
    return near if where.both_ways is None or where.both_ways.within_window else near | both


def updated(past: KeysValues, new: KeysValues, count: Int[Array, ""] | int) -> KeysValues:
    """The keys and values of all slots, with the new ones from slot `count` on."""
    keys, values = (lax.dynamic_update_slice(old, y.astype(old.dtype), (0, 0, count, 0)) for old, y in zip(past, new))
    return keys, values


def empty_prefix(batch: int) -> Tokens:
    """The memory of a text without a prefix."""
    return Tokens(jnp.zeros((batch, 0, 0)), jnp.zeros((batch, 0), bool))


def prefix_vectors(model: str, memory: Tokens, width: int) -> Float[Array, "b m d"]:
    """The prefix of a model, with zeros where it is masked: values there may be NaN. Raises ValueError for another width."""
    if memory.mask.shape[1] == 0:
        return jnp.zeros((*memory.mask.shape, width))
    if memory.x.shape[-1] != width:
        raise ValueError(f"{model}.width is {width}, but the vectors before the text have {memory.x.shape[-1]} numbers")
    return jnp.where(memory.mask[..., None], memory.x, 0).astype(jnp.float32)


def attended(ids: Padded) -> Int[Array, "b n"]:
    """The token ids, with 0 beyond the length, where they may be anything."""
    return jnp.where(ids.mask, ids.x, 0)
