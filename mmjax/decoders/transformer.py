"""A Transformer decoder with cross-attention (Vaswani et al., 2017). Its cache is a value that goes in and comes out."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from jax import lax
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from mmjax.nn.attention import attend, attention_weights, gelu
from mmjax.nn.checks import divides, non_negative, positive, rate, text_ids
from mmjax.nn.dense import Dense
from mmjax.nn.dropout import Dropout
from mmjax.types import Declared, Padded, Tokens

__all__ = ["Cache", "CachedAttention", "Decoder", "DecoderBlock", "KeysValues", "reorder_beams"]

KeysValues = tuple[Float[Array, "_ h _ k"], Float[Array, "_ h _ k"]]  # of h heads, k wide


@struct.dataclass
class Cache:
    """The keys and values that a decoder keeps between steps; a plain pytree.

    past: (keys, values) of each block's self-attention, Float[b h max_tokens k]; zeros from position `count` on.
    memory: (keys, values) of each block's cross-attention, Float[a h m k]. Each memory belongs to b / a adjacent sequences.
    memory_mask: Bool[a m], True for valid tokens of the memory.
    count: Int[], the number of tokens in `past`.
    padding: Int[b], the number of masked tokens before each sequence; None for no padding.
    """

    past: Declared[tuple[KeysValues, ...]]
    memory: Declared[tuple[KeysValues, ...]]
    memory_mask: Declared[Bool[Array, "a m"]]
    count: Declared[Int[Array, ""]]
    padding: Declared[Int[Array, " b"] | None] = None

    @property
    def layout(self) -> "Cache":
        """The logical axes of each array, as `PartitionSpec`s for `flax.linen.logical_to_mesh_sharding`."""
        past, memory = jax.tree.map(lambda _: PartitionSpec("batch", "heads", "time", "features"), (self.past, self.memory))
        padding = None if self.padding is None else PartitionSpec("batch")
        return Cache(past, memory, PartitionSpec("batch", "time"), PartitionSpec(), padding)

    def pad_left(self, padding: Int[Array, " b"]) -> "Cache":
        """The cache, empty before, in which the first padding[i] tokens of row i are masked and have no positions."""
        return self.replace(padding=padding)

    def reorder(self, source: Int[Array, " b"]) -> "Cache":
        """The cache in which row i continues the sequence of row source[i], a sequence of the same memory."""
        past = reorder_beams(self.past, source, source.shape[0] // self.memory_mask.shape[0])
        return self.replace(past=past, padding=None if self.padding is None else self.padding[source])


def reorder_beams(past: Any, source: Int[Array, " b"], beams: int) -> Any:
    """Arrays [b ...] -> arrays [b ...] whose row i is row source[i], one of the `beams` adjacent rows of the same memory."""
    number = (source % beams).reshape(-1, beams)

    def select(x):
        """x[source], of which XLA on a CPU makes a slow loop, as `beams` selections that it can vectorize."""
        x = x.reshape(-1, beams, *x.shape[1:])
        chosen = jnp.broadcast_to(x[:, :1], x.shape)
        for beam in range(1, beams):
            chosen = jnp.where((number == beam).reshape(*number.shape, *(1,) * (x.ndim - 2)), x[:, beam : beam + 1], chosen)
        return chosen.reshape(-1, *x.shape[2:])

    return jax.tree.map(select if beams <= 8 else lambda x: x[source], past)


class CachedAttention(nn.Module):
    """`nn.Attention` with keys and values computed apart, so that they can be cached. It has the same parameters.

    width: of queries and output. heads, key_bias, dtype: as in `nn.Attention`.
    """

    width: int
    heads: int
    key_bias: bool = True
    dtype: Any = jnp.float32

    def setup(self):
        divides(self, "heads", "width")
        dense = lambda bias=True: Dense(self.width, use_bias=bias, dtype=self.dtype)
        self.query, self.key, self.value, self.out = dense(), dense(self.key_bias), dense(), dense()

    def _split(self, y):
        return y.reshape(*y.shape[:2], self.heads, -1).swapaxes(1, 2)

    def keys_values(self, context: Float[Array, "b m e"]) -> KeysValues:
        """The keys and values of a context, Float[b h m k] each."""
        return self._split(self.key(context)), self._split(self.value(context))

    def __call__(
        self,
        x: Float[Array, "b n d"],
        keys: Float[Array, "b h m k"],
        values: Float[Array, "b h m k"],
        mask: Bool[Array, "b m"] | Bool[Array, "b n m"],
    ) -> Float[Array, "b n d"]:
        attended = attend(self._split(self.query(x)), keys, values, mask).swapaxes(1, 2)
        return self.out(attended.reshape(*x.shape[:2], self.width))

    def weights(
        self, x: Float[Array, "b n d"], keys: Float[Array, "b h m k"], mask: Bool[Array, "b m"]
    ) -> Float[Array, "b n m"]:
        """The attention weights, averaged over heads."""
        return attention_weights(self._split(self.query(x)), keys, mask).mean(axis=1)


class DecoderBlock(nn.Module):
    """Self-attention, cross-attention to a memory, and a two-layer perceptron; each pre-norm with a residual connection.

    width, heads: of both attentions. hidden, activation: of the perceptron. epsilon: of the layer norms. key_bias: of both
    attentions. dropout: rate on the output of each sublayer. dtype: of the matmuls.
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
        self.up, self.down = (Dense(size, dtype=self.dtype) for size in (self.hidden, self.width))
        self.drop = Dropout(self.dropout)

    def __call__(
        self,
        x: Float[Array, "b n d"],
        past: KeysValues,
        memory: KeysValues,
        memory_mask: Bool[Array, "a m"],
        count: Int[Array, ""],
        padding: Int[Array, " b"] | None = None,
        *,
        train: bool = False,
    ) -> tuple[Float[Array, "b n d"], KeysValues]:
        """x: the tokens number count, ..., count + n - 1. padding: as in `Cache`. Returns the output and `past` with the keys
        and values of x."""
        add = lambda x, y: x + self.drop(y.astype(jnp.float32), train=train)
        x, past = self._self_attended(x, past, count, padding, train)
        query = self.norm_cross(x).reshape(memory_mask.shape[0], -1, self.width)  # all sequences of a memory as one
        x = add(x, self.cross(query, *memory, memory_mask).reshape(x.shape))
        return add(x, self.down(self.activation(self.up(self.norm2(x))))), past

    def memory_weights(
        self, x: Float[Array, "b n d"], past: KeysValues, memory: KeysValues, memory_mask: Bool[Array, "b m"]
    ) -> Float[Array, "b n m"]:
        """The weights of the cross-attention, averaged over heads, for the first n tokens of each sequence."""
        x, _ = self._self_attended(x, past, jnp.zeros((), jnp.int32), None, False)
        return self.cross.weights(self.norm_cross(x), memory[0], memory_mask)

    def _self_attended(self, x, past, count, padding, train):
        y = self.norm1(x)
        past = tuple(
            lax.dynamic_update_slice(old, new.astype(old.dtype), (0, 0, count, 0))
            for old, new in zip(past, self.attention.keys_values(y))
        )
        causal = jnp.arange(past[0].shape[2])[None] <= count + jnp.arange(x.shape[1])[:, None]
        visible = jnp.broadcast_to(causal[None], (x.shape[0], *causal.shape))
        if padding is not None:
            visible &= (jnp.arange(past[0].shape[2])[None] >= padding[:, None])[:, None]
        attended = self.attention(y, *past, visible).astype(jnp.float32)
        return x + self.drop(attended, train=train), past


