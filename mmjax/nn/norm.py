"""Batch normalisation, functional: the running statistics are variables that go in and come out of `apply`."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from mmjax.shards import sum_over_shards


def _per_channel(x: Float[Array, "b ... c"], present: Bool[Array, " b"]) -> Float[Array, " c"]:
    """Sum over the examples of this shard that are there. Their own sums come first, so that nothing large is masked."""
    own = x.sum(tuple(range(1, x.ndim - 1)))
    return jnp.where(present[:, None], own, 0).sum(0)


def _along(x: Float[Array, "b ... c"], *vectors: Float[Array, " c"]) -> list[Float[Array, "1 ... c"]]:
    """The vectors of channels with as many axes as x, which they broadcast against."""
    return [vector.reshape((1,) * (x.ndim - 1) + (-1,)) for vector in vectors]


def _if_there(present: Bool[Array, " b"], x: Float[Array, "b ... c"]) -> Float[Array, "b ... c"]:
    """x, with zeros for the examples that are absent, whatever stood there."""
    return jnp.where(present.reshape(-1, *(1,) * (x.ndim - 1)), x, 0)


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def _standardised(
    x: Float[Array, "b ... c"],
    scale: Float[Array, " c"],
    bias: Float[Array, " c"],
    present: Bool[Array, " b"],
    epsilon: float,
) -> tuple[Float[Array, "b ... c"], Float[Array, " c"], Float[Array, " c"], Float[Array, ""]]:
    """(y, mean, sum of squares about it, how many numbers these are of), the latter three without gradients.

    Automatic differentiation masks every number twice, and sums what is zero: the gradients by way of mean and variance need
    but the two sums that those of bias and scale are (Ioffe and Szegedy, section 3). Backwards alone: `jax.jvp` refuses it.
    """
    return _standardise(x, scale, bias, present, epsilon)[0]


def _standardise(x, scale, bias, present, epsilon):
    of_each = x[0].size // x.shape[-1]
    count = sum_over_shards(present.sum().astype(jnp.float32) * of_each)
    x32 = x.astype(jnp.float32)
    mean = sum_over_shards(_per_channel(x32, present)) / jnp.maximum(count, 1)
    centred = x32 - _along(x, mean)[0]
    squares = sum_over_shards(_per_channel(jnp.square(centred), present))
    inverse = lax.rsqrt(squares / jnp.maximum(count, 1) + epsilon)
    factor, shift = _along(x, scale * inverse, bias)
    y = _if_there(present, centred * factor + shift)
    return (y, mean, squares, count), (x, scale, present, mean, inverse, count)


def _standardise_backward(epsilon, residuals, gradients):
    x, scale, present, mean, inverse, count = residuals
    dy, *_ = gradients
    centred = x.astype(jnp.float32) - _along(x, mean)[0]
    sums = _per_channel(dy, present), _per_channel(dy * centred, present)
    shared, sloped = (total / jnp.maximum(count, 1) for total in sum_over_shards(sums))
    factor, shared, slope = _along(x, scale * inverse, shared, sloped * jnp.square(inverse))
    dx = _if_there(present, factor * (dy - shared - centred * slope))
    return dx.astype(x.dtype), (sums[1] * inverse).astype(scale.dtype), sums[0].astype(scale.dtype), None


_standardised.defvjp(_standardise, _standardise_backward)


class BatchNorm(nn.Module):
    """Batch normalisation over all axes but the last (Ioffe and Szegedy, 2015, algorithms 1 and 2), in float32.

        y = scale (x - mean) / sqrt(var + epsilon) + bias

    In training, mean and (biased) variance are those of the examples that are present in the whole batch, however it is
    split over shards, and the collection "batch_stats" must be mutable: running = momentum running + (1 - momentum) batch,
    with the unbiased variance, as torch has it (whose momentum is one minus ours). In evaluation they are the running ones.
    Examples that are absent come out as zeros, and nothing depends on them; with nobody present nothing is updated. Training
    is differentiated backwards alone, and the running statistics have no gradient.

    momentum, epsilon: dimensionless. dtype: of the result; parameters `scale`, `bias` and statistics `mean`, `var` are float32.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b ... c"], *, train: bool = False, present: Bool[Array, " b"] | None = None
    ) -> Float[Array, "b ... c"]:
        channels = x.shape[-1]
        scale = jnp.asarray(self.param("scale", nn.initializers.ones_init(), (channels,)))
        bias = jnp.asarray(self.param("bias", nn.initializers.zeros_init(), (channels,)))
        mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,), jnp.float32)
        var = self.variable("batch_stats", "var", jnp.ones, (channels,), jnp.float32)

        present = jnp.ones(x.shape[0], bool) if present is None else present
        if not train:
            factor = scale * lax.rsqrt(var.value + self.epsilon)
            centre, factor, shift = _along(x, jnp.asarray(mean.value), factor, bias)
            x = _if_there(present, x.astype(jnp.float32))  # first too, so that no gradient meets what is not there
            return _if_there(present, (x - centre) * factor + shift).astype(self.dtype)

        y, centre, squares, count = _standardised(x, scale, bias, present, self.epsilon)
        if not self.is_initializing():
            keep = jnp.where(count > 0, self.momentum, 1.0)
            mean.value = keep * mean.value + (1 - keep) * centre
            var.value = keep * var.value + (1 - keep) * squares / jnp.maximum(count - 1, 1)
        return y.astype(self.dtype)
