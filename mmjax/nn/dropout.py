"""Dropout whose mask belongs to the example, and so does not depend on how a batch is split over devices."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mmjax.shards import example_keys


class Dropout(nn.Module):
    """Zeroes each value with probability `rate` in training and scales the rest by 1 / (1 - rate) (Srivastava et al., 2014).

    rate: dimensionless, in [0, 1). The mask comes from the rng stream "dropout".
    """

    rate: float = 0.1

    @nn.compact
    def __call__(self, x: Float[Array, "b ..."], *, train: bool = False) -> Float[Array, "b ..."]:
        if not 0 <= self.rate < 1:
            raise ValueError(f"Dropout.rate is {self.rate}; it must be at least 0 and below 1")
        if not train or self.rate == 0:
            return x
        keys = example_keys(self.make_rng("dropout"), x.shape[0])
        keep = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - self.rate, x.shape[1:]))(keys)
        return jnp.where(keep, x / (1 - self.rate), 0)
