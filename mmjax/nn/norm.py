"""Batch normalisation, functional: the running statistics are variables that go in and come out of `apply`."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from mmjax.shards import sum_over_shards


class BatchNorm(nn.Module):
    """Batch normalisation over all axes but the last (Ioffe and Szegedy, 2015, algorithms 1 and 2), in float32.

        y = scale (x - mean) / sqrt(var + epsilon) + bias

    In training, mean and (biased) variance are those of the examples that are present in the whole batch, however it is
    split over shards, and the collection "batch_stats" must be mutable: running = momentum running + (1 - momentum) batch,
    with the unbiased variance, as torch has it (whose momentum is one minus ours). In evaluation they are the running ones.
    Examples that are absent come out as zeros, and nothing depends on them; with nobody present nothing is updated.

    momentum, epsilon: dimensionless. dtype: of the result; parameters `scale`, `bias` and statistics `mean`, `var` are float32.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b ... c"], *, train: bool = False, present: Bool[Array, " b"] | None = None
    ) -> Float[Array, "b ... c"]:
        channels, along, last = x.shape[-1], tuple(range(x.ndim - 1)), (1,) * (x.ndim - 1)
        scale = self.param("scale", nn.initializers.ones_init(), (channels,))
        bias = self.param("bias", nn.initializers.zeros_init(), (channels,))
        mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,), jnp.float32)
        var = self.variable("batch_stats", "var", jnp.ones, (channels,), jnp.float32)

        there = jnp.ones((1,) * x.ndim, bool) if present is None else present.reshape(-1, *(1,) * (x.ndim - 1))
        x = jnp.where(there, x.astype(jnp.float32), 0)

        def normalised(mean, var):
            factor = scale * lax.rsqrt(var + self.epsilon)
            y = (x - mean.reshape(*last, -1)) * factor.reshape(*last, -1) + bias.reshape(*last, -1)
            return jnp.where(there, y, 0).astype(self.dtype)

        if not train:
            return normalised(mean.value, var.value)

        examples = jnp.asarray(x.shape[0] if present is None else present.sum(), jnp.float32)
        count = sum_over_shards(examples * (x[0].size // channels))
        centre = sum_over_shards(x.sum(along)) / jnp.maximum(count, 1)
        squares = jnp.where(there, jnp.square(x - centre.reshape(*last, -1)), 0)
        sum_of_squares = sum_over_shards(squares.sum(along))
        if not self.is_initializing():
            keep = jnp.where(count > 0, self.momentum, 1.0)
            mean.value = keep * mean.value + (1 - keep) * centre
            var.value = keep * var.value + (1 - keep) * sum_of_squares / jnp.maximum(count - 1, 1)
        return normalised(centre, sum_of_squares / jnp.maximum(count, 1))
