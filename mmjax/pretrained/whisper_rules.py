"""Rules of Whisper's decoding: functions (logits, ids so far, their count) -> logits for `mmjax.nn.search`.

Sources: Radford et al., 2023, section 4.5 and the authors' decoding.py; transformers' WhisperTimeStampLogitsProcessor.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mmjax.nn.checks import positive
from mmjax.nn.rules import Chain
from mmjax.nn.search import Rule
from mmjax.pretrained.tokenizer_files import read_tokenizer
from mmjax.pretrained.whisper_tokens import WhisperTokens

__all__ = ["LoopGuard", "WhisperRule", "suppressing", "timestamps_in_pairs"]


def suppressing(tokens: WhisperTokens, timestamps: bool) -> Rule:
    """Forbids the tokens that the model never generates, and those that it never generates first."""
    ids = np.arange(tokens.vocabulary)
    never = np.isin(ids, tokens.never(timestamps))
    never_first = never | np.isin(ids, tokens.suppress_first)

    def rule(logits, ids, count):
        del ids
        return jnp.where(jnp.where(count == 0, never_first, never)[None], -jnp.inf, logits)

    return rule


def timestamps_in_pairs(tokens: WhisperTokens) -> Rule:
    """The grammar of timestamps: <|0.00|> text <|2.40|><|2.40|> text <|5.00|>.

    The first token is a timestamp of at most `tokens.max_initial`. After text, a timestamp is later than those before it. A
    timestamp after text is followed by the end token or a timestamp that is not earlier, and two timestamps by text. If all
    timestamps together are more likely than any single other token, the next token is a timestamp.
    """
    first, end = tokens.first_timestamp, tokens.end

    def rule(logits, ids, count):
        vocabulary = jnp.arange(logits.shape[-1])[None]
        is_time = (ids >= first) & (jnp.arange(ids.shape[1])[None] < count)
        at = lambda back: lax.dynamic_index_in_dim(is_time, jnp.maximum(count - back, 0), axis=1, keepdims=True)
        last = at(1) & (count >= 1)
        before = at(2) | (count < 2)
        latest = jnp.where(is_time, ids, first - 1).max(axis=1, keepdims=True)
        earliest = jnp.where(last & ~before, latest, latest + 1)
        time, begins = vocabulary >= first, count == 0
        forbidden = vocabulary == tokens.no_timestamps
        forbidden = forbidden | (time & ((last & before) | (vocabulary < earliest)))
        forbidden = forbidden | ((vocabulary < end) & last & ~before)
        forbidden = forbidden | (begins & (~time | (vocabulary > first + tokens.max_initial)))
        logits = jnp.where(forbidden, -jnp.inf, logits)
        likely = jax.nn.logsumexp(logits[:, first:], axis=-1) > logits[:, :first].max(axis=-1)
        return jnp.where(likely[:, None] & ~time, -jnp.inf, logits)

    return rule


@dataclass(frozen=True)
class LoopGuard:
    """Detects repetition loops: an n-gram of at most `longest` tokens that occurs at least `repeats` times in succession and
    fills at least `tokens` tokens. All timestamps count as equal.

    `rule` ends a text as soon as it loops, which also saves time; `without_loops` removes the repetitions.
    """

    repeats: int = 4
    tokens: int = 12
    longest: int = 24

    def __post_init__(self):
        positive(self, "tokens", "longest")
        if self.repeats < 2:
            raise ValueError(f"LoopGuard.repeats is {self.repeats}; a loop has at least 2 repetitions")

    def copies(self, period: int) -> int:
        """The number of repetitions that make a loop of an n-gram of this length."""
        return max(self.repeats, -(-self.tokens // period))

    def rule(self, end: int, first_timestamp: int) -> Rule:
        """A rule that allows nothing but the end token after a loop."""
        # For each length of the n-gram, the number of tokens that must equal the one a period before.
        compared = np.array([(self.copies(period) - 1) * period for period in range(1, self.longest + 1)])
        periods = np.arange(1, self.longest + 1)
        back = 1 + np.arange(compared.max())  # 1 is the last token

        def rule(logits, ids, count):
            ids = jnp.minimum(ids, first_timestamp)
            ago = lambda steps: jnp.take(ids, jnp.maximum(count - steps, 0).reshape(-1), axis=1).reshape(-1, *steps.shape)
            equal = ago(np.broadcast_to(back, (len(periods), len(back)))) == ago(back + periods[:, None])
            loops = (equal | (back[None] > compared[:, None])[None]).all(axis=2) & (count >= compared + periods)[None]
            at_end = (jnp.arange(logits.shape[-1]) == end)[None]
            # The end is possible even if an earlier rule forbids it; otherwise no token would be.
            return jnp.where(loops.any(axis=1)[:, None], jnp.where(at_end, 0.0, -jnp.inf), logits)

        return rule

    def without_loops(self, ids: Sequence[int], first_timestamp: int) -> list[int]:
        """The ids with one copy of each n-gram that loops."""
        kept = list(ids)
        for period in range(1, self.longest + 1):
            at = period
            while at < len(kept):
                run = 0
                while at + run < len(kept) and _same(kept[at + run], kept[at + run - period], first_timestamp):
                    run += 1
                if run >= (self.copies(period) - 1) * period:
                    del kept[at : at + run]
                at += run + 1 if run < (self.copies(period) - 1) * period else 1
        return kept


def _same(one: int, other: int, first_timestamp: int) -> bool:
    return min(one, first_timestamp) == min(other, first_timestamp)


@dataclass(frozen=True)
class WhisperRule:
    """The rules of a published model without timestamps, as a value for the searches of `mmjax.tasks.search`: it never
    generates special tokens and those that the model suppresses.

    source: as in `mmjax.pretrained.load`; it is read when the search is compiled. guard: ends a text that loops; None leaves
    loops in.
    """

    source: str = "whisper-base"
    guard: LoopGuard | None = None

    def __call__(self, logits: Any, ids: Any, count: Any) -> Any:
        tokens = _tokens(self.source)
        rules = [suppressing(tokens, timestamps=False)]
        if self.guard is not None:
            rules.append(self.guard.rule(tokens.end, tokens.first_timestamp))
        return Chain(tuple(rules))(logits, ids, count)


@lru_cache(maxsize=4)
def _tokens(source: str) -> WhisperTokens:
    from mmjax.pretrained import load

    weights = load(source)
    return WhisperTokens.of(read_tokenizer(weights.folder / "tokenizer.json", ()), weights.config, weights.folder)
