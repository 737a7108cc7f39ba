"""Generation with a language model as two compiled programs: one reads the prompts, the other adds tokens.

    generator = Generator.of(smol.module, smol.variables, NextToken(temperature=0.7, top_p=0.9))
    found = generator(prompts, max_tokens=64, key=jax.random.key(0))       # Padded, as of `nn.search.greedy`

Shapes are rounded up to a few sizes (`size_class`), so that prompts and texts of many lengths use the same programs: prompts
are padded on the left, and the cache has more slots than the text needs. Neither changes a token.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key

from mmjax.decoders.flamingo import Flamingo, FlamingoCache
from mmjax.decoders.gpt2 import GPT2
from mmjax.decoders.interleaved import Interleaved, InterleavedCache
from mmjax.decoders.language_model import LanguageModel
from mmjax.decoders.prefix import LanguageCache, empty_prefix
from mmjax.decoders.products import IntegerKernel, bfloat16_bits, dense_products, int8_kernels, twice
from mmjax.decoders.wrappers import Factored, PackedDecoder
from mmjax.encoders.lora import LoRA
from mmjax.nn.depth import Deep
from mmjax.nn.sample import NextToken
from mmjax.nn.search import allow_all
from mmjax.types import Declared, Padded, Tokens

__all__ = ["SMALLEST", "Generated", "Generator", "PromptIds", "language_of", "size_class"]

SMALLEST = 32  # slots
PromptIds = Padded | Sequence[Sequence[int]]
_LANGUAGE = {Interleaved: "model", Flamingo: "language"}  # the field with the language model


def size_class(size: int) -> int:
    """The smallest of 32, 64, 80, 96, 112, 128, 160, 192, ... that is at least `size`: four sizes for each power of two."""
    if size <= SMALLEST:
        return SMALLEST
    step = max(2 ** ((size - 1).bit_length() - 3), SMALLEST // 2)
    return max(-(-size // step) * step, 2 * SMALLEST)


@struct.dataclass
class Generated:
    """The state of a generation; a plain pytree.

    cache: of all tokens but the last. ids: Int[b slots], the generated tokens, and end tokens after them. ended: Bool[b],
    whether a text has its end token, is stopped, or has `max_tokens` tokens. count: Int[], the number of generated tokens of
    each text that has not ended. max_tokens: Int[]. keys: of the random numbers, one for each text. prompt: Int[b p], for rules
    that see it, -1 before it; p is 0 without such a rule.
    """

    cache: Declared[LanguageCache | InterleavedCache | FlamingoCache]
    ids: Declared[Int[Array, "b slots"]]
    ended: Declared[Bool[Array, " b"]]
    count: Declared[Int[Array, ""]]
    max_tokens: Declared[Int[Array, ""]]
    keys: Declared[Key[Array, " b"]]
    prompt: Declared[Int[Array, "b p"]]


@dataclass(frozen=True, eq=False)
class Generator:
    """Continues prompts with a language model. Each text is what it is alone, whatever the batch and the padding.

    model: `LanguageModel`, `GPT2`, `Interleaved` or `Flamingo`. params: its parameters, matrices in the model's dtype or
    `IntegerKernel`. choice: of the next token. ends: further ids that end a text; the model's end token stands for them.
    """

    model: nn.Module
    params: Any
    choice: NextToken = NextToken()
    ends: tuple[int, ...] = ()

    @classmethod
    def of(
        cls, model: nn.Module, variables: Mapping[str, Any], choice: NextToken = NextToken(), ends: tuple[int, ...] = ()
    ) -> "Generator":
        """The generator of a language model, or of wrappers of one: low-rank additions are added to the kernels once.

        Raises ValueError if there is no language model.
        """
        params = variables["params"]
        while isinstance(model, LoRA | Factored | PackedDecoder | Deep):
            match model:
                case LoRA():
                    model, params = model.encoder, jax.jit(model.folded)(params)
                case Factored():
                    model = model.decoder
                case PackedDecoder():
                    model = model.model
                case Deep():
                    model = model.module
        if not isinstance(language_of(model), LanguageModel | GPT2):
            raise ValueError(f"{type(model).__name__} is not a language model, such as LanguageModel and GPT2")
        return cls(model, jax.tree.map(partial(_in_dtype, language_of(model).dtype), params, is_leaf=_is_kernel), choice, ends)

    @property
    def positions(self) -> int:
        """The longest prompt with its text, in tokens."""
        return language_of(self.model).positions

    def with_dtype(self, dtype: Any) -> "Generator":
        """The generator with products in this dtype."""
        language = language_of(self.model).clone(dtype=dtype)
        field = _LANGUAGE.get(type(self.model))
        model = language if field is None else self.model.clone(**{field: language})
        return self.of(model, {"params": self.params}, self.choice, self.ends)

    def with_int8(self) -> "Generator":
        """The generator with the kernels of dense layers as int8, which are dequantised within the products."""
        return replace(self, params=int8_kernels(self.params))

    def start(
        self, prompts: PromptIds, max_tokens: int, key: Key[Array, ""] | None = None, memory: Tokens | None = None
    ) -> Generated:
        """Reads the prompts and chooses the first token of each text.

        prompts: token ids of each, at least one, with the model's `prompt` if it needs one.
        max_tokens: the longest text, with its end token. key: needed unless the temperature is 0. memory: the vectors of each
        prompt, before it or, of an `Interleaved`, among its ids, or those that a `Flamingo` attends to; None for none.
        Raises ValueError for an empty prompt, or if prompt and text may exceed the model's `positions`.
        """
        if isinstance(prompts, Padded):
            prompts = [row[:count] for row, count in zip(np.asarray(prompts.x), np.asarray(prompts.length))]
        length = np.array([len(prompt) for prompt in prompts])
        memory = self._no_memory(len(prompts)) if memory is None else memory
        longest, positions = int(length.max()), self.positions - _before(self.model, memory)
        if length.min() < 1 or max_tokens < 1:
            raise ValueError(f"a prompt has {length.min()} tokens and max_tokens is {max_tokens}; both must be at least 1")
        if longest + max_tokens > positions:
            given = f"a prompt has {longest} tokens and max_tokens is {max_tokens}"
            raise ValueError(f"{given}; together they may be {positions}, the positions of the model")
        if key is None and self.choice.temperature > 0:
            raise ValueError(f"the temperature is {self.choice.temperature}, so key must be given")
        size = min(size_class(longest), positions - max_tokens)
        ids = np.zeros((len(prompts), size), np.int32)
        for row, prompt in zip(ids, prompts):
            row[size - len(prompt) :] = prompt
        keys = jax.random.split(jax.random.key(0) if key is None else key, len(prompts))
        slots = min(size_class(size + max_tokens), positions)
        arrays = ids, size - length, keys, np.int32(max_tokens), memory
        return _start(self.model, self.choice, self.ends, slots, self.params, *arrays)

    def advance(self, state: Generated, tokens: int, stopped: Bool[np.ndarray, " b"] | None = None) -> Generated:
        """Adds up to `tokens` tokens to each text that has not ended. The given state cannot be used again.

        stopped: texts that end here.
        """
        stopped = np.zeros(len(state.ended), bool) if stopped is None else stopped
        params = self._for_one if len(stopped) == 1 and jax.default_backend() == "cpu" else self.params
        return _advance(self.model, self.choice, self.ends, params, state, np.int32(tokens), stopped)

    def _no_memory(self, batch: int) -> Tokens:
        """The memory of texts without vectors; that of a `Flamingo` has masked ones, as its layers need some."""
        if not isinstance(self.model, Flamingo):
            return empty_prefix(batch)
        kernel = self.params["cross0"]["key"]["kernel"]
        width = kernel.inputs if _is_kernel(kernel) else len(kernel)
        count = self.model.vectors or 1
        return Tokens(jnp.zeros((batch, count, width)), jnp.zeros((batch, count), bool))

    @cached_property
    def _for_one(self) -> Any:
        """The parameters for texts one by one; bfloat16 kernels exist twice then."""
        return bfloat16_bits(self.params)

    def __call__(self, prompts: PromptIds, max_tokens: int, key: Key[Array, ""] | None = None) -> Padded:
        """The whole texts: x Int[b max_tokens] and length Int[b], as of `mmjax.nn.search.generate`."""
        state = self.advance(self.start(prompts, max_tokens, key), max_tokens)
        ids = state.ids[:, :max_tokens]
        return Padded(ids, jnp.sum(jnp.cumprod(ids != self.model.end, axis=1), axis=1))


def _is_kernel(x: Any) -> bool:
    return isinstance(x, IntegerKernel)


def _in_dtype(dtype: Any, x: Any) -> Any:
    """A matrix in the dtype; other arrays and integer kernels as they are."""
    if _is_kernel(x):
        return jax.tree.map(jnp.asarray, x)
    return jnp.asarray(x, dtype if x.ndim > 1 else x.dtype)


def language_of(model: nn.Module) -> nn.Module:
    """The language model of an `Interleaved` or a `Flamingo`; others as they are."""
    field = _LANGUAGE.get(type(model))
    return model if field is None else getattr(model, field)


def _before(model: nn.Module, memory: Tokens) -> int:
    """How many vectors of a memory have slots before the text."""
    count = memory.mask.shape[1]
    if isinstance(model, Flamingo):
        return 0 if model.vectors is None else max(count - model.vectors, 0)
    return 0 if isinstance(model, Interleaved) else count


@partial(jax.jit, static_argnames=("model", "choice", "ends", "slots"))
def _start(
    model: nn.Module,
    choice: NextToken,
    ends: tuple[int, ...],
    slots: int,
    params: Any,
    ids: Int[Array, "b n"],
    padding: Int[Array, " b"],
    keys: Key[Array, " b"],
    max_tokens: Int[Array, ""],
    memory: Tokens,
) -> Generated:
    """Reads prompts with their padding on the left. slots: of the cache from then on, without those of a prefix."""
    rows, size = ids.shape
    run = partial(_run, model, params)
    cache = run(memory, size, method="init_cache").pad_left(padding)
    x, cache = run(ids, cache, method="step_states")
    empty = jnp.full((rows, slots), model.end, jnp.int32), jnp.zeros(rows, bool), jnp.zeros((), jnp.int32)
    is_text = (jnp.arange(size)[None] >= padding[:, None]) & (ids < model.vocabulary)
    seen = jnp.where(is_text, ids, -1)
    # As wide as the slots, so that one program of `_advance` fits prompts of all size classes.
    seen = jnp.pad(seen, ((0, 0), (slots - size, 0)), constant_values=-1)
    seen = seen[:, :0] if choice.prompt_rule is allow_all else seen
    state = Generated(cache.enlarged(_before(model, memory) + slots), *empty, max_tokens, keys, seen)
    return _append(model, choice, ends, state, run(x[:, -1:], method="logits"))


@partial(
    jax.jit,
    static_argnames=("model", "choice", "ends"),
    donate_argnames=("state",),
    compiler_options={"xla_disable_hlo_passes": "while-loop-invariant-code-motion"},  # it would widen all weights in each call
)
def _advance(
    model: nn.Module,
    choice: NextToken,
    ends: tuple[int, ...],
    params: Any,
    state: Generated,
    tokens: Int[Array, ""],
    stopped: Bool[Array, " b"],
) -> Generated:
    last = state.count + tokens

    def one(state):
        token = lax.dynamic_slice_in_dim(state.ids, state.count - 1, 1, axis=1)
        x, cache = _run(model, params, token, state.cache, method="step_states")
        logits = _run(model, params, twice(x.astype(language_of(model).dtype)), method="logits")
        return _append(model, choice, ends, state.replace(cache=cache), logits)

    unfinished = lambda state: (state.count < last) & ~state.ended.all()
    return lax.while_loop(unfinished, one, state.replace(ended=state.ended | stopped))


def _run(model: nn.Module, params: Any, *given: Any, method: str) -> Any:
    with nn.intercept_methods(dense_products):
        return model.apply({"params": params}, *given, method=method)


def _append(
    model: nn.Module, choice: NextToken, ends: tuple[int, ...], state: Generated, logits: Float[Array, "b n vocabulary"]
) -> Generated:
    """Chooses a token of each text by the last logits."""
    token = choice(state.keys, logits[:, -1], state.ids, state.count, state.prompt).astype(jnp.int32)
    token = jnp.where(state.ended | jnp.isin(token, jnp.array(ends, jnp.int32)), model.end, token)
    ids = lax.dynamic_update_slice(state.ids, token[:, None], (0, state.count))
    count = state.count + 1
    return state.replace(ids=ids, ended=state.ended | (token == model.end) | (count >= state.max_tokens), count=count)
