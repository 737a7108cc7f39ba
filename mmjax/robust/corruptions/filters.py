"""Filters of images, Float[h w c]. Those that are linear along an axis are matrices."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from mmjax.nn.conv import conv_nhwc

__all__ = [
    "MARGIN", "apply_rows_and_columns", "box_matrix", "convolved", "disk", "folded", "gaussian_blur", "gaussian_matrix",
    "motion_blur", "plasma", "sampled", "shuffled", "zoom_matrix",
]  # fmt: skip

MARGIN = 3  # images are continued by this number of their own sizes


def apply_rows_and_columns(rows: Any, columns: Any, x: Float[Array, "h w c"]) -> Float[Array, "i j c"]:
    """rows x columns^T for each channel. rows: [i h]; columns: [j w]."""
    return jnp.einsum("ih,jw,hwc->ijc", rows, columns, x, precision="highest")


def folded(size: int, margin: int, mode: str) -> Float[np.ndarray, "m n"]:
    """The matrix [size + 2 margin, size] that continues an axis: `mode` as in `numpy.pad`, "edge", "symmetric" or "reflect"."""
    index = np.pad(np.arange(size), margin, mode=mode)
    return np.eye(size, dtype=np.float32)[index]


def gaussian_matrix(
    size: int, sigma: Float[Array, ""] | float, truncate: float = 4.0, mode: str = "edge"
) -> Float[Array, "n n"]:
    """Gaussian smoothing along an axis, by scipy.ndimage.gaussian_filter1d's kernel, which ends at round(truncate * sigma)."""
    margin = MARGIN * size
    distance = np.abs(np.arange(-margin, size + margin)[None] - np.arange(size)[:, None]).astype(np.float32)
    sigma = jnp.maximum(jnp.asarray(sigma, jnp.float32), 1e-6)
    weight = jnp.exp(-0.5 * jnp.square(distance / sigma)) * (distance <= jnp.floor(truncate * sigma + 0.5))
    return weight / weight.sum(axis=1, keepdims=True) @ folded(size, margin, mode)


def gaussian_blur(x: Float[Array, "h w c"], sigma: Float[Array, ""] | float, **fields) -> Float[Array, "h w c"]:
    """Gaussian blur of each channel; the edge is repeated. fields: truncate and mode of `gaussian_matrix`."""
    return apply_rows_and_columns(*(gaussian_matrix(n, sigma, **fields) for n in x.shape[:2]), x)


def disk(radius: float | int, alias_blur: float, half: int) -> Float[np.ndarray, "k k"]:
    """A disk of sum 1 with a blurred edge, k = 2 half + 1: that of ImageNet-C's defocus blur."""
    own = 8 if radius <= 8 else int(radius)
    y, x = np.mgrid[-own : own + 1, -own : own + 1]
    found = ((x**2 + y**2) <= radius**2).astype(np.float64)
    found /= found.sum()
    reach = 1 if radius <= 8 else 2  # OpenCV's ksize 3 or 5, the border mirrored without the edge itself
    tap = np.exp(-0.5 * (np.arange(-reach, reach + 1) / alias_blur) ** 2)
    smooth = np.zeros((2 * own + 1, 2 * own + 1 + 2 * reach))
    for row in range(2 * own + 1):
        smooth[row, row : row + 2 * reach + 1] = tap / tap.sum()
    smooth = smooth @ folded(2 * own + 1, reach, "reflect")
    return np.pad(smooth @ found @ smooth.T, half - own).astype(np.float32)


def convolved(x: Float[Array, "h w c"], kernel: Float[Array, "k k"]) -> Float[Array, "h w c"]:
    """The correlation of each channel with a kernel of odd size; the image is mirrored without the edge itself."""
    half = kernel.shape[0] // 2
    down, across = (folded(n, half, "reflect" if n > 1 else "edge") for n in x.shape[:2])
    padded = apply_rows_and_columns(down, across, x).transpose(2, 0, 1)[..., None]
    return conv_nhwc(padded, kernel[:, :, None, None], (1, 1), ((0, 0), (0, 0)))[..., 0].transpose(1, 2, 0)


def motion_blur(
    x: Float[Array, "h w c"], radius: Float[Array, ""], sigma: Float[Array, ""], degrees: Float[Array, ""], taps: int
) -> Float[Array, "h w c"]:
    """ImageMagick's motion blur: half a Gaussian in one direction, 2 radius + 1 pixels long; the edge is repeated.

    degrees: from right to down. taps: at least the largest 2 radius + 1.
    """
    (h, w, _), step = x.shape, np.arange(taps, dtype=np.float32)
    weight = jnp.exp(-0.5 * jnp.square(step / sigma)) * (step < 2 * jnp.ceil(radius) + 1)
    weight = weight / weight.sum()
    angle = jnp.deg2rad(degrees)
    right, down = (jnp.ceil(step * along - 0.5).astype(jnp.int32) for along in (jnp.cos(angle), jnp.sin(angle)))

    def add(tap, total):
        row = jnp.clip(jnp.arange(h) + down[tap], 0, h - 1)
        column = jnp.clip(jnp.arange(w) + right[tap], 0, w - 1)
        return total + weight[tap] * x[row][:, column]

    return jax.lax.fori_loop(0, taps, add, jnp.zeros_like(x))


