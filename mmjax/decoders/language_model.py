"""A language model: the decoder-only Transformer of Llama, Qwen, Mistral, Gemma and Phi-3, all as values of one module.

`language_block.py` has its blocks, `language_models.py` the published models.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mmjax.decoders.language_block import DENSE_LAYERS, POST_NORMS, PRE_NORMS, QK_NORMS, GroupedAttention, LanguageBlock
from mmjax.decoders.prefix import BothWays, LanguageCache, attended, prefix_vectors, segmented, slots, visible
from mmjax.decoders.transformer import KeysValues
from mmjax.nn.checks import divides, non_negative, positive, rate, text_ids
from mmjax.nn.factored_logits import FactoredLogits
from mmjax.nn.norm import RMSNorm
from mmjax.nn.rotary import GridRope, Rope
from mmjax.types import Declared, Padded, Tokens

__all__ = ["BeforeBlock", "LanguageModel"]

BeforeBlock = Callable[[int, Float[Array, "b n d"]], Float[Array, "b n d"]]
"""(number of a block, its input) -> its input, such as the layers of `decoders.Flamingo`."""


def _shared(module: nn.Module, part: type) -> dict[str, Any]:
    """The values of the fields that a module has in common with the class of a part of it."""
    names = part.__dataclass_fields__.keys() & module.__dataclass_fields__.keys() - {"parent", "name"}
    return {name: getattr(module, name) for name in names}


class LanguageModel(nn.Module):
    """(token ids, Tokens before the text) -> next-token logits, Float[b n vocabulary]. The prefix may be None or masked.

        cache = model.init_cache(prefix, max_tokens)     # each method through `apply(..., method=...)`
        logits, cache = model.step(ids, cache)           # ids Int[b n], any n >= 1

    vocabulary: number of token ids. width: of the tokens, and of the prefix. depth: number of blocks. heads: of the queries;
    kv_heads: of keys and values. head_width: of each; None for width / heads. hidden, activation: of the gated perceptron.
    rope: the rotation of queries and keys. windows: how many of the last tokens each block attends to, None for all, repeated
    over the blocks: (512, 512, None) is two local blocks before each global one. local_rope: the rotation in blocks with a
    window; None for `rope`. norms: the RMS norms of a block, of `PRE_NORMS`, `POST_NORMS` and `QK_NORMS`. biases: the layers of
    a block with a bias, of `DENSE_LAYERS`. epsilon: of the norms. norm_offset: added to the scales of norms (1 in Gemma).
    embedding_scale: factor of the token embeddings. query_scale: factor of queries; None for 1 / sqrt(head_width).
    attention_cap, logit_cap: of `soft_cap` for attention scores and logits. tied: whether the output layer shares the weights
    of the token embedding. positions: the longest sequence with its prefix, in tokens. dropout: rate on the output of each
    sublayer. prompt: token ids before every text. end: id of the end token. remat: a policy of `jax.checkpoint_policies` that
    selects what a block keeps for the gradient; None to keep everything. dtype: of the matmuls and the cache; norms, residuals,
    softmax and logits are float32.
    """

    vocabulary: int
    width: int = 256
    depth: int = 4
    heads: int = 4
    kv_heads: int = 2
    hidden: int = 768
    head_width: int | None = None
    activation: Callable = jax.nn.silu
    rope: Declared[Rope | GridRope] = Rope()
    windows: tuple[int | None, ...] = (None,)
    local_rope: Rope | None = None
    norms: tuple[str, ...] = PRE_NORMS
    biases: tuple[str, ...] = ()
    epsilon: float = 1e-5
    norm_offset: float = 0.0
    embedding_scale: float = 1.0
    query_scale: float | None = None
    attention_cap: float | None = None
    logit_cap: float | None = None
    tied: bool = True
    positions: int = 2048
    dropout: float = 0.0
    prompt: tuple[int, ...] = (0,)
    end: int = 0
    remat: Callable | None = None
    dtype: Any = jnp.float32

    def setup(self):
        self._check()
        normal = nn.initializers.normal(0.02)
        self.word = nn.Embed(self.vocabulary, self.width, embedding_init=normal)
        self.output = None if self.tied else self.param("output", normal, (self.vocabulary, self.width))
        self.norm = RMSNorm(self.epsilon, self.norm_offset)
        head_width = self.head_width or self.width // self.heads
        block = LanguageBlock if self.remat is None else nn.remat(LanguageBlock, policy=self.remat, static_argnums=(6,))
        for number in range(self.depth):
            attention = GroupedAttention(**_shared(self, GroupedAttention) | {"head_width": head_width}, parent=None)
            setattr(self, f"block{number}", block(**_shared(self, LanguageBlock), attention=attention))

    def _check(self) -> None:
        positive(self, "vocabulary", "hidden", "positions", "windows", "head_width")
        divides(self, "kv_heads", "heads")
        if self.head_width is None:
            divides(self, "heads", "width")
        text_ids(self)
        non_negative(self, "depth")
        rate(self, "dropout")
        for field, known in (("norms", (*PRE_NORMS, *POST_NORMS, *QK_NORMS)), ("biases", DENSE_LAYERS)):
            if not set(getattr(self, field)) <= set(known):
                raise ValueError(f"LanguageModel.{field} is {getattr(self, field)!r}; its entries are {', '.join(known)}")

    def run_blocks(
        self,
        x: Float[Array, "b n d"],
        valid: Bool[Array, "b slots"],
        past: tuple[KeysValues, ...] | None,
        count: Int[Array, ""] | int,
        train: bool,
        segments: Int[Array, "b m"] | None = None,
        both_ways: BothWays | None = None,
        places: Int[Array, "b n 3"] | None = None,
        before_block: BeforeBlock | None = None,
    ) -> tuple[Float[Array, "b n d"], tuple[KeysValues | None, ...]]:
        """The output of the blocks for x, the slots from `count` on, and past with the keys and values of x. segments,
        both_ways: as in `Slots`. places: (time, row, column) of the tokens of x, for a `nn.rotary.GridRope`; None for the
        number of valid slots before, in all three. before_block: changes the input of each block."""
        if valid.shape[1] > self.positions:
            found = f"there are {valid.shape[1]} tokens with the prefix"
            raise ValueError(f"LanguageModel.positions is {self.positions}, but {found}")
        where = segmented(slots(valid, count, x.shape[1]), segments)._replace(both_ways=both_ways)
        head_width = self.head_width or self.width // self.heads
        windows = [self.windows[number % len(self.windows)] for number in range(self.depth)]
        places = where.positions if places is None else places
        kinds = tuple(dict.fromkeys(windows))
        ropes = [self.rope if window is None else self.local_rope or self.rope for window in kinds]
        turned = {rope: rope.rotation(places, head_width) for rope in ropes}
        given = tuple((turned[rope], visible(where, window)) for rope, window in zip(ropes, kinds))
        return self.in_turn(x, given, tuple(map(kinds.index, windows)), past, count, train, before_block)

    def in_turn(
        self,
        x: Float[Array, "b n d"],
        given: tuple[tuple[Any, Bool[Array, "b n slots"]], ...],
        kinds: tuple[int, ...],
        past: tuple[KeysValues, ...] | None,
        count: Int[Array, ""] | int,
        train: bool,
        before_block: BeforeBlock | None = None,
    ) -> tuple[Float[Array, "b n d"], tuple[KeysValues | None, ...]]:
        """As `run_blocks`, one block after the other; `nn.Scan` makes a loop of it. given: the `Rotation`, of as many numbers
        as it rotates, and the mask of each kind of block. kinds: of each block."""
        new = []
        for number, kind in enumerate(kinds):
            x = x if before_block is None else before_block(number, x)
            own = None if past is None else past[number]
            x, own = getattr(self, f"block{number}")(x, *given[kind], own, count, train)
            new.append(own)
        return x, tuple(new)

    def embedded(self, ids: Int[Array, "b n"]) -> Float[Array, "b n d"]:
        """The input of the blocks for token ids."""
        return self.word(ids) * self.embedding_scale

    def factored(self, x: Float[Array, "b n d"]) -> FactoredLogits:
        """The next-token logits of the output of the blocks, as factors."""
        table = self.word.embedding if self.tied else self.output
        return FactoredLogits(self.norm(x).astype(self.dtype), jnp.asarray(table, self.dtype), self.logit_cap)

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
        """The output of the blocks at each token: the input of `logits`. segments: the number of each token's text in rows of
        several texts, from left to right; a text attends to itself alone, and its positions begin at 0."""
        x, valid = self.embedded(attended(ids)), ids.mask
        if memory is not None:
            x = jnp.concatenate([prefix_vectors("LanguageModel", memory, self.width), x], axis=1)
            valid = jnp.concatenate([memory.mask, valid], axis=1)
        return self.run_blocks(x, valid, None, 0, train, segments)[0][:, x.shape[1] - ids.x.shape[1] :]

    def __call__(self, ids: Padded, memory: Tokens | None = None, *, train: bool = False) -> Float[Array, "b n vocabulary"]:
        """All positions at once, for teacher forcing. ids: x Int[b n]; logits beyond the length are undefined."""
        return self.logits(self.states(ids, memory, train=train))

    def init_cache(
        self, memory: Tokens, max_tokens: int, beams: int = 1, before_block: BeforeBlock | None = None
    ) -> LanguageCache:
        """A cache of the prefix, with room for `max_tokens` tokens. memory: `empty_prefix(batch)` for none. beams: sequences
        per prefix, adjacent in the batch. before_block: as of `run_blocks`. Raises ValueError if prefix and tokens exceed the
        field `positions`."""
        batch, prefix = memory.mask.shape
        size = (batch, self.kv_heads, prefix + max_tokens, self.head_width or self.width // self.heads)
        past = ((jnp.zeros(size, self.dtype),) * 2,) * self.depth
        valid = jnp.concatenate([memory.mask, jnp.ones((batch, max_tokens), bool)], axis=1)
        if prefix:
            x = prefix_vectors("LanguageModel", memory, self.width)
            past = self.run_blocks(x, valid, past, 0, False, before_block=before_block)[1]
        past, valid = jax.tree.map(lambda leaf: jnp.repeat(leaf, beams, axis=0), (past, valid))
        return LanguageCache(past, valid, jnp.full((), prefix, jnp.int32), prefix, beams)

    def step_states(self, ids: Int[Array, "b n"], cache: LanguageCache) -> tuple[Float[Array, "b n d"], LanguageCache]:
        """As `step`, with the input of `logits` instead of the logits."""
        x, past = self.run_blocks(self.embedded(ids), cache.valid, cache.past, cache.count, False)
        return x, cache.replace(past=past, count=cache.count + ids.shape[1])

    def step(self, ids: Int[Array, "b n"], cache: LanguageCache) -> tuple[Float[Array, "b n vocabulary"], LanguageCache]:
        """The logits after each of n tokens that follow those in the cache. The cache must have room for them."""
        x, cache = self.step_states(ids, cache)
        return self.logits(x), cache
