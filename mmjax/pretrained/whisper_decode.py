"""Decodes batches of Whisper's windows, with the fallback to higher temperatures (Radford et al., 2023, section 4.5)."""

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Int

from mmjax.nn.rules import Chain
from mmjax.nn.sample import sample
from mmjax.nn.search import Rule, beam, greedy
from mmjax.pretrained.whisper_rules import LoopGuard, suppressing, timestamps_in_pairs
from mmjax.pretrained.whisper_tokens import WhisperTokens
from mmjax.types import Padded, Tokens

__all__ = ["Decoded", "Fallback", "WindowDecoder", "compression_ratio", "padded_rows"]


class Decoded(NamedTuple):
    """The text of a window. ids: token ids without prompt and end token, timestamps included. temperature: of the sampling, 0
    for the most likely text. log_probability: mean over the tokens and the end token, in nats. no_speech: probability of the
    token for no speech. silent: whether the text is to be dropped, as there is probably no speech."""

    ids: tuple[int, ...]
    temperature: float
    log_probability: float
    no_speech: float
    silent: bool


@dataclass(frozen=True)
class Fallback:
    """When the text of a window is decoded again, with a higher temperature, and when it is dropped.

    temperatures: tried in this order; above 0, tokens are sampled. A text is rejected if it compresses too well (its token
    ids, by zlib, more than `compression_ratio` times, as in transformers; the paper compresses the text and requires 2.4), if
    its tokens have a lower mean log-probability than `log_probability` (nats), or if the loop guard finds a loop. The text of
    the last temperature is kept. A text with a low log-probability is dropped instead if the probability of the token for no
    speech exceeds `no_speech`. None switches a rule off.
    """

    temperatures: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    compression_ratio: float | None = 1.35
    log_probability: float | None = -1.0
    no_speech: float | None = 0.6

    def __post_init__(self):
        if not self.temperatures or any(temperature < 0 for temperature in self.temperatures):
            raise ValueError(f"Fallback.temperatures is {self.temperatures}; it needs one or more numbers of at least 0")

    def is_silent(self, decoded: Decoded) -> bool:
        return self._unlikely(decoded) and self.no_speech is not None and decoded.no_speech > self.no_speech

    def rejects(self, decoded: Decoded, vocabulary: int) -> bool:
        """Whether the window needs another temperature. vocabulary: number of token ids."""
        compresses = self.compression_ratio is not None
        compresses = compresses and compression_ratio(decoded.ids, vocabulary) > self.compression_ratio
        return (compresses or self._unlikely(decoded)) and not self.is_silent(decoded)

    def _unlikely(self, decoded: Decoded) -> bool:
        return self.log_probability is not None and decoded.log_probability < self.log_probability


def compression_ratio(ids: Sequence[int], vocabulary: int) -> float:
    """Bytes of the token ids, divided by their number after zlib; as in transformers, which counts the end token too.

    vocabulary: number of token ids.
    """
    size = int(math.log2(vocabulary) / 8) + 1
    raw = b"".join(int(number).to_bytes(size, "little") for number in ids)
    return len(raw) / len(zlib.compress(raw))


def padded_rows(rows: int) -> int:
    """The next power of two: batches have few sizes, each compiled once."""
    return 1 << (rows - 1).bit_length()


