"""ImageNet-C's digital corruptions (Hendrycks and Dietterich, 2019). Levels are those of its published code for 224 px."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from mmjax.robust.corruptions.filters import apply_rows_and_columns, box_matrix, gaussian_blur, sampled
from mmjax.robust.corruptions.jpeg import jpeg
from mmjax.robust.corruptions.levels import Levels, Severity, at

__all__ = ["Contrast", "ElasticTransform", "JpegCompression", "Pixelate", "affine"]


@dataclass(frozen=True)
class Contrast:
    """c times the difference from the mean colour of the image. levels: (c,)."""

    levels: Levels = ((0.4,), (0.3,), (0.2,), (0.1,), (0.05,))

    def __call__(self, key: Key[Array, ""], x: Float[Array, "h w c"], severity: Severity) -> Float[Array, "h w c"]:
        del key
        (factor,) = at(self.levels, severity)
        mean = x.mean(axis=(0, 1), keepdims=True)
        return jnp.clip((x - mean) * factor + mean, 0, 1)


@dataclass(frozen=True)
class ElasticTransform:
    """A random affine map of three points, then a smooth random displacement of each pixel; bilinear, mirrored at the edges.

    levels: (size of the displacements, deviation of their Gaussian smoothing, largest shift of a point), in shares of the side.
    The published numbers for 224 px are shares of 244.
    """

    levels: Levels = tuple(
        tuple(244 / 224 * share for share in level)
        for level in ((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02))
    )

    def __call__(self, key: Key[Array, ""], x: Float[Array, "h w c"], severity: Severity) -> Float[Array, "h w c"]:
        size, sigma, shift = at(self.levels, severity) * min(x.shape[:2])
        points_key, field_key = jax.random.split(key)
        x = affine(x, shift * jax.random.uniform(points_key, (3, 2), minval=-1.0, maxval=1.0))
        field = jax.random.uniform(field_key, (*x.shape[:2], 2), minval=-1.0, maxval=1.0)
        right, down = jnp.moveaxis(size * gaussian_blur(field, sigma, truncate=3.0, mode="symmetric"), -1, 0)
        row, column = np.mgrid[: x.shape[0], : x.shape[1]].astype(np.float32)
        return jnp.clip(sampled(x, row + down, column + right, "reflect"), 0, 1)


@dataclass(frozen=True)
class Pixelate:
    """The image at a smaller size, by means of boxes, and enlarged again. levels: (share of the side,)."""

    levels: Levels = ((0.6,), (0.5,), (0.4,), (0.3,), (0.25,))

    def __call__(self, key: Key[Array, ""], x: Float[Array, "h w c"], severity: Severity) -> Float[Array, "h w c"]:
        del key
        index = jnp.clip(severity - 1, 0, len(self.levels) - 1)

        def matrix(size):
            smaller = [max(int(size * share), 1) for (share,) in self.levels]
            return jnp.asarray(np.stack([box_matrix(new, size) @ box_matrix(size, new) for new in smaller]))[index]

        return apply_rows_and_columns(*(matrix(size) for size in x.shape[:2]), x)


@dataclass(frozen=True)
class JpegCompression:
    """Compression by `jpeg.jpeg`. levels: (quality,), as in libjpeg."""

    levels: Levels = ((25.0,), (18.0,), (15.0,), (10.0,), (7.0,))

    def __call__(self, key: Key[Array, ""], x: Float[Array, "h w c"], severity: Severity) -> Float[Array, "h w c"]:
        del key
        (quality,) = at(self.levels, severity)
        return jpeg(x, quality)


def affine(x: Float[Array, "h w c"], shifts: Float[Array, "3 2"]) -> Float[Array, "h w c"]:
    """The affine map that moves three points around the centre by `shifts` (right, down), mirrored without the edge itself."""
    h, w, _ = x.shape
    centre, arm = np.float32([w // 2, h // 2]), min(h, w) // 3
    points = np.float32([centre + arm, [centre[0] + arm, centre[1] - arm], centre - arm])
    moved = jnp.concatenate([points + shifts, jnp.ones((3, 1))], axis=1)
    back = jnp.linalg.solve(moved, points)  # [3 2]: (right, down, 1) of the new image -> the old one
    row, column = np.mgrid[:h, :w].astype(np.float32)
    right, down = (column * back[0, i] + row * back[1, i] + back[2, i] for i in range(2))
    return sampled(x, down, right, "mirror")
