"""Weighted means, ratios and roots with finite gradients: the building blocks of the metrics."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

__all__ = ["mean", "ratio", "root", "total"]


def ratio(numerator: Any, denominator: Any, empty: float = 0.0) -> Float[Array, "..."]:
    """numerator / denominator; `empty`, with gradient 0, where the denominator is 0."""
    zero = denominator == 0
    return jnp.where(zero, empty, numerator / jnp.where(zero, 1.0, denominator))


def total(values: Any, weight: Float[Array, " u"]) -> Float[Array, ""]:
    """sum(weight * values) over values [u]. Values of weight 0 may be anything, even NaN."""
    return jnp.sum(weight * jnp.where(weight > 0, values, 0))


def mean(values: Any, weight: Float[Array, " u"]) -> Float[Array, ""]:
    """The weighted mean of values [u]; NaN if all weights are 0."""
    return ratio(total(values, weight), jnp.sum(weight), jnp.nan)


def root(x: Any) -> Float[Array, "..."]:
    """The square root of x >= 0, with gradient 0 at 0."""
    zero = x == 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, x)))
