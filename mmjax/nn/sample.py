"""Sampling: token sequences drawn from the distribution of a decoder, or from its most likely part."""

import math
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Key

from mmjax.nn.checks import positive
from mmjax.nn.rules import WithPrompt
from mmjax.nn.search import Rule, Step, allow_all, generate
from mmjax.types import Padded

__all__ = ["NextToken", "keep_min_p", "keep_top_k", "keep_top_p", "sample"]


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


@dataclass(frozen=True)
class NextToken:
    """How the next token is chosen: the most likely one, or one drawn from softmax(filtered(rule(logits) / temperature)).

    temperature: a small one favours likely tokens; 0 chooses the most likely one, without a key. top_k, top_p, min_p: the
    filters `keep_top_k`, `keep_top_p` and `keep_min_p`, applied in this order; None for no filter. rule: changes or forbids
    logits (see `mmjax.nn.rules`). prompt_rule: the same, applied before `rule`, for which the prompt counts as generated.
    Raises ValueError if a setting is out of range.
    """

    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    rule: Rule = allow_all
    prompt_rule: Rule = allow_all

    def __post_init__(self):
        if not 0 <= self.temperature < math.inf:
            raise ValueError(f"NextToken.temperature is {self.temperature}; it must be at least 0, which is greedy search")
        positive(self, "top_k")
        for name in ("top_p", "min_p"):
            p = getattr(self, name)
            if p is not None and not 0 <= p <= 1:
                raise ValueError(f"NextToken.{name} is {p}; it must be 0 to 1")

    def __call__(
        self,
        keys: Key[Array, " b"],
        logits: Float[Array, "b vocabulary"],
        ids: Int[Array, "b m"],
        count: Int[Array, ""],
        prompt: Int[Array, "b p"] | None = None,
    ) -> Int[Array, " b"]:
        """The token of each sequence: a `Choose` of `mmjax.nn.search`, with a key for each sequence before its arguments.

        prompt: for `prompt_rule`, -1 where there is none; None is no prompt.
        """
        prompt = jnp.zeros((len(ids), 0), ids.dtype) if prompt is None else prompt
        logits = WithPrompt(self.prompt_rule, prompt)(logits.astype(jnp.float32), ids, count)
        logits = self.rule(logits, ids, count)
        if self.temperature == 0:
            return jnp.argmax(logits, axis=-1)
        logits = logits / self.temperature
        for keep, setting in ((keep_top_k, self.top_k), (keep_top_p, self.top_p), (keep_min_p, self.min_p)):
            logits = logits if setting is None else keep(logits, setting)
        return jax.vmap(lambda key, row: jax.random.categorical(jax.random.fold_in(key, count), row))(keys, logits)


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
    rows = (prompt.x if isinstance(prompt, Padded) else prompt).shape[0]
    keys = jax.random.split(key, rows) if key.ndim == 0 else key
    choice = NextToken(temperature, top_k, top_p, min_p, rule)
    return generate(step, cache, prompt, max_tokens, end, partial(choice, keys))


def _check_probability(function: str, p: float) -> None:
    if not 0 <= p <= 1:
        raise ValueError(f"{function}: p is {p}; it must be 0 to 1")
