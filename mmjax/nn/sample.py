"""Sampling: token sequences drawn from the distribution of a decoder, or from its most likely part."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Key

from mmjax.nn.search import Rule, Step, allow_all, generate
from mmjax.types import Padded

__all__ = ["keep_min_p", "keep_top_k", "keep_top_p", "sample"]


def keep_top_k(logits: Float[Array, "b vocabulary"], k: int) -> Float[Array, "b vocabulary"]:
    """The logits of the k most likely tokens and of those equal to the k-th; -inf for the others (Fan et al., 2018).

    Raises ValueError unless k is positive.
    """
    if k < 1:
        raise ValueError(f"keep_top_k: k is {k}; it must be positive")
    lowest = lax.top_k(logits, min(k, logits.shape[-1]))[0][:, -1:]
    return jnp.where(logits < lowest, -jnp.inf, logits)


def keep_top_p(logits: Float[Array, "b vocabulary"], p: float) -> Float[Array, "b vocabulary"]:
    """The logits of the fewest most likely tokens whose probabilities sum to at least p; -inf for the others.

    This is nucleus sampling (Holtzman et al., 2020). At least one token is kept. Raises ValueError unless 0 <= p <= 1.
    """
    _check_probability("keep_top_p", p)
    order = jnp.argsort(logits, axis=-1)
    below = jnp.cumsum(jax.nn.softmax(jnp.take_along_axis(logits, order, axis=-1), axis=-1), axis=-1) <= 1 - p
    below = below.at[:, -1].set(False)
    return jnp.where(jnp.take_along_axis(below, jnp.argsort(order, axis=-1), axis=-1), -jnp.inf, logits)


def keep_min_p(logits: Float[Array, "b vocabulary"], p: float) -> Float[Array, "b vocabulary"]:
    """The logits of tokens at least p times as likely as the most likely one; -inf for the others (Nguyen et al., 2024).

    Raises ValueError unless 0 <= p <= 1.
    """
    _check_probability("keep_min_p", p)
    probabilities = jax.nn.softmax(logits, axis=-1)
    return jnp.where(probabilities < p * probabilities.max(axis=-1, keepdims=True), -jnp.inf, logits)


def sample(
    step: Step,
    cache: object,
    prompt: Int[Array, "b p"] | Padded,
    max_tokens: int,
    end: int,
    key: Key[Array, ""] | Key[Array, " b"],
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    rule: Rule = allow_all,
) -> Padded:
    """Draws each token from softmax(filtered(rule(logits) / temperature)); arguments and result as in `generate`.

    key: one for all sequences, or one for each. With one key for each, a sequence does not depend on the batch it is in.
    temperature: above 0; a small one favours likely tokens. `greedy` is its limit 0.
    top_k, top_p, min_p: the filters `keep_top_k`, `keep_top_p` and `keep_min_p`, applied in this order to the logits divided by
        the temperature; None for no filter.
    rule: as in `greedy`, applied before the temperature.

    Raises ValueError if a setting is out of range.
    """
    if temperature <= 0:
        raise ValueError(f"sample: temperature is {temperature}; it must be above 0 (greedy search is its limit 0)")
    filters = [(keep_top_k, top_k), (keep_top_p, top_p), (keep_min_p, min_p)]
    rows = (prompt.x if isinstance(prompt, Padded) else prompt).shape[0]
    keys = jax.random.split(key, rows) if key.ndim == 0 else key

    def choose(logits, ids, count):
        logits = rule(logits.astype(jnp.float32), ids, count) / temperature
        for keep, setting in filters:
            logits = logits if setting is None else keep(logits, setting)
        return jax.vmap(lambda key, row: jax.random.categorical(jax.random.fold_in(key, count), row))(keys, logits)

    return generate(step, cache, prompt, max_tokens, end, choose)


def _check_probability(function: str, p: float) -> None:
    if not 0 <= p <= 1:
        raise ValueError(f"{function}: p is {p}; it must be 0 to 1")
