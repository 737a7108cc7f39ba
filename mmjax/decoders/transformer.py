"""A Transformer decoder (Vaswani et al., 2017) whose cache is a value that goes in and comes out; for `nn.search`."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax import struct
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from mmjax.nn.attention import attend, gelu
from mmjax.nn.dropout import Dropout
from mmjax.types import Padded, Tokens


@struct.dataclass
class Cache:
    """What a decoder keeps from one step to the next, a plain pytree.

    own: for each block (keys, values), Float[b h most k] each, of the words so far; zeros from `count` on.
    memory: for each block (keys, values), Float[a h m k] each, of what it looks at; mask: Bool[a m], which of that is there.
    Each memory is that of b / a texts, which are side by side.
    count: Int[], how many words it has seen.
    """

    own: Any
    memory: Any
    mask: Any
    count: Any


class CachedAttention(nn.Module):
    """`nn.Attention` in two halves, so that keys and values can be kept; the same parameters under the same names.

    width: of queries and result. heads, key_bias, dtype: as there.
    """

    width: int
    heads: int
    key_bias: bool = True
    dtype: Any = jnp.float32

    def setup(self):
        if self.width % self.heads:
            raise ValueError(f"CachedAttention.heads is {self.heads}, which does not divide the width {self.width}")
        dense = lambda bias=True: nn.Dense(self.width, use_bias=bias, dtype=self.dtype)
        self.query, self.key, self.value, self.out = dense(), dense(self.key_bias), dense(), dense()

    def _split(self, y):
        return y.reshape(*y.shape[:2], self.heads, -1).swapaxes(1, 2)

    def remember(self, context: Float[Array, "b m e"]) -> tuple[Float[Array, "b h m k"], Float[Array, "b h m k"]]:
        """Keys and values of a context."""
        return self._split(self.key(context)), self._split(self.value(context))

    def __call__(
        self,
        x: Float[Array, "b n d"],
        keys: Float[Array, "b h m k"],
        values: Float[Array, "b h m k"],
        mask: Bool[Array, "b m"] | Bool[Array, "b n m"],
    ) -> Float[Array, "b n d"]:
        seen = attend(self._split(self.query(x)), keys, values, mask).swapaxes(1, 2)
        return self.out(seen.reshape(*x.shape[:2], self.width))


class DecoderBlock(nn.Module):
    """Self-attention, attention to a memory and a two-layer perceptron, each pre-norm with a residual.

    width, heads; hidden, activation: of the perceptron. epsilon: of the norms. key_bias: of both attentions. dropout: rate on
    what each residual adds.
    """

    width: int
    heads: int
    hidden: int
    dropout: float = 0.0
    activation: Callable = gelu
    epsilon: float = 1e-5
    key_bias: bool = True
    dtype: Any = jnp.float32

    def setup(self):
        self.attention = CachedAttention(self.width, self.heads, self.key_bias, self.dtype)
        self.cross = CachedAttention(self.width, self.heads, self.key_bias, self.dtype)
        self.norm1, self.norm_cross, self.norm2 = (nn.LayerNorm(self.epsilon) for _ in range(3))  # float32
        self.up, self.down = (nn.Dense(size, dtype=self.dtype) for size in (self.hidden, self.width))
        self.drop = Dropout(self.dropout)

    def __call__(
        self,
        x: Float[Array, "b n d"],
        own: tuple[Float[Array, "b h most k"], Float[Array, "b h most k"]],
        memory: tuple[Float[Array, "a h m k"], Float[Array, "a h m k"]],
        mask: Bool[Array, "a m"],
        count: Int[Array, ""],
        *,
        train: bool = False,
    ) -> tuple[Float[Array, "b n d"], tuple[Float[Array, "b h most k"], Float[Array, "b h most k"]]]:
        """x are the words from `count` on; gives (x, own with their keys and values)."""
        added = lambda x, y: x + self.drop(y.astype(jnp.float32), train=train)
        y = self.norm1(x)
        own = tuple(
            lax.dynamic_update_slice(kept, new.astype(kept.dtype), (0, 0, count, 0))
            for kept, new in zip(own, self.attention.remember(y))
        )
        before = jnp.arange(own[0].shape[2])[None] <= count + jnp.arange(x.shape[1])[:, None]
        x = added(x, self.attention(y, *own, jnp.broadcast_to(before[None], (x.shape[0], *before.shape))))
        asking = self.norm_cross(x).reshape(mask.shape[0], -1, self.width)  # all texts of a memory at once
        x = added(x, self.cross(asking, *memory, mask).reshape(x.shape))
        return added(x, self.down(self.activation(self.up(self.norm2(x))))), own


class Decoder(nn.Module):
    """Words that are known -> logits of the word after each, Float[b n vocabulary], given a memory such as an encoder's tokens.

    Word and learned position are added, pre-norm blocks follow and a last norm, and the words' embedding is the output's
    weight too. A word sees itself, the words before it, and the memory.

        cache = decoder.begin(memory, most)          # all methods by `apply(..., method=...)`
        logits, cache = decoder.step(words, cache)   # of some more words, or of one

    vocabulary: how many words there are. positions: the longest text, in words. width, depth; the rest as in `DecoderBlock`.
    dtype: of the matmuls and of the cache; norms, residuals and logits are float32.
    """

    vocabulary: int
    width: int = 384
    depth: int = 4
    heads: int = 6
    hidden: int = 1536
    positions: int = 448
    dropout: float = 0.0
    activation: Callable = gelu
    epsilon: float = 1e-5
    key_bias: bool = True
    dtype: Any = jnp.float32

    def setup(self):
        normal = nn.initializers.normal(0.02)
        self.word = nn.Embed(self.vocabulary, self.width, embedding_init=normal)
        self.position = self.param("position", normal, (self.positions, self.width))
        self.drop = Dropout(self.dropout)
        self.norm = nn.LayerNorm(self.epsilon)
        fields = {name: getattr(self, name) for name in DecoderBlock.__dataclass_fields__ if name not in ("parent", "name")}
        for number in range(self.depth):
            setattr(self, f"block{number}", DecoderBlock(**fields))

    def _blocks(self) -> list[DecoderBlock]:
        return [getattr(self, f"block{number}") for number in range(self.depth)]

    def begin(self, memory: Tokens, most: int, texts: int = 1) -> Cache:
        """The cache before the first word, with room for `most` words. texts: for each memory, side by side."""
        if most > self.positions:
            raise ValueError(f"Decoder.positions is {self.positions}, and {most} words are asked for")
        empty = jnp.zeros((memory.x.shape[0] * texts, self.heads, most, self.width // self.heads), self.dtype)
        seen = tuple(block.cross.remember(memory.x) for block in self._blocks())
        return Cache(((empty, empty),) * self.depth, seen, memory.mask, jnp.zeros((), jnp.int32))

    def step(
        self, words: Int[Array, "b n"], cache: Cache, *, train: bool = False
    ) -> tuple[Float[Array, "b n vocabulary"], Cache]:
        """Logits after each of the words, which follow those that the cache has seen. There must be room for them in it."""
        position = lax.dynamic_slice(self.position, (cache.count, 0), (words.shape[1], self.width))
        x = self.drop(self.word(words) + position[None], train=train)
        own = []
        for block, kept, memory in zip(self._blocks(), cache.own, cache.memory):
            x, kept = block(x, kept, memory, cache.mask, cache.count, train=train)
            own.append(kept)
        x, table = self.norm(x).astype(self.dtype), self.word.embedding.astype(self.dtype)
        logits = jnp.einsum("bnd,vd->bnv", x, table, preferred_element_type=jnp.float32)
        return logits, cache.replace(own=tuple(own), count=cache.count + words.shape[1])

    def __call__(self, words: Padded, memory: Tokens, *, train: bool = False) -> Float[Array, "b n vocabulary"]:
        """All words at once. words: x Int[b n]; logits beyond their length mean nothing."""
        return self.step(words.x, self.begin(memory, words.x.shape[1]), train=train)[0]
