"""Batch and RMS normalisation. The running statistics of a batch norm are variables that `apply` takes and returns."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from mmjax.shards import sum_over_shards

__all__ = ["BatchNorm", "RMSNorm"]


def _per_channel(x: Float[Array, "b ... c"], present: Bool[Array, " b"]) -> Float[Array, " c"]:
    """Sum over the present examples of this shard. Each example is reduced first, so that the mask applies to [b c] only."""
    by_example = x.sum(tuple(range(1, x.ndim - 1)))
    return jnp.where(present[:, None], by_example, 0).sum(0)


def _along(x: Float[Array, "b ... c"], *vectors: Float[Array, " c"]) -> list[Float[Array, "1 ... c"]]:
    """The vectors reshaped to broadcast against x along its last axis."""
    return [vector.reshape((1,) * (x.ndim - 1) + (-1,)) for vector in vectors]


def _zero_absent(present: Bool[Array, " b"], x: Float[Array, "b ... c"]) -> Float[Array, "b ... c"]:
    """x with zeros for absent examples, even if their values are NaN."""
    return jnp.where(present.reshape(-1, *(1,) * (x.ndim - 1)), x, 0)


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def _standardised(
    x: Float[Array, "b ... c"],
    scale: Float[Array, " c"],
    bias: Float[Array, " c"],
    present: Bool[Array, " b"],
    epsilon: float,
) -> tuple[Float[Array, "b ... c"], Float[Array, " c"], Float[Array, " c"], Float[Array, ""]]:
    """(y, mean, sum of squared deviations, number of values per channel). The last three have no gradient.

    The gradient is written by hand (Ioffe and Szegedy, section 3): through mean and variance it needs only two sums per
    channel, which are also the gradients of bias and scale. Automatic differentiation computes more sums and masks.
    Reverse-mode differentiation only; `jax.jvp` raises an error.
    """
    return _standardise(x, scale, bias, present, epsilon)[0]


def _standardise(x, scale, bias, present, epsilon):
    per_example = x[0].size // x.shape[-1]
    count = sum_over_shards(present.sum().astype(jnp.float32) * per_example)
    x32 = x.astype(jnp.float32)
    mean = sum_over_shards(_per_channel(x32, present)) / jnp.maximum(count, 1)
    centred = x32 - _along(x, mean)[0]
    squares = sum_over_shards(_per_channel(jnp.square(centred), present))
    inverse = lax.rsqrt(squares / jnp.maximum(count, 1) + epsilon)
    factor, shift = _along(x, scale * inverse, bias)
    y = _zero_absent(present, centred * factor + shift)
    return (y, mean, squares, count), (x, scale, present, mean, inverse, count)


def _standardise_backward(epsilon, residuals, gradients):
    x, scale, present, mean, inverse, count = residuals
    dy, *_ = gradients
    centred = x.astype(jnp.float32) - _along(x, mean)[0]
    sums = _per_channel(dy, present), _per_channel(dy * centred, present)
    by_mean, by_variance = (total / jnp.maximum(count, 1) for total in sum_over_shards(sums))
    factor, by_mean, by_variance = _along(x, scale * inverse, by_mean, by_variance * jnp.square(inverse))
    dx = _zero_absent(present, factor * (dy - by_mean - centred * by_variance))
    return dx.astype(x.dtype), (sums[1] * inverse).astype(scale.dtype), sums[0].astype(scale.dtype), None


_standardised.defvjp(_standardise, _standardise_backward)


class BatchNorm(nn.Module):
    """Batch normalisation over all axes but the last (Ioffe and Szegedy, 2015, algorithms 1 and 2), in float32.

        y = scale (x - mean) / sqrt(var + epsilon) + bias

    In training, mean and (biased) variance are those of the present examples in the whole batch, over all shards. The
    collection "batch_stats" must be mutable: running = momentum * running + (1 - momentum) * batch, with the unbiased variance
    as in torch (torch's momentum is one minus ours). In evaluation, mean and variance are the running ones.

    Absent examples yield zeros and affect nothing; a batch without a present example updates nothing. The running statistics
    have no gradient, and training supports reverse-mode differentiation only.

    momentum, epsilon: dimensionless. affine: whether there are parameters `scale` and `bias`; else they are 1 and 0. dtype: of
    the output; parameters and the statistics `mean` and `var` are float32. `__call__` takes present: Bool[b]; None means that
    all examples are present.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: Any = jnp.float32
    affine: bool = True

    @nn.compact
    def __call__(
        self, x: Float[Array, "b ... c"], *, train: bool = False, present: Bool[Array, " b"] | None = None
    ) -> Float[Array, "b ... c"]:
        channels = x.shape[-1]
        scale, bias = jnp.ones(channels), jnp.zeros(channels)
        if self.affine:
            scale = jnp.asarray(self.param("scale", nn.initializers.ones_init(), (channels,)))
            bias = jnp.asarray(self.param("bias", nn.initializers.zeros_init(), (channels,)))
        mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,), jnp.float32)
        var = self.variable("batch_stats", "var", jnp.ones, (channels,), jnp.float32)

        present = jnp.ones(x.shape[0], bool) if present is None else present
        if not train:
            factor = scale * lax.rsqrt(var.value + self.epsilon)
            centre, factor, shift = _along(x, jnp.asarray(mean.value), factor, bias)
            x = _zero_absent(present, x.astype(jnp.float32))  # before the products too, so that NaN reaches no gradient
            return _zero_absent(present, (x - centre) * factor + shift).astype(self.dtype)

        y, centre, squares, count = _standardised(x, scale, bias, present, self.epsilon)
        if not self.is_initializing():
            keep = jnp.where(count > 0, self.momentum, 1.0)
            mean.value = keep * mean.value + (1 - keep) * centre
            var.value = keep * var.value + (1 - keep) * squares / jnp.maximum(count - 1, 1)
        return y.astype(self.dtype)


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + epsilon) * (scale + offset), in float32 (Zhang and Sennrich, 2019)."""

    epsilon: float = 1e-6
    offset: float = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "*n d"]) -> Float[Array, "*n d"]:
        scale = self.param("scale", nn.initializers.constant(1 - self.offset), (x.shape[-1],)) + self.offset
        x = x.astype(jnp.float32)
        x = x * lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + self.epsilon)
        return x * scale.reshape((1,) * (x.ndim - 1) + (-1,))
