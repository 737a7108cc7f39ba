"""An LSTM decoder with soft attention to its memory (Xu et al., "Show, attend and tell", ICML 2015)."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax import struct
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from mmjax.nn.checks import positive, rate, text_ids
from mmjax.nn.dropout import Dropout
from mmjax.nn.pooling import masked_mean, masked_softmax
from mmjax.types import Declared, Padded, Tokens

__all__ = ["AttentionLSTM", "AttentionLSTMCache"]


@struct.dataclass
class AttentionLSTMCache:
    """The state of the LSTM between steps, and its memory; a plain pytree.

    hidden, cell: Float32[b n], h and c. values: Float[a m d], the memory, zero where it is masked. keys: Float[a m k], its
    projection for the attention. mask: Bool[a m]. Each memory belongs to b / a adjacent sequences. padding: Int[b], the number
    of tokens of each sequence that are still to be ignored; None for none.
    """

    hidden: Declared[Float[Array, "b n"]]
    cell: Declared[Float[Array, "b n"]]
    values: Declared[Float[Array, "a m d"]]
    keys: Declared[Float[Array, "a m k"]]
    mask: Declared[Bool[Array, "a m"]]
    padding: Declared[Int[Array, " b"] | None] = None

    @property
    def layout(self) -> "AttentionLSTMCache":
        """The logical axes of each array, as `PartitionSpec`s for `flax.linen.logical_to_mesh_sharding`."""
        state, memory = PartitionSpec("batch", "features"), PartitionSpec("batch", "time", "features")
        padding = None if self.padding is None else PartitionSpec("batch")
        return AttentionLSTMCache(state, state, memory, memory, PartitionSpec("batch", "time"), padding)

    def pad_left(self, padding: Int[Array, " b"]) -> "AttentionLSTMCache":
        """The cache, empty before, that ignores the first padding[i] tokens of row i."""
        return self.replace(padding=padding)

    def reorder(self, source: Int[Array, " b"]) -> "AttentionLSTMCache":
        """The cache in which row i continues the sequence of row source[i], a sequence of the same memory."""
        padding = None if self.padding is None else self.padding[source]
        return self.replace(hidden=self.hidden[source], cell=self.cell[source], padding=padding)


class _Cell(nn.Module):
    """One step: attention to the memory from the state before, then the LSTM."""

    width: int
    attention: int
    dtype: Any

    @nn.compact
    def __call__(
        self,
        state: tuple[Float[Array, "b n"], Float[Array, "b n"]],
        step: tuple[Float[Array, "b g"], Bool[Array, " b"] | None],
        memory: AttentionLSTMCache,
    ) -> tuple[
        tuple[Float[Array, "b n"], Float[Array, "b n"]],
        tuple[Float[Array, "b n"], Float[Array, "b d"], Float[Array, "b m"]],
    ]:
        """state: h and c. step: the projection of the token, and whether it is one or padding, which leaves h and c as they
        are; None without padding. Returns (h and c, (h, z, alpha))."""
        (hidden, cell), (x, valid), (memories, count, width) = state, step, memory.values.shape
        dense = lambda name, size, bias=True: nn.Dense(size, use_bias=bias, dtype=self.dtype, name=name)
        query = dense("query", self.attention)(hidden).reshape(memories, -1, 1, self.attention)
        scores = dense("score", 1, False)(jnp.tanh(memory.keys[:, None] + query))[..., 0]  # equation 4
        weights = masked_softmax(scores, jnp.broadcast_to(memory.mask[:, None], scores.shape))  # equation 5
        z = jnp.einsum("abm,amd->abd", weights.astype(self.dtype), memory.values, preferred_element_type=jnp.float32)
        z = nn.sigmoid(dense("gate", 1)(hidden).astype(jnp.float32)) * z.reshape(-1, width)  # equation 13
        gates = x + dense("recurrent", 4 * self.width, False)(hidden) + dense("context", 4 * self.width, False)(z)
        i, f, g, o = jnp.split(gates.astype(jnp.float32), 4, axis=-1)  # equations 1 to 3
        new_cell = nn.sigmoid(f) * cell + nn.sigmoid(i) * jnp.tanh(g)
        new_hidden = nn.sigmoid(o) * jnp.tanh(new_cell)
        if valid is not None:
            new_hidden, new_cell = (
                jnp.where(valid[:, None], new, old) for new, old in ((new_hidden, hidden), (new_cell, cell))
            )
        return (new_hidden, new_cell), (new_hidden, z, weights.reshape(-1, count))


class AttentionLSTM(nn.Module):
    """(token ids, memory Tokens) -> next-token logits, Float[b n vocabulary]. It has the methods of `Decoder`.

    With the memory a_1, ..., a_m and the embedding E y of the last token, each step computes (equations 1 to 7 and 13)

        alpha = softmax_i(w . tanh(W a_i + U h)),  z = sigmoid(v . h) sum_i alpha_i a_i,
        h, c = LSTM(E y, z; h, c),  logits = L_o (E y + L_h h + L_z z)

    and h and c start as tanh of linear functions of the mean of the memory. Masked entries of the memory have weight 0; without
    any valid entry, z and the mean are 0. The paper's doubly stochastic regularisation (equation 14) is left out. Biases of the
    forget gate start at 1.

    vocabulary: number of token ids. width: of h and c. embedding: width of E y. attention: width of W a_i. dropout: rate on
    E y and on the input of L_o. tied: whether L_o shares the weights of E. prompt: token ids before every text. end: id of the
    end token. dtype: of the matmuls and the cached memory; states, softmax and logits are float32.
    """

    vocabulary: int
    width: int = 512
    embedding: int = 256
    attention: int = 256
    dropout: float = 0.0
    tied: bool = False
    prompt: tuple[int, ...] = (0,)
    end: int = 0
    dtype: Any = jnp.float32

    def setup(self):
        positive(self, "vocabulary", "width", "embedding", "attention")
        rate(self, "dropout")
        text_ids(self)
        normal = nn.initializers.normal(self.embedding**-0.5)
        dense = lambda size, **options: nn.Dense(size, dtype=self.dtype, **options)
        self.word = nn.Embed(self.vocabulary, self.embedding, embedding_init=normal)
        self.output = None if self.tied else self.param("output", normal, (self.vocabulary, self.embedding))
        self.key, self.input = dense(self.attention, use_bias=False), dense(4 * self.width, bias_init=_open_forget_gate)
        self.start_hidden, self.start_cell = dense(self.width), dense(self.width)
        self.of_hidden, self.of_context = dense(self.embedding), dense(self.embedding, use_bias=False)
        steps = nn.scan(
            _Cell,
            variable_broadcast="params",
            split_rngs={"params": False},
            in_axes=(1, nn.broadcast),
            out_axes=1,
        )
        self.steps = steps(self.width, self.attention, self.dtype)
        self.drop = Dropout(self.dropout)

    def init_cache(self, memory: Tokens, max_tokens: int, beams: int = 1) -> AttentionLSTMCache:
        """The state before the first token. max_tokens: unused; an LSTM has no limit. beams: sequences per memory, adjacent in
        the batch."""
        del max_tokens
        x = jnp.where(memory.mask[..., None], memory.x, 0)  # masked values may be NaN, which attention weights of 0 would keep
        mean = masked_mean(Tokens(x.astype(jnp.float32), memory.mask))
        hidden, cell = (jnp.tanh(start(mean).astype(jnp.float32)) for start in (self.start_hidden, self.start_cell))
        hidden, cell = jnp.repeat(hidden, beams, axis=0), jnp.repeat(cell, beams, axis=0)
        return AttentionLSTMCache(hidden, cell, x.astype(self.dtype), self.key(x), memory.mask)

    def step(
        self, ids: Int[Array, "b n"], cache: AttentionLSTMCache, *, train: bool = False
    ) -> tuple[Float[Array, "b n vocabulary"], AttentionLSTMCache]:
        """The logits after each of n tokens that follow those in the cache."""
        valid, padding = None, cache.padding
        if padding is not None:
            valid, padding = jnp.arange(ids.shape[1])[None] >= padding[:, None], jnp.maximum(padding - ids.shape[1], 0)
        embedded = self.drop(self.word(ids), train=train)
        (hidden, cell), (h, z, _) = self.steps((cache.hidden, cache.cell), (self.input(embedded), valid), cache)
        y = self.drop(embedded + self.of_hidden(h).astype(jnp.float32) + self.of_context(z).astype(jnp.float32), train=train)
        table = (self.word.embedding if self.tied else self.output).astype(self.dtype)
        logits = jnp.einsum("bnd,vd->bnv", y.astype(self.dtype), table, preferred_element_type=jnp.float32)  # equation 7
        return logits, cache.replace(hidden=hidden, cell=cell, padding=padding)

    def __call__(self, ids: Padded, memory: Tokens, *, train: bool = False) -> Float[Array, "b n vocabulary"]:
        """All positions at once, for teacher forcing. ids: x Int[b n]; logits beyond the length are undefined."""
        return self.step(ids.x, self.init_cache(memory, ids.x.shape[1]), train=train)[0]

    def memory_weights(self, ids: Padded, memory: Tokens) -> Float[Array, "b n m"]:
        """alpha at each token: weights of the memory that sum to 1, or zeros without a valid memory. ids: as in `__call__`."""
        cache = self.init_cache(memory, ids.x.shape[1])
        return self.steps((cache.hidden, cache.cell), (self.input(self.word(ids.x)), None), cache)[1][2]


def _open_forget_gate(key, shape, dtype=jnp.float32) -> Float[Array, " g"]:
    """Ones for the forget gate (Jozefowicz et al., 2015), zeros for the others."""
    del key
    return jnp.zeros(shape, dtype).at[shape[0] // 4 : shape[0] // 2].set(1)
