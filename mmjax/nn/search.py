"""Texts word by word: the likeliest next word each time (greedy), or the likeliest whole text of a few that are kept (beam)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from mmjax.types import Padded


def anything(logits: Float[Array, "b vocabulary"], count: Int[Array, ""]) -> Float[Array, "b vocabulary"]:
    """The rule that forbids nothing."""
    return logits


def greedy(
    step: Callable[[Int[Array, "b n"], Any], tuple[Float[Array, "b n vocabulary"], Any]],
    cache: Any,
    prompt: Int[Array, "b p"],
    most: int,
    end: int,
    rule: Callable[[Float[Array, "b vocabulary"], Int[Array, ""]], Float[Array, "b vocabulary"]] = anything,
) -> Padded:
    """The likeliest word after the prompt, then the likeliest after that, until each text has ended or has `most` words.

    step: (words, cache) -> (logits, cache), such as a `Decoder`'s with its parameters; the cache needs room for the prompt and
    all words but the last. end: the word that ends a text. rule: (logits, how many words there are) -> logits, to forbid words.
    Gives a Padded, x Int[b most] and length Int[b], without prompt and end; beyond the length stands `end`.
    """

    def write(texts, ended, logits, count):
        word = jnp.argmax(rule(logits[:, -1], count), axis=-1).astype(prompt.dtype)
        word = jnp.where(ended, end, word)
        return lax.dynamic_update_slice(texts, word[:, None], (0, count)), word, ended | (word == end)

    def goes_on(state):
        _, _, ended, count, _ = state
        return (count < most) & ~ended.all()

    def one_more(state):
        texts, word, ended, count, cache = state
        logits, cache = step(word[:, None], cache)
        return *write(texts, ended, logits, count), count + 1, cache

    logits, cache = step(prompt, cache)
    texts = jnp.full((prompt.shape[0], most), end, prompt.dtype)
    begun = write(texts, jnp.zeros(prompt.shape[0], bool), logits, jnp.zeros((), jnp.int32))
    return _without_end(lax.while_loop(goes_on, one_more, (*begun, jnp.ones((), jnp.int32), cache))[0], end)


def beam(
    step: Callable[[Int[Array, "c n"], Any], tuple[Float[Array, "c n vocabulary"], Any]],
    cache: Any,
    prompt: Int[Array, "b p"],
    most: int,
    end: int,
    beams: int,
    length_penalty: float = 1.0,
    rule: Callable[[Float[Array, "c vocabulary"], Int[Array, ""]], Float[Array, "c vocabulary"]] = anything,
) -> tuple[Padded, Float[Array, " b"]]:
    """Of each text the best that `beams` running ones lead to, and its score: log-probability / words ** length_penalty.

    The running texts are continued by every word, and the 2 * beams likeliest of the results looked at. Those among the first
    `beams` that end, or have `most` words, are scored, the end counted as a word, and the best `beams` ever are kept; the
    likeliest that do not end run on. It stops when no running text can come to a better score than the kept ones, so the
    result is that of all `most` words: transformers' `generate` with early_stopping="never".

    step: as in `greedy`, of c = b * beams texts, those of one prompt side by side. cache: of as many, such as
    `Decoder.begin(memory, most, beams)` gives; its leaves whose first axis is c are rearranged with the texts, and others, such
    as a count or what all beams look at, are left as they are. rule: as in `greedy`, on log-probabilities; it lowers them only.
    Gives a Padded as `greedy` does, and Float[b]; without any possible text a length of 0 and -inf.
    """
    rows = prompt.shape[0]

    def of(leaf, place):
        """[b m ...] at place Int[b k]: [b k ...]."""
        return jnp.take_along_axis(leaf, place.reshape(*place.shape, *(1,) * (leaf.ndim - 2)), axis=1)

    def rearranged(cache, source):
        flat = (source + beams * jnp.arange(rows)[:, None]).reshape(-1)
        return jax.tree.map(lambda leaf: leaf[flat] if leaf.shape[:1] == flat.shape else leaf, cache)

    def choose(texts, likely, best, scores, logits, count):
        """With the words after `count` ones: (running texts, their log-probabilities, kept texts, their scores, source)."""
        after = rule(jax.nn.log_softmax(logits[:, -1].astype(jnp.float32)), count)
        vocabulary = after.shape[-1]
        after = likely[..., None] + after.reshape(rows, beams, vocabulary)
        top, place = lax.top_k(after.reshape(rows, beams * vocabulary), 2 * beams)
        source, word = place // vocabulary, (place % vocabulary).astype(texts.dtype)
        some = lax.dynamic_update_slice(of(texts, source), word[..., None], (0, 0, count))
        ends = word == end
        fresh = jnp.where(ends | (count + 1 == most), top, -jnp.inf)[:, :beams] / (count + 1) ** length_penalty
        scores, kept = lax.top_k(jnp.concatenate([scores, fresh], axis=1), beams)
        best = of(jnp.concatenate([best, some[:, :beams]], axis=1), kept)
        likely, run_on = lax.top_k(jnp.where(ends, -jnp.inf, top), beams)
        return of(some, run_on), likely, best, scores, of(source, run_on)

    def goes_on(state):
        _, likely, _, scores, _, count, _ = state
        length = jnp.where(length_penalty > 0, most, count + 1)  # where what is left would be worth most
        return (count < most) & (likely[:, 0] / length**length_penalty > scores[:, -1]).any()

    def one_more(state):
        texts, likely, best, scores, source, count, cache = state
        word = lax.dynamic_slice_in_dim(texts, count - 1, 1, axis=2).reshape(-1, 1)
        logits, cache = step(word, rearranged(cache, source))
        return *choose(texts, likely, best, scores, logits, count), count + 1, cache

    logits, cache = step(jnp.repeat(prompt, beams, axis=0), cache)
    texts = jnp.full((rows, beams, most), end, prompt.dtype)
    likely = jnp.broadcast_to(jnp.where(jnp.arange(beams) == 0, 0.0, -jnp.inf)[None], (rows, beams))  # they are equal yet
    begun = choose(texts, likely, texts, jnp.full((rows, beams), -jnp.inf), logits, jnp.zeros((), jnp.int32))
    _, _, best, scores, *_ = lax.while_loop(goes_on, one_more, (*begun, jnp.ones((), jnp.int32), cache))
    return _without_end(best[:, 0], end), scores[:, 0]


def _without_end(texts: Int[Array, "b most"], end: int) -> Padded:
    return Padded(texts, jnp.sum(jnp.cumprod(texts != end, axis=1), axis=1))
