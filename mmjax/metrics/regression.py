"""Regression: one number per unit.

Outcomes: {"target": Float[u], "predicted": Float[u]}, in units of the target. A NaN among the predictions of positive weight
makes every metric NaN. Every metric is NaN if all weights are 0.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from mmjax.metrics.weighted import mean, ratio, root
from mmjax.types import Outcomes

__all__ = ["CONSTANT", "absolute_error", "pearson", "r2", "root_squared_error", "spearman"]

CONSTANT = 2.0**-24
"""A standard deviation of at most this fraction of the root mean square is rounding of float32, half a unit in the last place:
the values count as constant."""


def absolute_error(outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
    """MAE: the mean of |predicted - target|, in units of the target."""
    return mean(jnp.abs(outcomes["predicted"] - outcomes["target"]), weight)


def root_squared_error(outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
    """RMSE: the square root of the mean of (predicted - target)^2, in units of the target."""
    return root(mean(jnp.square(outcomes["predicted"] - outcomes["target"]), weight))


def _centred(x: Float[Array, " u"], weight: Float[Array, " u"]) -> tuple[Float[Array, " u"], Float[Array, ""]]:
    """(x minus its weighted mean, its weighted variance; 0 if x does not vary).

    The mean of large values is rounded, so the values are centred twice. The first shift is a constant for the gradient: the
    result does not depend on it, and the gradient of the second mean adds small numbers only.
    """
    x = jnp.where(weight > 0, x, 0)  # here, so that a NaN of weight 0 does not reach the gradient of the mean
    shifted = jnp.where(weight > 0, x - lax.stop_gradient(mean(x, weight)), 0)
    centred = shifted - mean(shifted, weight)
    variance = mean(jnp.square(centred), weight)
    constant = variance <= mean(jnp.square(CONSTANT * x), weight)
    return centred, jnp.where(constant, 0, variance)


def _correlation(x: Float[Array, " u"], y: Float[Array, " u"], weight: Float[Array, " u"]) -> Float[Array, ""]:
    """The correlation of predictions x and targets y; 0 if x does not vary, NaN if y does not."""
    (x, own), (y, other) = _centred(x, weight), _centred(y, weight)
    value = jnp.clip(ratio(mean(x * y, weight), root(own) * root(other)), -1, 1)
    return jnp.where(other == 0, jnp.nan, value)


def pearson(outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
    """Pearson's correlation, in -1..1; 0 if the predictions do not vary, NaN if the targets do not."""
    return _correlation(outcomes["predicted"], outcomes["target"], weight)


def _ranks(x: Float[Array, " u"], weight: Float[Array, " u"]) -> Float[Array, " u"]:
    """Mean ranks in 0..1: the share of the weight of smaller values plus half of the share of equal values."""
    order = jnp.argsort(x)
    below = jnp.concatenate([jnp.zeros(1), jnp.cumsum(weight[order] / jnp.maximum(jnp.sum(weight), 1e-30))])
    first, last = (jnp.searchsorted(x[order], x, side=side) for side in ("left", "right"))
    return (below[first] + below[last]) / 2


def spearman(outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
    """Spearman's rank correlation: `pearson` of the mean ranks. A unit of weight 2 counts as two units."""
    x, y = outcomes["predicted"], outcomes["target"]
    value = _correlation(_ranks(x, weight), _ranks(y, weight), weight)
    return jnp.where(jnp.isnan(mean(x, weight)), jnp.nan, value)


def r2(outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
    """1 - mean squared error / variance of the targets, at most 1; NaN if the targets do not vary."""
    _, variance = _centred(outcomes["target"], weight)
    residual = mean(jnp.square(outcomes["target"] - outcomes["predicted"]), weight)
    return 1 - ratio(residual, variance, jnp.nan)
