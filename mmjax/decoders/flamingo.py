"""Gated cross-attention: a language model that attends to vectors, such as those of images, between its blocks.

In Flamingo (Alayrac et al., 2022, "Flamingo: a visual language model for few-shot learning") the text has no vectors in it, and
the language model stays frozen. A layer in front of its blocks attends to the vectors; gates that are zero at first leave the
language model as it is. `fusion.flamingo_resampler` makes the vectors.
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

from mmjax.decoders.language_model import BeforeBlock, LanguageModel
from mmjax.decoders.prefix import LanguageCache, attended, prefix_vectors
from mmjax.decoders.transformer import KeysValues
from mmjax.nn.attention import attend
from mmjax.nn.checks import divides, non_negative, positive
from mmjax.nn.factored_logits import FactoredLogits
from mmjax.types import Declared, Padded, Tokens

__all__ = ["Flamingo", "FlamingoCache", "GatedCrossBlock", "LastImage", "squared_relu"]


def squared_relu(x: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """max(x, 0)^2 (So et al., 2021, "Primer")."""
    return jnp.square(jax.nn.relu(x))


class GatedCrossBlock(nn.Module):
    """x <- x + tanh(a) A(norm(x), c), then x + tanh(b) M(norm(x)), with attention A to a context c and a perceptron M (section
    2.2 and figure 4). The gates a and b are 0 at first, so the layer is the identity.

    Dense layers have no biases: without a valid vector, A is zero. width, heads: of the attention. hidden, activation: of the
    perceptron. dtype: of the matmuls; norms, gates and residuals are float32.
    """

    width: int
    heads: int
    hidden: int
    activation: Callable = squared_relu
    dtype: Any = jnp.float32

    def setup(self):
        divides(self, "heads", "width")
        dense = lambda size: nn.Dense(size, use_bias=False, dtype=self.dtype)
        self.query, self.key, self.value, self.out = (dense(self.width) for _ in range(4))
        self.up, self.down = dense(self.hidden), dense(self.width)
        self.norm1, self.norm2 = nn.LayerNorm(1e-5), nn.LayerNorm(1e-5)  # float32
        self.gate1, self.gate2 = (self.param(name, nn.initializers.zeros, ()) for name in ("gate1", "gate2"))

    def _split(self, x):
        return x.reshape(*x.shape[:2], self.heads, -1).swapaxes(1, 2)

    def keys_values(self, context: Float[Array, "a m e"]) -> KeysValues:
        """The keys and values of a context, Float[a h m k] each."""
        return self._split(self.key(context)), self._split(self.value(context))

    def __call__(
        self, x: Float[Array, "b n d"], context: KeysValues, mask: Bool[Array, "a m"] | Bool[Array, "a c m"]
    ) -> Float[Array, "b n d"]:
        """context: of `keys_values`. Each belongs to b / a adjacent rows of x, whose c = n b / a tokens attend where mask is
        True."""
        query = self.query(self.norm1(x).reshape(mask.shape[0], -1, self.width))
        y = attend(self._split(query), *context, mask).swapaxes(1, 2).reshape(x.shape)
        x = x + jnp.tanh(self.gate1) * self.out(y).astype(jnp.float32)
        y = self.down(self.activation(self.up(self.norm2(x))))
        return x + jnp.tanh(self.gate2) * y.astype(jnp.float32)


@dataclass(frozen=True)
class LastImage:
    """A token attends to the last image before it; to none before the first one (section 2.3).

    marker: the token id that stands for an image. vectors: of each image, in the order of the markers, such as the queries of a
    resampler. ValueError for a negative marker or no vectors.
    """

    marker: int
    vectors: int

    def __post_init__(self):
        non_negative(self, "marker")
        positive(self, "vectors")

    def visible(self, images: Int[Array, "b n"], count: int) -> Bool[Array, "b n m"]:
        """Whether a token attends to each of m = count vectors. images: how many begin up to each token."""
        return images[..., None] == 1 + jnp.arange(count)[None, None] // self.vectors


@struct.dataclass
class FlamingoCache:
    """The cache of `Flamingo`; a plain pytree.

    text: of the language model. memory: (keys, values) of each gated layer, Float[a h m k]. memory_mask: Bool[a m], True for
    valid vectors. images: Int[b], how many images begin in each text so far.
    """

    text: Declared[LanguageCache]
    memory: Declared[tuple[KeysValues, ...]]
    memory_mask: Declared[Bool[Array, "a m"]]
    images: Declared[Int[Array, " b"]]

    @property
    def layout(self) -> "FlamingoCache":
        """As of `LanguageCache`."""
        memory = jax.tree.map(lambda _: PartitionSpec("batch", "heads", "time", "features"), self.memory)
        return FlamingoCache(self.text.layout, memory, PartitionSpec("batch", "time"), PartitionSpec("batch"))

    def pad_left(self, padding: Int[Array, " b"]) -> "FlamingoCache":
        """As of `LanguageCache`."""
        return self.replace(text=self.text.pad_left(padding))

    def enlarged(self, slots: int) -> "FlamingoCache":
        """As of `LanguageCache`."""
        return self.replace(text=self.text.enlarged(slots))

    def reorder(self, source: Int[Array, " b"]) -> "FlamingoCache":
        """As of `LanguageCache`; sequences that are exchanged have the same memory."""
        return self.replace(text=self.text.reorder(source), images=self.images[source])


class Flamingo(nn.Module):
    """(token ids, Tokens) -> next-token logits, Float[b n vocabulary], by a language model with gated cross-attention.

    A `GatedCrossBlock` stands before every `every`-th block, from the first one. At initialisation the logits are those of the
    language model. Its parameters are under "language", those of the gated layers under "cross0", ...: published weights are
    `weights={"decoders_text/language": ...}`, and with `learns=("fusion", r"decoders_text/cross\\d+")` they stay frozen.

    A row has one text: with `PackedDecoder`, or a `BEGIN` in its ids, one text would see the images of others.

    language: `LanguageModel`. every: the distance of gated layers, in blocks. heads: of their attention. hidden: of their
    perceptrons; None for 4 times the width. vectors: how many vectors of the memory they attend to, the first ones; the others
    are a prefix of the text, as of the language model, such as a question. None for all of the memory. images: which vectors a
    token attends to; None for all.
    """

    language: nn.Module
    every: int = 1
    heads: int = 8
    hidden: int | None = None
    vectors: int | None = None
    images: LastImage | None = None

    def setup(self):
        positive(self, "every", "heads", "hidden", "vectors")
        if not isinstance(self.language, LanguageModel):
            raise ValueError(f"Flamingo.language is {type(self.language).__name__}; it must be LanguageModel")
        width = self.language.width
        for number in range(0, self.language.depth, self.every):
            block = GatedCrossBlock(width, self.heads, self.hidden or 4 * width, dtype=self.language.dtype)
            setattr(self, f"cross{number}", block)

    def _parts(self, memory: Tokens) -> tuple[Tokens, Tokens]:
        """(the vectors that gated layers attend to, those before the text)."""
        count = memory.mask.shape[1] if self.vectors is None else self.vectors
        return jax.tree.map(lambda leaf: leaf[:, :count], memory), jax.tree.map(lambda leaf: leaf[:, count:], memory)

    def _keys_values(self, memory: Tokens) -> tuple[KeysValues, ...]:
        """Those of each gated layer. Masked vectors are zeros, as they may be NaN."""
        x = jnp.where(memory.mask[..., None], memory.x, 0)
        layers = (getattr(self, f"cross{number}") for number in range(0, self.language.depth, self.every))
        return tuple(layer.keys_values(x) for layer in layers)

    def _begun(self, ids: Int[Array, "b n"], valid: Bool[Array, "b n"], before: Int[Array, " b"]) -> Int[Array, "b n"]:
        """How many images begin up to each token. before: in the text before these tokens."""
        marked = jnp.zeros_like(valid) if self.images is None else valid & (ids == self.images.marker)
        return before[:, None] + jnp.cumsum(marked, axis=1, dtype=jnp.int32)

    def _layers(self, memory: tuple[KeysValues, ...], mask: Bool[Array, "a m"], begun: Int[Array, "b n"]) -> BeforeBlock:
        """The gated layers, for `LanguageModel.run_blocks`. memory: of `_keys_values`. mask: its valid vectors."""
        if self.images is not None:
            seen = self.images.visible(begun, mask.shape[1]).reshape(mask.shape[0], -1, mask.shape[1])
            mask = mask[:, None] & seen

        def before_block(number, x):
            if number % self.every:
                return x
            return getattr(self, f"cross{number}")(x, memory[number // self.every], mask)

        return before_block

    def states(self, ids: Padded, memory: Tokens, *, train: bool = False) -> Float[Array, "b n d"]:
        """The output of the blocks at each token: the input of `logits`."""
        seen, prefix = self._parts(memory)
        before = prefix_vectors("LanguageModel", prefix, self.language.width)
        x = jnp.concatenate([before, self.language.embedded(attended(ids))], axis=1)
        none = jnp.zeros(prefix.mask.shape, jnp.int32)  # no image begins in the prefix
        begun = jnp.concatenate([none, self._begun(ids.x, ids.mask, jnp.zeros(ids.x.shape[0], jnp.int32))], axis=1)
        layers = self._layers(self._keys_values(seen), seen.mask, begun)
        valid = jnp.concatenate([prefix.mask, ids.mask], axis=1)
        return self.language.run_blocks(x, valid, None, 0, train, before_block=layers)[0][:, none.shape[1] :]

    def factored(self, x: Float[Array, "b n d"]) -> FactoredLogits:
        """As of the language model."""
        return self.language.factored(x)

    def logits(self, x: Float[Array, "b n d"]) -> Float[Array, "b n vocabulary"]:
        """As of the language model."""
        return self.language.logits(x)

    def __call__(self, ids: Padded, memory: Tokens, *, train: bool = False) -> Float[Array, "b n vocabulary"]:
        """All positions at once, for teacher forcing. memory: at least one vector, which may be masked; of any width, unless
        there is a prefix."""
        return self.logits(self.states(ids, memory, train=train))

    @property
    def prompt(self) -> tuple[int, ...]:
        return self.language.prompt

    @property
    def end(self) -> int:
        return self.language.end

    @property
    def vocabulary(self) -> int:
        return self.language.vocabulary

    def init_cache(self, memory: Tokens, max_tokens: int, beams: int = 1) -> FlamingoCache:
        """A cache with room for `max_tokens` tokens. beams: sequences per memory, adjacent in the batch."""
        seen, prefix = self._parts(memory)
        keys_values = self._keys_values(seen)
        layers = self._layers(keys_values, seen.mask, jnp.zeros(prefix.mask.shape, jnp.int32))
        text = self.language.init_cache(prefix, max_tokens, beams, layers)
        return FlamingoCache(text, keys_values, seen.mask, jnp.zeros(memory.mask.shape[0] * beams, jnp.int32))

    def step_states(self, ids: Int[Array, "b n"], cache: FlamingoCache) -> tuple[Float[Array, "b n d"], FlamingoCache]:
        """As `step`, with the input of `logits` instead of the logits."""
        text, x = cache.text, self.language.embedded(ids)
        valid = lax.dynamic_slice_in_dim(text.valid, text.count, ids.shape[1], axis=1)
        begun = self._begun(ids, valid, cache.images)
        layers = self._layers(cache.memory, cache.memory_mask, begun)
        x, past = self.language.run_blocks(x, text.valid, text.past, text.count, False, before_block=layers)
        return x, cache.replace(text=text.replace(past=past, count=text.count + ids.shape[1]), images=begun[:, -1])

    def step(self, ids: Int[Array, "b n"], cache: FlamingoCache) -> tuple[Float[Array, "b n vocabulary"], FlamingoCache]:
        """The logits after each of n tokens that follow those in the cache. The cache must have room for them."""
        x, cache = self.step_states(ids, cache)
        return self.logits(x), cache
