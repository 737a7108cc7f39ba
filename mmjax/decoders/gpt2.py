"""GPT-2 (Radford et al., 2019, "Language models are unsupervised multitask learners")."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mmjax.decoders.prefix import LanguageCache, attended, prefix_vectors, segmented, slots, updated, visible
from mmjax.decoders.transformer import KeysValues
from mmjax.nn.attention import attend, gelu_tanh
from mmjax.nn.checks import divides, non_negative, positive, rate, text_ids
from mmjax.nn.dense import Dense
from mmjax.nn.dropout import Dropout
from mmjax.nn.factored_logits import FactoredLogits
from mmjax.types import Padded, Tokens

__all__ = ["GPT2", "GPT2Block"]


class GPT2Block(nn.Module):
    """Causal attention and a two-layer perceptron; each pre-norm with a residual connection. The fields are those of `GPT2`."""

    width: int
    heads: int
    hidden: int
    activation: Callable
    dropout: float
    epsilon: float
    dtype: Any

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b n d"],
        mask: Bool[Array, "b n m"],
        past: KeysValues | None,
        count: Int[Array, ""] | int,
        train: bool,
    ) -> tuple[Float[Array, "b n d"], KeysValues | None]:
        """past, count: as in `GroupedAttention`."""
        dense = lambda name, size: Dense(size, dtype=self.dtype, name=name)
        norm = lambda name: nn.LayerNorm(self.epsilon, name=name)  # float32
        add = lambda number, y: x + Dropout(self.dropout, name=f"dropout{number}")(y.astype(jnp.float32), train=train)
        joint = dense("query_key_value", 3 * self.width)(norm("norm1")(x))
        heads = lambda y: y.reshape(*x.shape[:2], self.heads, -1).swapaxes(1, 2)
        query, *new = (heads(y) for y in jnp.split(joint, 3, axis=-1))
        if past is not None:
            past = new = updated(past, tuple(new), count)
        x = add(1, dense("out", self.width)(attend(query, *new, mask).swapaxes(1, 2).reshape(x.shape)))
        y = self.activation(dense("up", self.hidden)(norm("norm2")(x)))
        return add(2, dense("down", self.width)(y)), past


class GPT2(nn.Module):
    """(token ids, Tokens before the text) -> next-token logits, Float[b n vocabulary]; used as `LanguageModel`.

    vocabulary: number of token ids. width: of the tokens, and of the prefix. depth, heads: of the blocks. hidden, activation:
    of the perceptron; hidden is 4 width if None. positions: the longest sequence with its prefix, in tokens. epsilon: of the
    layer norms. dropout: rate on the embeddings and on the output of each sublayer. prompt: token ids before every text. end:
    id of the end token. dtype: of the matmuls and the cache; norms, residuals, softmax and logits are float32. The output layer
    shares the weights of the token embedding.
    """

    vocabulary: int
    width: int = 256
    depth: int = 4
    heads: int = 4
    hidden: int | None = None
    activation: Callable = gelu_tanh
    positions: int = 1024
    epsilon: float = 1e-5
    dropout: float = 0.0
    prompt: tuple[int, ...] = (0,)
    end: int = 0
    dtype: Any = jnp.float32

    def setup(self):
        positive(self, "vocabulary", "hidden", "positions")
        divides(self, "heads", "width")
        text_ids(self)
        non_negative(self, "depth")
        rate(self, "dropout")
        self.word = nn.Embed(self.vocabulary, self.width, embedding_init=nn.initializers.normal(0.02))
        self.position = self.param("position", nn.initializers.normal(0.01), (self.positions, self.width))
        self.drop = Dropout(self.dropout)
        self.norm = nn.LayerNorm(self.epsilon)
        hidden = self.hidden or 4 * self.width
        for number in range(self.depth):
            block = GPT2Block(self.width, self.heads, hidden, self.activation, self.dropout, self.epsilon, self.dtype)
            setattr(self, f"block{number}", block)

    def _states(self, x, valid, past, count, train, segments=None):
        """The output of the blocks for x Float[b n d], the slots from `count` on, and past with the keys and values of x."""
        if valid.shape[1] > self.positions:
            raise ValueError(f"GPT2.positions is {self.positions}, but there are {valid.shape[1]} tokens with the prefix")
        where = segmented(slots(valid, count, x.shape[1]), segments)
        x = self.drop(x + jnp.asarray(self.position)[where.positions], train=train)
        return self.in_turn(x, ((visible(where, None),),), (0,) * self.depth, past, count, train)

    def in_turn(
        self,
        x: Float[Array, "b n d"],
        given: tuple[tuple[Bool[Array, "b n slots"]]],
        kinds: tuple[int, ...],
        past: tuple[KeysValues, ...] | None,
        count: Int[Array, ""] | int,
        train: bool,
    ) -> tuple[Float[Array, "b n d"], tuple[KeysValues | None, ...]]:
        """As of `LanguageModel`. given: of the one kind of block, the mask."""
        new = []
        for number, kind in enumerate(kinds):
            own = None if past is None else past[number]
            x, own = getattr(self, f"block{number}")(x, *given[kind], own, count, train)
            new.append(own)
        return x, tuple(new)

    def factored(self, x: Float[Array, "b n d"]) -> FactoredLogits:
        """The next-token logits of the output of the blocks, as factors."""
        table = self.word.embedding
        return FactoredLogits(self.norm(x).astype(self.dtype), jnp.asarray(table, self.dtype))

    def logits(self, x: Float[Array, "b n d"]) -> Float[Array, "b n vocabulary"]:
        """The next-token logits of the output of the blocks."""
        return self.factored(x).computed()

    def states(
        self,
        ids: Padded,
        memory: Tokens | None = None,
        segments: Int[Array, "b n"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "b n d"]:
        """As of `LanguageModel`."""
        x, valid = self.word(attended(ids)), ids.mask
        if memory is not None:
            x = jnp.concatenate([prefix_vectors("GPT2", memory, self.width), x], axis=1)
            valid = jnp.concatenate([memory.mask, valid], axis=1)
        return self._states(x, valid, None, 0, train, segments)[0][:, x.shape[1] - ids.x.shape[1] :]

    def __call__(self, ids: Padded, memory: Tokens | None = None, *, train: bool = False) -> Float[Array, "b n vocabulary"]:
        """All positions at once, for teacher forcing. ids: x Int[b n]; logits beyond the length are undefined."""
        return self.logits(self.states(ids, memory, train=train))

    def init_cache(self, memory: Tokens, max_tokens: int, beams: int = 1) -> LanguageCache:
        """As of `LanguageModel`."""
        batch, prefix = memory.mask.shape
        past = ((jnp.zeros((batch, self.heads, prefix + max_tokens, self.width // self.heads), self.dtype),) * 2,) * self.depth
        valid = jnp.concatenate([memory.mask, jnp.ones((batch, max_tokens), bool)], axis=1)
        if prefix:
            past = self._states(prefix_vectors("GPT2", memory, self.width), valid, past, 0, False)[1]
        past, valid = jax.tree.map(lambda leaf: jnp.repeat(leaf, beams, axis=0), (past, valid))
        return LanguageCache(past, valid, jnp.full((), prefix, jnp.int32), prefix, beams)

    def step_states(self, ids: Int[Array, "b n"], cache: LanguageCache) -> tuple[Float[Array, "b n d"], LanguageCache]:
        """As of `LanguageModel`."""
        x, past = self._states(self.word(ids), cache.valid, cache.past, cache.count, False)
        return x, cache.replace(past=past, count=cache.count + ids.shape[1])

    def step(self, ids: Int[Array, "b n"], cache: LanguageCache) -> tuple[Float[Array, "b n vocabulary"], LanguageCache]:
        """The logits after each of n tokens that follow those in the cache. The cache must have room for them."""
        x, cache = self.step_states(ids, cache)
        return self.logits(x), cache
