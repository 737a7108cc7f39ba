"""A language model whose text contains vectors, such as images: they stand where the text has their ids.

With a prefix, all vectors precede the text. Here an id of at least `vocabulary` stands for a vector: vocabulary + k is vector k
of the memory. Ids stay plain integers, so prompts, padding and searches are those of any text, and one text can have several
images, tiles in any order, or none.

With the prompt (BEGIN,) a row may have several texts, such as dialogues, each behind a `BEGIN`; `data.dialogues` packs them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from jax import lax
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from mmjax.decoders.prefix import BothWays, LanguageCache, empty_prefix, prefix_vectors
from mmjax.nn.checks import non_negative
from mmjax.nn.factored_logits import FactoredLogits
from mmjax.types import Declared, Padded, Tokens

__all__ = ["BEGIN", "BothWaysRule", "Interleaved", "InterleavedCache", "PrefixLM", "both_ways_in_images"]

BEGIN = 1 << 30
"""The id before each text in a row of several texts. No memory has a vector of this number, so it is padding."""

BothWaysRule = Callable[[Int[Array, "b n"], int, Bool[Array, ""]], BothWays]
"""(ids, -1 for padding; `vocabulary`; whether they begin the text) -> which tokens attend to each other in both directions."""


def both_ways_in_images(ids: Int[Array, "b n"], vocabulary: int, first: Bool[Array, ""]) -> BothWays:
    """Each run of vectors attends to itself in both directions, as in Gemma 3. A step must contain complete runs."""
    del first
    vector = ids >= vocabulary
    begins = vector & ~jnp.pad(vector, ((0, 0), (1, 0)))[:, :-1]
    return BothWays(jnp.where(vector, jnp.cumsum(begins, axis=1) - 1, -1), True)


@dataclass(frozen=True)
class PrefixLM:
    """Tokens up to the first separator attend to each other in both directions, later ones are causal (Raffel et al., 2020,
    "T5", figure 3), as in PaliGemma. The first step must contain the separator.

    separator: the id of the last token of a prefix, such as the line break.
    """

    separator: int

    def __call__(self, ids: Int[Array, "b n"], vocabulary: int, first: Bool[Array, ""]) -> BothWays:
        del vocabulary
        found = ids == self.separator
        before = jnp.cumsum(found, axis=1) - found
        return BothWays(jnp.where(first & found.any(axis=1, keepdims=True) & (before == 0), 0, -1), False)


@struct.dataclass
class InterleavedCache:
    """The cache of `Interleaved`; a plain pytree.

    text: of the language model. memory: the vectors of each sequence. after: Int[b], the position after the last token, for
    models with places.
    """

    text: Declared[LanguageCache]
    memory: Declared[Tokens]
    after: Declared[Int[Array, " b"]]

    @property
    def layout(self) -> "InterleavedCache":
        """As of `LanguageCache`."""
        memory = Tokens(PartitionSpec("batch", "time", "features"), PartitionSpec("batch", "time"))
        return self.replace(text=self.text.layout, memory=memory, after=PartitionSpec("batch"))

    def pad_left(self, padding: Int[Array, " b"]) -> "InterleavedCache":
        """As of `LanguageCache`."""
        return self.replace(text=self.text.pad_left(padding))

    def enlarged(self, slots: int) -> "InterleavedCache":
        """As of `LanguageCache`."""
        return self.replace(text=self.text.enlarged(slots))

    def reorder(self, source: Int[Array, " b"]) -> "InterleavedCache":
        """As of `LanguageCache`; sequences that are exchanged have the same memory."""
        return self.replace(text=self.text.reorder(source))


class Interleaved(nn.Module):
    """(token ids with vectors among them, Tokens) -> next-token logits; the parameters are those of the language model.

    The id `vocabulary` + k stands for vector k of the memory. If that vector is masked or missing, the token is padding: no
    token attends to it, and positions do not count it. So a text with an absent image is the same text without the image.

    model: `LanguageModel`. prompt: ids before every text, vectors included. With `BEGIN`, texts of a row do not attend to each
    other in teacher forcing, and positions restart, so a row has the logits of its texts one by one. both_ways: which tokens
    attend to each other in both directions, such as `both_ways_in_images` or `PrefixLM(separator)`; None for causal attention.
    places: whether three numbers follow those of each vector: its row and column, and by how much positions grow after it. The
    model then has a `GridRope`, and a token is at (p, p + row, p + column) for the position p before it; a word at (p, p, p).
    """

    model: nn.Module
    prompt: tuple[int, ...]
    both_ways: BothWaysRule | None = None
    places: bool = False

    def setup(self):
        non_negative(self, "prompt")
        if not self.prompt:
            raise ValueError("Interleaved.prompt is (); it must have at least one token id")
        if BEGIN in self.prompt and isinstance(self.both_ways, PrefixLM):
            raise ValueError("Interleaved.both_ways is PrefixLM, which has one text per row, but Interleaved.prompt has BEGIN")
        nn.share_scope(self, self.model)

    def _vectors(self, memory: Tokens) -> Float[Array, "b m d"]:
        """The vectors, with their places behind them, and zeros where they are masked."""
        return prefix_vectors("LanguageModel", memory, self.model.width + (3 if self.places else 0))

    def _input(
        self, ids: Padded, memory: Tokens
    ) -> tuple[Float[Array, "b n d"], Bool[Array, "b n"], Int[Array, "b n 3"] | None]:
        """The input of the blocks, which tokens are valid, and the place of each token."""
        vectors, mask = self._vectors(memory), memory.mask
        vectors, mask = jnp.pad(vectors, ((0, 0), (0, 1), (0, 0))), jnp.pad(mask, ((0, 0), (0, 1)))  # beyond the last: masked
        number = ids.x - self.vocabulary
        is_vector = ids.mask & (number >= 0)
        number = jnp.clip(number, 0, mask.shape[1] - 1)
        vector = jnp.take_along_axis(vectors, number[..., None], axis=1)
        words = self.model.embedded(jnp.where(ids.mask & ~is_vector, ids.x, 0))
        there = jnp.where(is_vector, jnp.take_along_axis(mask, number, axis=1), ids.mask)
        vector, place = jnp.split(vector, [self.model.width], axis=-1)
        place = jnp.where(is_vector[..., None], place, jnp.array([0, 0, 1])).astype(jnp.int32) if self.places else None
        return jnp.where(is_vector[..., None], vector, words), there, place

    def _positions(
        self,
        place: Int[Array, "b n 3"] | None,
        valid: Bool[Array, "b n"],
        first: Int[Array, " b"],
        begins: Bool[Array, "b n"] | None = None,
    ) -> tuple[Int[Array, "b n 3"] | None, Int[Array, " b"]]:
        """(time, row, column) of each token, and the position after the last one. first: of the first token. begins: where
        positions restart."""
        if place is None:
            return None, first
        growth = jnp.where(valid, place[..., 2], 0)
        before = first[:, None] + jnp.cumsum(growth, axis=1) - growth
        if begins is not None:
            before = before - lax.cummax(jnp.where(begins, before, 0), axis=1)
        grid = jnp.concatenate([jnp.zeros_like(place[..., :1]), place[..., :2]], axis=-1)
        return before[..., None] + grid, first + growth.sum(axis=1)

    def _both_ways(self, ids: Int[Array, "b n"], valid: Bool[Array, "b n"], first: Any) -> BothWays | None:
        if self.both_ways is None:
            return None
        return self.both_ways(jnp.where(valid, ids, -1), self.vocabulary, jnp.asarray(first))

    def states(self, ids: Padded, memory: Tokens | None = None, *, train: bool = False) -> Float[Array, "b n d"]:
        """The output of the blocks at each token: the input of `logits`."""
        x, valid, place = self._input(ids, empty_prefix(ids.x.shape[0]) if memory is None else memory)
        both_ways = self._both_ways(ids.x, valid, True)
        begins = ids.x == BEGIN if BEGIN in self.prompt else None
        segments = None if begins is None else jnp.cumsum(begins, axis=1, dtype=jnp.int32)
        places, _ = self._positions(place, valid, jnp.zeros(x.shape[0], jnp.int32), begins)
        return self.model.run_blocks(x, valid, None, 0, train, segments, both_ways=both_ways, places=places)[0]

    def factored(self, x: Float[Array, "b n d"]) -> FactoredLogits:
        """As of the language model."""
        return self.model.factored(x)

    def logits(self, x: Float[Array, "b n d"]) -> Float[Array, "b n vocabulary"]:
        """As of the language model."""
        return self.model.logits(x)

    def __call__(self, ids: Padded, memory: Tokens | None = None, *, train: bool = False) -> Float[Array, "b n vocabulary"]:
        """All positions at once, for teacher forcing. memory: the vectors; None if there are none."""
        return self.logits(self.states(ids, memory, train=train))

    @property
    def end(self) -> int:
        return self.model.end

    @property
    def vocabulary(self) -> int:
        return self.model.vocabulary

    def init_cache(self, memory: Tokens, max_tokens: int, beams: int = 1) -> InterleavedCache:
        """A cache with room for `max_tokens` tokens, vectors included. beams: sequences per memory, adjacent in the batch."""
        text = self.model.init_cache(empty_prefix(memory.mask.shape[0]), max_tokens, beams)
        memory = Tokens(self._vectors(memory), memory.mask)
        memory = jax.tree.map(lambda leaf: jnp.repeat(leaf, beams, axis=0), memory)
        return InterleavedCache(text, memory, jnp.zeros(memory.mask.shape[0], jnp.int32))

    def step_states(self, ids: Int[Array, "b n"], cache: InterleavedCache) -> tuple[Float[Array, "b n d"], InterleavedCache]:
        """As `step`, with the input of `logits` instead of the logits."""
        text, count = cache.text, ids.shape[1]
        x, there, place = self._input(Padded(ids, jnp.full(ids.shape[0], count)), cache.memory)
        there &= lax.dynamic_slice_in_dim(text.valid, text.count, count, axis=1)
        valid = lax.dynamic_update_slice(text.valid, there, (0, text.count))
        both_ways = self._both_ways(ids, there, text.count == 0)
        places, after = self._positions(place, there, cache.after)
        x, past = self.model.run_blocks(x, valid, text.past, text.count, False, both_ways=both_ways, places=places)
        return x, cache.replace(text=text.replace(past=past, valid=valid, count=text.count + count), after=after)

    def step(self, ids: Int[Array, "b n"], cache: InterleavedCache) -> tuple[Float[Array, "b n vocabulary"], InterleavedCache]:
        """The logits after each of n tokens that follow those in the cache. The cache must have room for them."""
        x, cache = self.step_states(ids, cache)
        return self.logits(x), cache
