"""ImageNet-C's weather (Hendrycks and Dietterich, 2019). Levels are those of its published code for 224 px."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from mmjax.robust.corruptions.blur import taps
from mmjax.robust.corruptions.filters import apply_rows_and_columns, motion_blur, plasma, zoom_matrix
from mmjax.robust.corruptions.levels import Levels, Severity, at

__all__ = ["Brightness", "Fog", "Frost", "Snow", "grey", "power_of_two"]


@dataclass(frozen=True)
class Snow:
    """A bleached image under flakes: enlarged noise above a threshold, blurred along a falling direction, and the same turned.

    levels: (mean and deviation of the noise, enlargement, threshold, radius and deviation of the blur, share of the image).
    """

    levels: Levels = (
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8), (0.2, 0.3, 2, 0.5, 12, 4, 0.7), (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65), (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    )  # fmt: skip

    def __call__(self, key: Key[Array, ""], x: Float[Array, "h w c"], severity: Severity) -> Float[Array, "h w c"]:
        mean, deviation, _, threshold, radius, sigma, share = at(self.levels, severity)
        flakes_key, angle_key = jax.random.split(key)
        index = jnp.clip(severity - 1, 0, len(self.levels) - 1)
        zooms = (np.stack([zoom_matrix(size, level[2]) for level in self.levels]) for size in x.shape[:2])
        noise = mean + deviation * jax.random.normal(flakes_key, (*x.shape[:2], 1))
        flakes = apply_rows_and_columns(*(jnp.asarray(zoom)[index] for zoom in zooms), noise)
        flakes = jnp.where(flakes < threshold, 0, jnp.floor(jnp.clip(flakes, 0, 1) * 255) / 255)
        angle = jax.random.uniform(angle_key, minval=-135.0, maxval=-45.0)
        flakes = motion_blur(flakes, radius, sigma, angle, taps(level[4] for level in self.levels))
        flakes = jnp.round(flakes * 255) / 255
        bleached = share * x + (1 - share) * jnp.maximum(x, grey(x) * 1.5 + 0.5)
        return jnp.clip(bleached + flakes + jnp.rot90(flakes, 2), 0, 1)


@dataclass(frozen=True)
class Frost:
    """a x + b frost. levels: (a, b).

    The published code blends photographs of frost, which are not shipped here. Frost is drawn instead: the ridges of a fractal
    landscape in a bluish white. So its numbers do not compare with those of ImageNet-C.
    """

    levels: Levels = ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))

    def __call__(self, key: Key[Array, ""], x: Float[Array, "h w c"], severity: Severity) -> Float[Array, "h w c"]:
        share, frost = at(self.levels, severity)
        heights = plasma(key, power_of_two(x), 2.0)[: x.shape[0], : x.shape[1]]
        crystals = jnp.power(1 - jnp.abs(2 * heights - 1), 3)[..., None]
        colour = jnp.asarray((0.86, 0.94, 1.0) if x.shape[-1] == 3 else (0.94,) * x.shape[-1])
        return jnp.clip(share * x + frost * crystals * colour[None, None], 0, 1)


@dataclass(frozen=True)
class Fog:
    """(x + c plasma) m / (m + c), m the largest value of x. levels: (c, decay of the fractal)."""

    levels: Levels = ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4))

    def __call__(self, key: Key[Array, ""], x: Float[Array, "h w c"], severity: Severity) -> Float[Array, "h w c"]:
        amount, decay = at(self.levels, severity)
        heights = plasma(key, power_of_two(x), decay)[: x.shape[0], : x.shape[1], None]
        return jnp.clip((x + amount * heights) * x.max() / (x.max() + amount), 0, 1)


@dataclass(frozen=True)
class Brightness:
    """The value in HSV, which is the largest colour, plus c. levels: (c,)."""

    levels: Levels = ((0.1,), (0.2,), (0.3,), (0.4,), (0.5,))

    def __call__(self, key: Key[Array, ""], x: Float[Array, "h w c"], severity: Severity) -> Float[Array, "h w c"]:
        del key
        (added,) = at(self.levels, severity)
        value = x.max(axis=-1, keepdims=True)
        new = jnp.clip(value + added, 0, 1)  # with hue and saturation fixed, colours are proportional to the value
        return jnp.where(value > 0, x * (new / jnp.maximum(value, 1e-12)), new)


def grey(x: Float[Array, "h w c"]) -> Float[Array, "h w 1"]:
    """The luma of an image with three colours (ITU-R BT.601), or the mean of another number of channels."""
    if x.shape[-1] != 3:
        return x.mean(axis=-1, keepdims=True)
    return jnp.sum(x * jnp.asarray((0.299, 0.587, 0.114))[None, None], axis=-1, keepdims=True)


def power_of_two(x: Float[Array, "h w c"]) -> int:
    """The side of the smallest fractal that covers the image."""
    return 1 << (max(x.shape[:2]) - 1).bit_length()
