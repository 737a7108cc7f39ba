"""ImageNet-C's blur (Hendrycks and Dietterich, 2019). Levels are those of its published code for 224 px, in pixels."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from mmjax.robust.corruptions.filters import (
    apply_rows_and_columns,
    convolved,
    disk,
    gaussian_blur,
    motion_blur,
    shuffled,
    zoom_matrix,
)
from mmjax.robust.corruptions.levels import Levels, Severity, at

__all__ = ["DefocusBlur", "GlassBlur", "MotionBlur", "ZoomBlur", "taps"]


@dataclass(frozen=True)
class DefocusBlur:
    """Correlation with a disk. levels: (radius, blur of the disk's edge)."""

    levels: Levels = ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))

    def __call__(self, key: Key[Array, ""], x: Float[Array, "h w c"], severity: Severity) -> Float[Array, "h w c"]:
        del key
        half = max(8, *(int(radius) for radius, _ in self.levels))
        kernels = np.stack([disk(*level, half) for level in self.levels])
        return jnp.clip(convolved(x, jnp.asarray(kernels)[jnp.clip(severity - 1, 0, len(kernels) - 1)]), 0, 1)


@dataclass(frozen=True)
class GlassBlur:
    """A Gaussian blur, local shuffling of pixels (`filters.shuffled`), and the blur again.

    levels: (deviation of the blur, largest distance of a pixel's source, rounds). Distances are drawn from [-d, d).
    """

    levels: Levels = ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2))

    def __call__(self, key: Key[Array, ""], x: Float[Array, "h w c"], severity: Severity) -> Float[Array, "h w c"]:
        sigma, reach, rounds = at(self.levels, severity)
        reach, rounds = reach.astype(jnp.int32), rounds.astype(jnp.int32)
        most = int(max(level[2] for level in self.levels))
        offsets = jax.random.randint(key, (most, *x.shape[:2], 2), -reach, reach)
        blurred = jnp.floor(gaussian_blur(x, sigma) * 255) / 255  # the published code stores bytes here
        return jnp.clip(gaussian_blur(shuffled(blurred, offsets, reach, rounds), sigma), 0, 1)


@dataclass(frozen=True)
class MotionBlur:
    """ImageMagick's motion blur at an angle that is drawn from -45 to 45 degrees. levels: (radius, deviation)."""

    levels: Levels = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))

    def __call__(self, key: Key[Array, ""], x: Float[Array, "h w c"], severity: Severity) -> Float[Array, "h w c"]:
        radius, sigma = at(self.levels, severity)
        angle = jax.random.uniform(key, minval=-45.0, maxval=45.0)
        return jnp.clip(motion_blur(x, radius, sigma, angle, taps(level[0] for level in self.levels)), 0, 1)


@dataclass(frozen=True)
class ZoomBlur:
    """The mean of the image and of enlargements by 1, 1 + step, ... below `stop`. levels: (stop, step)."""

    levels: Levels = ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))

    def __call__(self, key: Key[Array, ""], x: Float[Array, "h w c"], severity: Severity) -> Float[Array, "h w c"]:
        del key
        factors = [np.arange(1, stop, step) for stop, step in self.levels]
        most, index = max(map(len, factors)), jnp.clip(severity - 1, 0, len(factors) - 1)

        def matrices(size):
            """[most n n] of this severity, zeros beyond its number of factors."""
            found = np.zeros((len(factors), most, size, size), np.float32)
            for level, of_level in enumerate(factors):
                found[level, : len(of_level)] = [zoom_matrix(size, factor) for factor in of_level]
            return jnp.asarray(found)[index]

        add = lambda total, pair: (total + apply_rows_and_columns(*pair, x), None)
        total, _ = jax.lax.scan(add, x, tuple(matrices(size) for size in x.shape[:2]))
        return jnp.clip(total / (jnp.asarray([*map(len, factors)])[index] + 1), 0, 1)


def taps(radii) -> int:
    """The length of the longest motion blur."""
    return 2 * max(int(np.ceil(radius)) for radius in radii) + 1
