"""Greedy and beam search: the next-token logits of a decoder -> token sequences, inside `jit`."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from mmjax.nn.prefix_scores import JointScores
from mmjax.types import Padded

__all__ = ["BeamCache", "Choose", "PaddedCache", "Rule", "Step", "allow_all", "beam", "generate", "greedy"]

Step = Callable[[Int[Array, "c n"], Any], tuple[Float[Array, "c n vocabulary"], Any]]
Rule = Callable[[Float[Array, "c vocabulary"], Int[Array, "c m"], Int[Array, ""]], Float[Array, "c vocabulary"]]
Choose = Callable[[Float[Array, "b vocabulary"], Int[Array, "b m"], Int[Array, ""]], Int[Array, " b"]]


@runtime_checkable
class BeamCache(Protocol):
    """The cache of a decoder whose sequences beam search rearranges, such as `decoders.Cache`."""

    def reorder(self, source: Int[Array, " c"]) -> "BeamCache":
        """The cache in which row i continues the sequence of row source[i]."""
        ...


@runtime_checkable
class PaddedCache(Protocol):
    """The cache of a decoder for prompts of different lengths, such as `decoders.Cache`."""

    def pad_left(self, padding: Int[Array, " b"]) -> "PaddedCache":
        """The cache, empty before, that ignores the first padding[i] tokens of row i."""
        ...


def allow_all(
    logits: Float[Array, "b vocabulary"], ids: Int[Array, "b m"], count: Int[Array, ""]
) -> Float[Array, "b vocabulary"]:
    """The rule that changes nothing."""
    del ids, count
    return logits


def generate(
    step: Step, cache: Any, prompt: Int[Array, "b p"] | Padded, max_tokens: int, end: int, choose: Choose
) -> Padded:
    """Adds one chosen token at a time, until every sequence has ended or has `max_tokens` tokens.

    step: (ids Int[b n], cache) -> (logits Float[b n vocabulary], cache), such as `Decoder.step` with its parameters bound.
    cache: has room for the prompt and max_tokens - 1 more tokens.
    prompt: Int[b p], or a Padded of prompts of 1 to p tokens, x Int[b p], if the cache is a `PaddedCache`. Each prompt gives
        what it gives alone.
    end: the id of the end token.
    choose: (logits [b vocabulary], ids Int[b max_tokens], count Int[]) -> the next token of each sequence, Int[b]. The first
        `count` ids of a row are its generated tokens; the others are undefined.

    Returns a Padded, x Int[b max_tokens] and length Int[b], without the prompt and the end token. Positions beyond the length
    contain `end`. Raises ValueError for a Padded if the cache is no `PaddedCache`.
    """
    prompt, cache = _aligned(prompt, cache)

    def append(ids, ended, logits, count):
        token = choose(logits[:, -1], ids, count).astype(prompt.dtype)
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


def greedy(
    step: Step,
    cache: Any,
    prompt: Int[Array, "b p"] | Padded,
    max_tokens: int,
    end: int,
    rule: Rule = allow_all,
) -> Padded:
    """The most likely token at each step; arguments and result as in `generate`.

    rule: (logits [b vocabulary], ids Int[b max_tokens], count Int[]) -> logits, -inf for forbidden tokens. The first `count`
        ids of a row are its generated tokens; the others are undefined. See `mmjax.nn.rules`.
    """
    return generate(
        step, cache, prompt, max_tokens, end, lambda logits, ids, count: jnp.argmax(rule(logits, ids, count), axis=-1)
    )


def beam(
    step: Step,
    cache: Any,
    prompt: Int[Array, "b p"] | Padded,
    max_tokens: int,
    end: int,
    beams: int,
    length_penalty: float | Float[Array, ""] = 1.0,
    rule: Rule = allow_all,
    early_stopping: bool | str = "never",
    returned: int = 1,
    joint: JointScores | None = None,
) -> tuple[Padded, Float[Array, " r"]]:
    """Beam search: the best sequences found for each prompt, and their scores, log-probability / tokens ** length_penalty.

    Each step extends all running sequences by every token and considers the 2 * beams most likely results. Among the first
    `beams` of them, those that end or reach `max_tokens` tokens are scored, counting the end token, and the best `beams`
    finished sequences so far are kept. The most likely results without an end continue. A prompt is done when its most likely
    running sequence, with the score that it would have with a certain number of tokens, does not beat the worst kept sequence.
    Results and stopping equal transformers' `generate` with the same `early_stopping`.

    step, prompt, max_tokens, end: as in `generate`, for c = b * beams sequences in `step`; those of one prompt are adjacent.
    cache: for c sequences, such as `Decoder.init_cache(memory, prompt length + max_tokens, beams)`; a `BeamCache` if beams > 1.
    rule: as in `greedy`, but on log-probabilities, which it must not increase.
    early_stopping: "never" takes the number of tokens with the highest score, so nothing better is missed: max_tokens if
        length_penalty > 0. False takes the present number of tokens, a heuristic. True also ends the search as soon as every
        prompt has `beams` finished sequences, and keeps the first ones.
    returned: the number of sequences returned for each prompt, best first; at most `beams`.
    joint: scores in the place of the decoder's log-probabilities, after the rule; None for the decoder alone. Ends have scores
        too, so every sequence ends: token `max_tokens` is the end token. "never" misses nothing if no score is above 0.

    Returns a Padded as `generate` does and scores Float[r], r = b * returned; the sequences of one prompt are adjacent. If the
    rule forbids every sequence, the length is 0 and the score -inf. Raises ValueError for an invalid `early_stopping` or
    `returned`.
    """
    _check_beam(beams, returned, early_stopping)
    if isinstance(prompt, Padded):
        prompt = Padded(jnp.repeat(prompt.x, beams, axis=0), jnp.repeat(prompt.length, beams, axis=0))
    else:
        prompt = jnp.repeat(prompt, beams, axis=0)
    prompt, cache = _aligned(prompt, cache)
    rows = prompt.shape[0] // beams

    def extend(ids, likely, best, scores, improving, logits, states, count):
        """Adds token number `count`: (running ids, their log-probabilities, finished ids, their scores, improving), sources."""
        extended = rule(jax.nn.log_softmax(logits[:, -1].astype(jnp.float32)), ids.reshape(-1, max_tokens), count)
        vocabulary = extended.shape[-1]
        extended = extended.reshape(rows, beams, vocabulary)
        if joint is not None:
            allowed = (jnp.arange(vocabulary) == end) | (count + 1 < max_tokens)
            extended = jnp.where(allowed[None, None], joint.add(extended, states, end), -jnp.inf)
        top, index = lax.top_k((likely[..., None] + extended).reshape(rows, beams * vocabulary), 2 * beams)
        source, token = index // vocabulary, (index % vocabulary).astype(ids.dtype)
        candidates = lax.dynamic_update_slice(_pick(ids, source), token[..., None], (0, 0, count))
        ends = token == end
        finished = jnp.where(ends | (count + 1 == max_tokens), top, -jnp.inf)[:, :beams] / (count + 1) ** length_penalty
        kept = improving if early_stopping is not True else improving & ~_full(scores)
        finished = jnp.where(kept[:, None], finished, -jnp.inf)
        scores, kept = lax.top_k(jnp.concatenate([scores, finished], axis=1), beams)
        best = _pick(jnp.concatenate([best, candidates[:, :beams]], axis=1), kept)
        likely, running = lax.top_k(jnp.where(ends, -jnp.inf, top), beams)
        length = jnp.where(length_penalty > 0, max_tokens, count + 1) if early_stopping == "never" else count + 1
        improving &= likely[:, 0] / length**length_penalty > scores[:, -1]
        return (_pick(candidates, running), likely, best, scores, improving), _pick(source, running)

    def unfinished(state):
        (_, _, _, scores, improving), _, count, *_ = state
        stopped = _full(scores).all() if early_stopping is True else False
        return (count < max_tokens) & improving.any() & ~jnp.asarray(stopped)

    def advance(state):
        found, source, count, cache, states = state
        token = lax.dynamic_slice_in_dim(found[0], count - 1, 1, axis=2)[..., 0]
        if beams > 1:
            cache = cache.reorder((source + beams * jnp.arange(rows)[:, None]).reshape(-1))
        if joint is not None:
            states = joint.advance(jax.tree.map(lambda x: _pick(x, source), states), token)
        logits, cache = step(token.reshape(-1, 1), cache)
        return *extend(*found, logits, states, count), count + 1, cache, states

    logits, cache = step(prompt, cache)
    ids = jnp.full((rows, beams, max_tokens), end, prompt.dtype)
    # All beams are equal after the prompt, so only the first one may be extended.
    likely = jnp.broadcast_to(jnp.where(jnp.arange(beams) == 0, 0.0, -jnp.inf)[None], (rows, beams))
    found = (ids, likely, ids, jnp.full((rows, beams), -jnp.inf), jnp.ones(rows, bool))
    states = None if joint is None else joint.start(rows, beams)
    start = *extend(*found, logits, states, jnp.zeros((), jnp.int32)), jnp.ones((), jnp.int32), cache, states
    (_, _, best, scores, _), *_ = lax.while_loop(unfinished, advance, start)
    return _without_end(best[:, :returned].reshape(-1, max_tokens), end), scores[:, :returned].reshape(-1)


def _check_beam(beams: int, returned: int, early_stopping: Any) -> None:
    if not 1 <= returned <= beams:
        raise ValueError(f"beam: returned is {returned}; it must be 1 to beams, which is {beams}")
    if early_stopping not in ("never", False, True):
        raise ValueError(f'beam: early_stopping is {early_stopping!r}; it must be "never", False or True')


def _pick(x, index):
    """x [b m ...] at index Int[b k] -> [b k ...]."""
    return jnp.take_along_axis(x, index.reshape(*index.shape, *(1,) * (x.ndim - 2)), axis=1)


def _full(scores):
    """Bool[b], whether all kept sequences have finished. scores: Float[b k], in descending order."""
    return scores[:, -1] > -jnp.inf


def _aligned(prompt, cache):
    """The prompts Int[b p], with their last tokens in the last column, and the cache, which ignores the columns before them."""
    if not isinstance(prompt, Padded):
        return prompt, cache
    if not isinstance(cache, PaddedCache):
        raise ValueError(f"prompts of different lengths need a cache with the method pad_left; {type(cache).__name__} has none")
    padding = prompt.x.shape[1] - prompt.length
    return jax.vmap(jnp.roll)(jnp.where(prompt.mask, prompt.x, 0), padding), cache.pad_left(padding)


def _without_end(ids: Int[Array, "b n"], end: int) -> Padded:
    return Padded(ids, jnp.sum(jnp.cumprod(ids != end, axis=1), axis=1))