def zoom_matrix(size: int, factor: Any) -> Float[np.ndarray, "n n"]:
    """ImageNet-C's clipped zoom along an axis: its centre of ceil(size / factor) pixels, enlarged by linear interpolation.

    The corners of the crop stay at the ends, as in scipy.ndimage.zoom(order=1); what is too much is cut off on both sides.
    """
    kept = math.ceil(size / factor)
    top, large = (size - kept) // 2, round(kept * factor)
    position = np.arange(large) * ((kept - 1) / max(large - 1, 1))
    low = np.minimum(position.astype(int), max(kept - 2, 0))
    matrix = np.zeros((large, size))
    matrix[np.arange(large), top + low] += 1 - (position - low)
    matrix[np.arange(large), top + np.minimum(low + 1, kept - 1)] += position - low
    trim = (large - size) // 2
    return matrix[trim : trim + size].astype(np.float32)


def box_matrix(size: int, new: int) -> Float[np.ndarray, "new n"]:
    """Pillow's resize with a box filter along an axis: the mean of the pixels whose centres a new pixel covers."""
    scale = size / new
    centre, support = (np.arange(new) + 0.5) * scale, 0.5 * max(scale, 1)
    low = np.maximum((centre - support + 0.5).astype(int), 0)
    high = np.minimum((centre + support + 0.5).astype(int), size)
    inside = (low[:, None] <= np.arange(size)[None]) & (np.arange(size)[None] < high[:, None])
    return (inside / inside.sum(axis=1, keepdims=True)).astype(np.float32)


def plasma(key: Key[Array, ""], size: int, decay: Float[Array, ""] | float) -> Float[Array, "n n"]:
    """A fractal landscape in [0, 1] by the diamond-square algorithm, as in ImageNet-C's fog. size: a power of two.

    decay: the divisor of the amplitude at each finer grid.
    """
    field, wibble, step = jnp.zeros((size, size)), jnp.float32(100), size

    def mean(key, total, wibble):
        return total / 4 + wibble * jax.random.uniform(key, total.shape, minval=-1.0, maxval=1.0) * wibble

    while step >= 2:
        half = step // 2
        key, square, left, top = jax.random.split(key, 4)
        corner = field[::step, ::step]
        total = corner + jnp.roll(corner, -1, 0)
        total = total + jnp.roll(total, -1, 1)
        field = field.at[half::step, half::step].set(mean(square, total, wibble))
        middle = field[half::step, half::step]
        total = middle + jnp.roll(middle, 1, 0) + corner + jnp.roll(corner, -1, 1)
        field = field.at[::step, half::step].set(mean(left, total, wibble))
        total = middle + jnp.roll(middle, 1, 1) + corner + jnp.roll(corner, -1, 0)
        field = field.at[half::step, ::step].set(mean(top, total, wibble))
        step, wibble = half, wibble / decay
    field = field - field.min()
    return field / jnp.maximum(field.max(), 1e-30)


def sampled(
    x: Float[Array, "h w c"], row: Float[Array, "h w"], column: Float[Array, "h w"], mode: str
) -> Float[Array, "h w c"]:
    """Bilinear interpolation at (row, column). mode: of `jax.scipy.ndimage.map_coordinates`, such as "reflect"."""
    one = lambda channel: jax.scipy.ndimage.map_coordinates(channel, [row, column], order=1, mode=mode)
    return jnp.moveaxis(jax.vmap(one)(jnp.moveaxis(x, -1, 0)), 0, -1)


def shuffled(x: Float[Array, "h w c"], offsets: Int[Array, "k h w 2"], reach: Int[Array, ""], rounds: Int[Array, ""]) -> Array:
    """ImageNet-C's local shuffling of pixels: each pixel, from the last to the first, takes the value of another one nearby.

    The published code swaps two NumPy views, which copies one of them; so does this. offsets: (right, down) of each round and
    pixel. reach: pixels nearer to the edge stay. rounds: of the offsets that are used.
    """
    h, w, _ = x.shape

    def step(number, x):
        turn, place = number // (h * w), number % (h * w)
        row, column = h - 1 - place // w, w - 1 - place % w
        inside = (reach < row) & (row <= h - reach) & (reach < column) & (column <= w - reach)
        right, down = offsets[turn, row, column]
        source = x[jnp.clip(row + down, 0, h - 1), jnp.clip(column + right, 0, w - 1)]
        return x.at[row, column].set(jnp.where(inside, source, x[row, column]))

    return jax.lax.fori_loop(0, rounds * h * w, step, x)
