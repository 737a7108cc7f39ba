"""ImageNet-C's noise (Hendrycks and Dietterich, 2019). Levels are those of its published code for 224 px."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from mmjax.robust.corruptions.levels import Levels, Severity, at

__all__ = ["GaussianNoise", "ImpulseNoise", "ShotNoise"]


@dataclass(frozen=True)
class GaussianNoise:
    """x + n, n ~ N(0, c^2). levels: (c,), the deviation, for pixels in [0, 1]."""

    levels: Levels = ((0.08,), (0.12,), (0.18,), (0.26,), (0.38,))

    def __call__(self, key: Key[Array, ""], x: Float[Array, "h w c"], severity: Severity) -> Float[Array, "h w c"]:
        (deviation,) = at(self.levels, severity)
        return jnp.clip(x + deviation * jax.random.normal(key, x.shape), 0, 1)


@dataclass(frozen=True)
class ShotNoise:
    """Poisson(c x) / c. levels: (c,), the photons of a white pixel."""

    levels: Levels = ((60.0,), (25.0,), (12.0,), (5.0,), (3.0,))

    def __call__(self, key: Key[Array, ""], x: Float[Array, "h w c"], severity: Severity) -> Float[Array, "h w c"]:
        (photons,) = at(self.levels, severity)
        return jnp.clip(jax.random.poisson(key, x * photons, x.shape) / photons, 0, 1)


@dataclass(frozen=True)
class ImpulseNoise:
    """Salt and pepper: each value is replaced with probability c, by 0 or 1 alike. levels: (c,)."""

    levels: Levels = ((0.03,), (0.06,), (0.09,), (0.17,), (0.27,))

    def __call__(self, key: Key[Array, ""], x: Float[Array, "h w c"], severity: Severity) -> Float[Array, "h w c"]:
        (rate,) = at(self.levels, severity)
        which, salt = jax.random.split(key)
        replaced = jax.random.uniform(which, x.shape) < rate
        return jnp.where(replaced, jax.random.bernoulli(salt, 0.5, x.shape).astype(x.dtype), x)
