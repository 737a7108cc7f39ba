"""Metrics of likelihood, pure functions of sums over texts.

Outcomes: {"nats": Float[u], "tokens": Int[u], "bytes": Int[u]}: - log p of the scored tokens of a text, their number, and the
number of UTF-8 bytes that they stand for. Bits per byte do not depend on how a tokenizer cuts a text, so they compare models
with different tokenizers; nats per token and perplexity do not.
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from mmjax.metrics.weighted import ratio, total
from mmjax.types import Metric, Outcomes

__all__ = ["LIKELIHOOD_METRICS", "bits_per_byte", "nats_per_token", "perplexity"]


def bits_per_byte(outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
    """Total nats / (log 2 total bytes), at least 0; 8 for uniformly distributed bytes. NaN without bytes."""
    return ratio(total(outcomes["nats"], weight), math.log(2) * total(outcomes["bytes"], weight), jnp.nan)


def nats_per_token(outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
    """Total nats / total tokens, at least 0; the logarithm of the vocabulary for uniformly distributed tokens."""
    return ratio(total(outcomes["nats"], weight), total(outcomes["tokens"], weight), jnp.nan)


def perplexity(outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
    """exp(nats per token), at least 1 (Jelinek et al., 1977)."""
    return jnp.exp(nats_per_token(outcomes, weight))


LIKELIHOOD_METRICS = {
    "bits_per_byte": Metric(bits_per_byte, higher_is_better=False, bounds=(0.0, None)),
    "nats_per_token": Metric(nats_per_token, higher_is_better=False, bounds=(0.0, None)),
    "perplexity": Metric(perplexity, higher_is_better=False, bounds=(1.0, None)),
}
