"""Rules of a search: frozen values that lower or forbid the logits of tokens, given the tokens generated so far.

    greedy(step, cache, prompt, 20, end, rule=Chain((MinTokens(3, end), NoRepeat(3), Suppress((7,)))))

Each is a function (logits Float[c vocabulary], ids Int[c m], count Int[]) -> logits. The first `count` ids of a row are its
generated tokens, without the prompt; the others are undefined. Bad settings raise ValueError when a rule is made.
"""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from mmjax.nn.checks import non_negative, positive
from mmjax.nn.search import Rule
from mmjax.types import Padded

__all__ = ["Chain", "ForbidSequences", "Force", "MinTokens", "NoRepeat", "RepetitionPenalty", "Suppress", "WithPrompt"]

_Logits = Float[Array, "c vocabulary"]
_Ids = Int[Array, "c m"]
_Count = Int[Array, ""]


@dataclass(frozen=True)
class Chain:
    """Several rules, one after the other."""

    rules: tuple[Rule, ...]

    def __call__(self, logits: _Logits, ids: _Ids, count: _Count) -> _Logits:
        for rule in self.rules:
            logits = rule(logits, ids, count)
        return logits


@dataclass(frozen=True)
class MinTokens:
    """Forbids the end token before `tokens` tokens. end: the id of the end token."""

    tokens: int
    end: int

    def __post_init__(self):
        non_negative(self, "tokens", "end")

    def __call__(self, logits: _Logits, ids: _Ids, count: _Count) -> _Logits:
        return _forbid(logits, _among(logits, (self.end,)) & (count < self.tokens))


@dataclass(frozen=True)
class Suppress:
    """Forbids tokens. tokens: their ids. steps: only as one of the first `steps` tokens; None for everywhere."""

    tokens: tuple[int, ...]
    steps: int | None = None

    def __post_init__(self):
        non_negative(self, "tokens", "steps")

    def __call__(self, logits: _Logits, ids: _Ids, count: _Count) -> _Logits:
        return _forbid(logits, _among(logits, self.tokens) & (True if self.steps is None else count < self.steps))


@dataclass(frozen=True)
class Force:
    """Forces the first tokens: only tokens[i] is allowed as token i, and keeps its logit."""

    tokens: tuple[int, ...]

    def __post_init__(self):
        non_negative(self, "tokens")
        if not self.tokens:
            raise ValueError("Force.tokens is empty; it must contain at least one token id")

    def __call__(self, logits: _Logits, ids: _Ids, count: _Count) -> _Logits:
        token = jnp.array(self.tokens)[jnp.minimum(count, len(self.tokens) - 1)]
        return _forbid(logits, ((jnp.arange(logits.shape[-1]) != token) & (count < len(self.tokens)))[None])


@dataclass(frozen=True)
class RepetitionPenalty:
    """Divides positive logits of generated tokens by `penalty`, and multiplies negative ones (Keskar et al., 2019).

    penalty: above 1 against repetition; 1 changes nothing.
    """

    penalty: float

    def __post_init__(self):
        if not self.penalty > 0:
            raise ValueError(f"RepetitionPenalty.penalty is {self.penalty!r}; it must be above 0 (1 changes nothing)")

    def __call__(self, logits: _Logits, ids: _Ids, count: _Count) -> _Logits:
        generated = jnp.arange(ids.shape[1]) < count
        used = _marked(ids, jnp.broadcast_to(generated[None], ids.shape), logits.shape[-1])
        return jnp.where(used, jnp.where(logits < 0, logits * self.penalty, logits / self.penalty), logits)


@dataclass(frozen=True)
class NoRepeat:
    """Forbids tokens that would complete an n-gram that the sequence contains already. size: n."""

    size: int

    def __post_init__(self):
        positive(self, "size")

    def __call__(self, logits: _Logits, ids: _Ids, count: _Count) -> _Logits:
        before, width = self.size - 1, ids.shape[1]
        if width < self.size:
            return logits
        # The last n - 1 tokens; without as many, `matches` is False everywhere.
        suffix = lax.dynamic_slice_in_dim(ids, jnp.maximum(count - before, 0), before, axis=1)
        starts = width - before  # of the n-grams: position i holds the n-gram i, ..., i + n - 1
        matches = jnp.broadcast_to(((jnp.arange(starts) + before) < count)[None], (ids.shape[0], starts))
        for offset in range(before):
            matches &= (ids[:, offset : offset + starts] == suffix[:, offset, None]) & (suffix[:, offset, None] >= 0)
        return _forbid(logits, _marked(ids[:, before:], matches, logits.shape[-1]))


@dataclass(frozen=True)
class ForbidSequences:
    """Forbids sequences of tokens, such as bad words: the last token of each, where the tokens before it were generated.

    sequences: token ids, one tuple for each sequence.
    """

    sequences: tuple[tuple[int, ...], ...]

    def __post_init__(self):
        non_negative(self, "sequences")
        if not all(self.sequences):
            raise ValueError(f"ForbidSequences.sequences is {self.sequences!r}; each sequence must contain a token id")

    def __call__(self, logits: _Logits, ids: _Ids, count: _Count) -> _Logits:
        forbidden = jnp.zeros(logits.shape, bool)
        for *before, last in self.sequences:
            if len(before) > ids.shape[1]:
                continue
            suffix = lax.dynamic_slice_in_dim(ids, jnp.maximum(count - len(before), 0), len(before), axis=1)
            given = (suffix == jnp.array(before, ids.dtype)[None]).all(axis=1) & (count >= len(before))
            forbidden |= given[:, None] & _among(logits, (last,))
        return _forbid(logits, forbidden)


@dataclass(frozen=True, eq=False)
class WithPrompt:
    """A rule that also sees the prompt, as part of the generated tokens.

    prompt: Int[b p] or a Padded, as in the search. Rows of the logits that share a prompt are adjacent. Masked positions of a
    Padded are -1 for the rule.
    """

    rule: Rule
    prompt: Any

    def __call__(self, logits: _Logits, ids: _Ids, count: _Count) -> _Logits:
        prompt = self.prompt
        if isinstance(prompt, Padded):
            x = jnp.where(prompt.mask, prompt.x, -1)
            prompt = jnp.take_along_axis(x, (jnp.arange(x.shape[1])[None] + prompt.length[:, None]) % x.shape[1], axis=1)
        prompt = jnp.repeat(prompt.astype(ids.dtype), ids.shape[0] // prompt.shape[0], axis=0)
        return self.rule(logits, jnp.concatenate([prompt, ids], axis=1), count + prompt.shape[1])


def _forbid(logits: _Logits, forbidden: Bool[Array, "_ vocabulary"]) -> _Logits:
    return jnp.where(forbidden, -jnp.inf, logits)


def _among(logits: _Logits, tokens: tuple[int, ...]) -> Bool[Array, "1 vocabulary"]:
    """Whether each token id is one of `tokens`."""
    return (jnp.arange(logits.shape[-1])[:, None] == jnp.array(tokens, jnp.int32)[None]).any(axis=1)[None]


def _marked(ids: Int[Array, "c m"], mask: Bool[Array, "c m"], vocabulary: int) -> Bool[Array, "c vocabulary"]:
    """Whether each token id is one of the masked ids of the row. _Ids outside the vocabulary are ignored."""
    ids = jnp.where(mask & (ids >= 0), ids, vocabulary)
    return jnp.zeros((ids.shape[0], vocabulary), bool).at[jnp.arange(ids.shape[0])[:, None], ids].set(True, mode="drop")