class Decoder(nn.Module):
    """(token ids, memory Tokens) -> next-token logits, Float[b n vocabulary].

    Token and learned position embeddings, pre-norm blocks (`DecoderBlock`), and a final layer norm. A token attends to itself,
    the tokens before it, and the memory.

        cache = decoder.init_cache(memory, max_tokens)     # each method through `apply(..., method=...)`
        logits, cache = decoder.step(ids, cache)           # ids Int[b n], any n >= 1

    vocabulary: number of token ids. positions: the longest sequence, in tokens. depth: number of blocks. width, heads, hidden,
    dropout, activation, epsilon, key_bias: as in `DecoderBlock`; dropout also on the embeddings. tied: whether the output layer
    shares the weights of the token embedding (Press and Wolf, 2017); otherwise it has its own. prompt: token ids before every
    text. end: id of the end token. dtype: of the matmuls and the cache; norms, residuals and logits are float32.
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
    tied: bool = True
    prompt: tuple[int, ...] = (0,)
    end: int = 0
    dtype: Any = jnp.float32

    def setup(self):
        positive(self, "vocabulary", "hidden", "positions")
        text_ids(self)
        divides(self, "heads", "width")
        non_negative(self, "depth")
        rate(self, "dropout")
        normal = nn.initializers.normal(0.02)
        self.word = nn.Embed(self.vocabulary, self.width, embedding_init=normal)
        self.position = self.param("position", normal, (self.positions, self.width))
        self.output = None if self.tied else self.param("output", normal, (self.vocabulary, self.width))
        self.drop = Dropout(self.dropout)
        self.norm = nn.LayerNorm(self.epsilon)
        fields = {name: getattr(self, name) for name in DecoderBlock.__dataclass_fields__ if name not in ("parent", "name")}
        for number in range(self.depth):
            setattr(self, f"block{number}", DecoderBlock(**fields))

    def _blocks(self) -> list[DecoderBlock]:
        return [getattr(self, f"block{number}") for number in range(self.depth)]

    def init_cache(self, memory: Tokens, max_tokens: int, beams: int = 1) -> Cache:
        """An empty cache with room for `max_tokens` tokens. beams: sequences per memory, adjacent in the batch.

        Raises ValueError if `max_tokens` exceeds the field `positions`.
        """
        if max_tokens > self.positions:
            raise ValueError(f"Decoder.positions is {self.positions}, but the cache is to hold {max_tokens} tokens")
        zeros = jnp.zeros((memory.x.shape[0] * beams, self.heads, max_tokens, self.width // self.heads), self.dtype)
        x = jnp.where(memory.mask[..., None], memory.x, 0)  # masked values may be NaN, which attention weights of 0 would keep
        keys_values = tuple(block.cross.keys_values(x) for block in self._blocks())
        return Cache(((zeros, zeros),) * self.depth, keys_values, memory.mask, jnp.zeros((), jnp.int32))

    def step(
        self, ids: Int[Array, "b n"], cache: Cache, *, train: bool = False
    ) -> tuple[Float[Array, "b n vocabulary"], Cache]:
        """The logits after each of n tokens that follow those in the cache. The cache must have room for them."""
        if cache.padding is None:
            position = lax.dynamic_slice(self.position, (cache.count, 0), (ids.shape[1], self.width))[None]
        else:
            number = cache.count + jnp.arange(ids.shape[1])[None] - cache.padding[:, None]
            position = self.position[jnp.maximum(number, 0)]
        x = self.drop(self.word(ids) + position, train=train)
        past = []
        for block, past_of_block, memory in zip(self._blocks(), cache.past, cache.memory):
            x, new = block(x, past_of_block, memory, cache.memory_mask, cache.count, cache.padding, train=train)
            past.append(new)
        table = (self.word.embedding if self.tied else self.output).astype(self.dtype)
        logits = jnp.einsum("bnd,vd->bnv", self.norm(x).astype(self.dtype), table, preferred_element_type=jnp.float32)
        return logits, cache.replace(past=tuple(past), count=cache.count + ids.shape[1])

    def __call__(self, ids: Padded, memory: Tokens, *, train: bool = False) -> Float[Array, "b n vocabulary"]:
        """All positions at once, for teacher forcing. ids: x Int[b n]; logits beyond the length are undefined."""
        return self.step(ids.x, self.init_cache(memory, ids.x.shape[1]), train=train)[0]

    def memory_weights(self, ids: Padded, memory: Tokens) -> Float[Array, "b n m"]:
        """The cross-attention of the last block at each token, averaged over heads: weights of the memory that sum to 1, zeros
        without a valid memory or without blocks. ids: as in `__call__`."""
        length, blocks = ids.x.shape[1], self._blocks()
        if not blocks:
            return jnp.zeros((*ids.x.shape, memory.mask.shape[1]))
        cache = self.init_cache(memory, length)
        x = self.word(ids.x) + self.position[None, :length]
        for block, past, keys_values in zip(blocks[:-1], cache.past, cache.memory):
            x, _ = block(x, past, keys_values, cache.memory_mask, cache.count)
        return blocks[-1].memory_weights(x, cache.past[-1], cache.memory[-1], cache.memory_mask)
