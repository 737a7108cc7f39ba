"""Greedy and beam search: the next-token logits of a decoder -> token sequences, inside `jit`."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from mmjax.types import Padded

__all__ = ["BeamCache", "Rule", "Step", "allow_all", "beam", "greedy"]

Step = Callable[[Int[Array, "c n"], Any], tuple[Float[Array, "c n vocabulary"], Any]]
Rule = Callable[[Float[Array, "c vocabulary"], Int[Array, ""]], Float[Array, "c vocabulary"]]


@runtime_checkable
class BeamCache(Protocol):
    """The cache of a decoder whose sequences beam search rearranges, such as `decoders.Cache`."""

    def reorder(self, source: Int[Array, " c"]) -> "BeamCache":
        """The cache in which row i continues the sequence of row source[i]."""
        ...


def allow_all(logits: Float[Array, "b vocabulary"], count: Int[Array, ""]) -> Float[Array, "b vocabulary"]:
    """The rule that forbids no token."""
    return logits


def greedy(
    step: Step, cache: Any, prompt: Int[Array, "b p"], max_tokens: int, end: int, rule: Rule = allow_all
) -> Padded:
    """The most likely token at each step, until every sequence has ended or has `max_tokens` tokens.

    step: (ids Int[b n], cache) -> (logits Float[b n vocabulary], cache), such as `Decoder.step` with its parameters bound.
    cache: has room for the prompt and max_tokens - 1 more tokens.
    end: the id of the end token.
    rule: (logits [b vocabulary], the number of generated tokens Int[]) -> logits, -inf for forbidden tokens.

    Returns a Padded, x Int[b max_tokens] and length Int[b], without the prompt and the end token. Positions beyond the length
    contain `end`.
    """

    def append(ids, ended, logits, count):
        token = jnp.argmax(rule(logits[:, -1], count), axis=-1).astype(prompt.dtype)
        token = jnp.where(ended, end, token)
        return lax.dynamic_update_slice(ids, token[:, None], (0, count)), token, ended | (token == end)

    def unfinished(state):
        _, _, ended, count, _ = state
        return (count < max_tokens) & ~ended.all()

    def advance(state):
        ids, token, ended, count, cache = state
        logits, cache = step(token[:, None], cache)
        return *append(ids, ended, logits, count), count + 1, cache

    logits, cache = step(prompt, cache)
    ids = jnp.full((prompt.shape[0], max_tokens), end, prompt.dtype)
    start = append(ids, jnp.zeros(prompt.shape[0], bool), logits, jnp.zeros((), jnp.int32))
    return _without_end(lax.while_loop(unfinished, advance, (*start, jnp.ones((), jnp.int32), cache))[0], end)


def beam(
    step: Step,
    cache: BeamCache,
    prompt: Int[Array, "b p"],
    max_tokens: int,
    end: int,
    beams: int,
    length_penalty: float = 1.0,
    rule: Rule = allow_all,
) -> tuple[Padded, Float[Array, " b"]]:
    """Beam search: the best sequence found for each prompt, and its score, log-probability / tokens ** length_penalty.

    Each step extends all running sequences by every token and considers the 2 * beams most likely results. Among the first
    `beams` of them, those that end or reach `max_tokens` tokens are scored, counting the end token, and the best `beams`
    finished sequences so far are kept. The most likely results without an end continue. The search stops when no running
    sequence can beat the kept ones. This equals transformers' `generate` with early_stopping="never".

    step: as in `greedy`, for c = b * beams sequences; the sequences of one prompt are adjacent.
    cache: for c sequences, such as `Decoder.init_cache(memory, prompt length + max_tokens, beams)`.
    rule: as in `greedy`, but on log-probabilities, which it must not increase.

    Returns a Padded as `greedy` does, and scores Float[b]. If the rule forbids every sequence, the length is 0 and the score
    -inf.
    """
    rows = prompt.shape[0]

    def pick(x, index):
        """x [b m ...] at index Int[b k] -> [b k ...]."""
        return jnp.take_along_axis(x, index.reshape(*index.shape, *(1,) * (x.ndim - 2)), axis=1)

    def extend(ids, likely, best, scores, logits, count):
        """Adds token number `count`: (running ids, their log-probabilities, finished ids, their scores, source beams)."""
        extended = rule(jax.nn.log_softmax(logits[:, -1].astype(jnp.float32)), count)
        vocabulary = extended.shape[-1]
        extended = likely[..., None] + extended.reshape(rows, beams, vocabulary)
        top, index = lax.top_k(extended.reshape(rows, beams * vocabulary), 2 * beams)
        source, token = index // vocabulary, (index % vocabulary).astype(ids.dtype)
        candidates = lax.dynamic_update_slice(pick(ids, source), token[..., None], (0, 0, count))
        ends = token == end
        finished = jnp.where(ends | (count + 1 == max_tokens), top, -jnp.inf)[:, :beams] / (count + 1) ** length_penalty
        scores, kept = lax.top_k(jnp.concatenate([scores, finished], axis=1), beams)
        best = pick(jnp.concatenate([best, candidates[:, :beams]], axis=1), kept)
        likely, running = lax.top_k(jnp.where(ends, -jnp.inf, top), beams)
        return pick(candidates, running), likely, best, scores, pick(source, running)

    def unfinished(state):
        _, likely, _, scores, _, count, _ = state
        length = jnp.where(length_penalty > 0, max_tokens, count + 1)  # the length at which the score would be highest
        return (count < max_tokens) & (likely[:, 0] / length**length_penalty > scores[:, -1]).any()

    def advance(state):
        ids, likely, best, scores, source, count, cache = state
        token = lax.dynamic_slice_in_dim(ids, count - 1, 1, axis=2).reshape(-1, 1)
        cache = cache.reorder((source + beams * jnp.arange(rows)[:, None]).reshape(-1))
        logits, cache = step(token, cache)
        return *extend(ids, likely, best, scores, logits, count), count + 1, cache

    logits, cache = step(jnp.repeat(prompt, beams, axis=0), cache)
    ids = jnp.full((rows, beams, max_tokens), end, prompt.dtype)
    # All beams are equal after the prompt, so only the first one may be extended.
    likely = jnp.broadcast_to(jnp.where(jnp.arange(beams) == 0, 0.0, -jnp.inf)[None], (rows, beams))
    start = extend(ids, likely, ids, jnp.full((rows, beams), -jnp.inf), logits, jnp.zeros((), jnp.int32))
    _, _, best, scores, *_ = lax.while_loop(unfinished, advance, (*start, jnp.ones((), jnp.int32), cache))
    return _without_end(best[:, 0], end), scores[:, 0]


def _without_end(ids: Int[Array, "b n"], end: int) -> Padded:
    return Padded(ids, jnp.sum(jnp.cumprod(ids != end, axis=1), axis=1))
