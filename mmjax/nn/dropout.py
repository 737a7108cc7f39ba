"""Dropout with one mask per example, independent of how a batch is split over devices."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mmjax.nn.checks import rate
from mmjax.shards import example_keys

__all__ = ["Dropout"]


class Dropout(nn.Module):
    """Zeroes each value with probability `rate` in training and scales the rest by 1 / (1 - rate) (Srivastava et al., 2014).

    rate: dimensionless, in [0, 1). The mask comes from the rng stream "dropout".
    """

    rate: float = 0.1

    @nn.compact
    def __call__(self, x: Float[Array, "b ..."], *, train: bool = False) -> Float[Array, "b ..."]:
        rate(self, "rate")
        if not train or self.rate == 0:
            return x
        keys = example_keys(self.make_rng("dropout"), x.shape[0])
        keep = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - self.rate, x.shape[1:]))(keys)
        return jnp.where(keep, x / (1 - self.rate), 0)