@dataclass(frozen=True, eq=False)
class WindowDecoder:
    """The compiled functions of one way to decode.

    module: a `Whisper`. variables: of the module. timestamps: whether they are generated. max_tokens: per window. beams: 1 for
    greedy search. length_penalty: of beam search. guard: against repetition loops; None for none.
    """

    module: nn.Module
    variables: Mapping[str, Any]
    tokens: WhisperTokens
    timestamps: bool = False
    max_tokens: int = 200
    beams: int = 1
    length_penalty: float = 1.0
    guard: LoopGuard | None = None

    def decode(
        self, memory: Tokens, prompts: Sequence[Sequence[int]], fallback: Fallback | None, keys: jax.Array
    ) -> list[Decoded]:
        """The texts of windows [b].

        memory: of the encoder, at least b rows. prompts: token ids of each window, see `prompt_size`. fallback: None for the
        first text, without scores. keys: one for each window.
        """
        found: dict[int, Decoded] = {}
        rows = list(range(len(prompts)))
        for number, temperature in enumerate(fallback.temperatures if fallback else (0.0,)):
            index = np.array([*rows, *[rows[0]] * (padded_rows(len(rows)) - len(rows))])
            some, prompt = jax.tree.map(lambda x: x[index], memory), self._prompt([prompts[row] for row in index])
            if temperature == 0:
                texts = self._likely(self.variables, some, prompt)
            else:
                new = jax.vmap(jax.random.fold_in, (0, None))(keys[index], number)
                texts = self._drawn(self.variables, some, prompt, jnp.float32(temperature), new)
            if fallback is None:
                return [Decoded(ids, 0.0, math.nan, math.nan, False) for ids in _texts(texts)[: len(rows)]]
            for row, text in zip(rows, self._scored(some, prompt, texts, temperature)):
                found[row] = text._replace(silent=fallback.is_silent(text))
            rows = [row for row in rows if self._loops(found[row]) or fallback.rejects(found[row], self.tokens.vocabulary)]
            if not rows:
                break
        return [found[row] for row in range(len(prompts))]

    def encode(self, frames: Padded) -> Tokens:
        """Frames [b n bands] -> memory."""
        return self._encode(self.variables, frames)

    def languages(self, memory: Tokens) -> Int[Array, " b"]:
        """The id of the most likely language of each row (Radford et al., 2023, section 2.3)."""
        return self._languages(self.variables, memory)

    @property
    def prompt_size(self) -> int:
        """The length of a prompt without previous text: the start token, language and task, and <|notimestamps|>."""
        return 1 + 2 * bool(self.tokens.languages) + (not self.timestamps)

    def _prompt(self, prompts: Sequence[Sequence[int]]) -> Int[np.ndarray, "b p"] | Padded:
        """A batch of prompts, in one of two shapes: without and with previous text."""
        if all(len(prompt) == self.prompt_size for prompt in prompts):
            return np.array(prompts, np.int32)
        x = np.zeros((len(prompts), self.tokens.positions // 2 + self.prompt_size), np.int32)
        for row, prompt in zip(x, prompts):
            row[: len(prompt)] = prompt
        return Padded(jnp.asarray(x), jnp.array([len(prompt) for prompt in prompts], jnp.int32))

    def _loops(self, decoded: Decoded) -> bool:
        first = self.tokens.first_timestamp
        return self.guard is not None and len(self.guard.without_loops(decoded.ids, first)) < len(decoded.ids)

    def _functions(self, variables: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """init_cache and step of the module."""
        bound = lambda method: lambda *given: self.module.apply(variables, *given, method=method)
        return bound("init_cache"), bound("step")

    @cached_property
    def _encode(self) -> Callable[..., Any]:
        return jax.jit(lambda variables, frames: self.module.apply(variables, frames, method="encode"))

    @cached_property
    def _languages(self) -> Callable[..., Any]:
        codes = jnp.array(sorted(self.tokens.languages.values()))

        @jax.jit
        def detect(variables, memory):
            init_cache, step = self._functions(variables)
            start = jnp.full((memory.x.shape[0], 1), self.tokens.start, jnp.int32)
            return codes[jnp.argmax(step(start, init_cache(memory, 1))[0][:, -1, codes], axis=-1)]

        return detect

    @cached_property
    def _rule(self) -> Rule:
        """The rules of the model, without the guard."""
        suppress = suppressing(self.tokens, self.timestamps)
        return Chain((suppress, timestamps_in_pairs(self.tokens))) if self.timestamps else suppress

    def _guarded(self) -> Rule:
        if self.guard is None:
            return self._rule
        return Chain((self._rule, self.guard.rule(self.tokens.end, self.tokens.first_timestamp)))

    def _room(self, prompt: Any) -> tuple[int, int]:
        """(largest number of tokens, room in the cache)."""
        width = (prompt.x if isinstance(prompt, Padded) else prompt).shape[1]
        tokens = min(self.max_tokens, self.tokens.positions - width)
        return tokens, width + tokens

    @cached_property
    def _likely(self) -> Callable[..., Padded]:
        rule, end = self._guarded(), self.tokens.end

        @jax.jit
        def decode(variables, memory, prompt):
            init_cache, step = self._functions(variables)
            tokens, room = self._room(prompt)
            cache = init_cache(memory, room, self.beams)
            if self.beams == 1:
                return greedy(step, cache, prompt, tokens, end, rule)
            return beam(step, cache, prompt, tokens, end, self.beams, self.length_penalty, rule)[0]

        return decode

    @cached_property
    def _drawn(self) -> Callable[..., Padded]:
        rule, end = self._guarded(), self.tokens.end

        @jax.jit
        def decode(variables, memory, prompt, temperature, keys):
            init_cache, step = self._functions(variables)
            tokens, room = self._room(prompt)
            cooled = lambda logits, ids, count: rule(logits, ids, count) / temperature
            return sample(step, init_cache(memory, room), prompt, tokens, end, keys, rule=cooled)

        return decode

    def _scored(self, memory: Tokens, prompt: Any, texts: Padded, temperature: float) -> list[Decoded]:
        width = min(texts.x.shape[1], max(32, padded_rows(int(texts.length.max()) + 1)))
        full = lambda x: Padded(jnp.asarray(x), jnp.full(len(x), x.shape[1]))
        given = prompt if isinstance(prompt, Padded) else full(prompt)
        scores = self._score(self.variables, memory, given, Padded(texts.x[:, :width], texts.length))
        values = zip(_texts(texts), *(np.asarray(score).tolist() for score in scores))
        return [Decoded(ids, temperature, likely, no_speech, False) for ids, likely, no_speech in values]

    @cached_property
    def _score(self) -> Callable[..., Any]:
        """(mean log-probability of the tokens with the end token, probability of no speech) of each row, by teacher forcing."""

        def of_row(variables, memory, prompt, length, ids, count):
            init_cache, step = self._functions(variables)
            tokens = jnp.zeros(len(prompt) + len(ids), jnp.int32).at[: len(prompt)].set(prompt)
            tokens = lax.dynamic_update_slice(tokens, ids.astype(jnp.int32), (length,))
            logits = step(tokens[None], init_cache(jax.tree.map(lambda x: x[None], memory), len(tokens)))[0][0]
            no_speech = jax.nn.softmax(logits[length - self.prompt_size])[self.tokens.no_speech]
            at = jnp.arange(len(ids))
            own = lax.dynamic_slice_in_dim(logits, length - 1, len(ids))
            own = jax.vmap(lambda row, number: self._rule(row[None], ids[None], number)[0])(own, at)
            likely = jnp.take_along_axis(jax.nn.log_softmax(own), ids[:, None], axis=1)[:, 0]
            kept = jnp.minimum(count + 1, len(ids))
            return jnp.where(at < kept, likely, 0).sum() / kept, no_speech

        @jax.jit
        def score(variables, memory, prompt, texts):
            rows = (memory, prompt.x, prompt.length, texts.x, texts.length)
            return lax.map(lambda row: of_row(variables, *row), rows)  # row by row: the logits of all positions are large

        return score


def _texts(texts: Padded) -> list[tuple[int, ...]]:
    return [tuple(ids[:length].tolist()) for ids, length in zip(np.asarray(texts.x), np.asarray(texts.length))]
