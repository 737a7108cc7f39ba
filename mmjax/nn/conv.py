"""Convolution and pooling in the form that is fast on each platform.

On a CPU XLA hands a convolution to Eigen only if its axes lie as [b h w c] and [kh kw c o], and puts others into that order in
the outermost computation alone: the gradients, which automatic differentiation gives with other orders, are 90 times slower
within `scan` than outside. So the gradients are written here as convolutions of that order; and a 1 x 1 kernel is a matmul
over pixels, whose gradients are written here too. XLA's max-pool has a scatter for a gradient. A maximum of strided slices has
none; in training cells that do not overlap are a reduction, with its gradient.
"""

from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

Padding = str | Sequence[tuple[int, int]]
ORDER = ("NHWC", "HWIO", "NHWC")


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv_in_order(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "kh kw c o"],
    strides: tuple[int, int],
    padding: tuple[tuple[int, int], ...],
) -> Float[Array, "b i j o"]:
    """XLA's two-dimensional convolution, whose gradients are such ones too, with their axes in the same order.

    It is differentiated backwards alone: `jax.jvp` and what is built on it refuse it.
    """
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=ORDER)


def _conv_forward(x, kernel, strides, padding):
    return conv_in_order(x, kernel, strides, padding), (x, kernel)


def _conv_backward(strides, padding, residuals, dy):
    """dx is dy, its pixels `strides` apart, under the kernel turned round. The kernel's gradient is x under dy, channels and
    examples having changed places."""
    x, kernel = residuals
    sizes = list(zip(kernel.shape, x.shape[1:3], ((n - 1) * s + 1 for n, s in zip(dy.shape[1:3], strides)), padding))
    around = [(k - 1 - low, n + low - spread) for k, n, spread, (low, _) in sizes]
    turned = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    dx = lax.conv_general_dilated(dy, turned, (1, 1), around, lhs_dilation=strides, dimension_numbers=ORDER)
    around = [(low, k - 1 - n - low + spread) for k, n, spread, (low, _) in sizes]
    channels, window = x.transpose(3, 1, 2, 0), dy.transpose(1, 2, 0, 3)
    dk = lax.conv_general_dilated(channels, window, (1, 1), around, rhs_dilation=strides, dimension_numbers=ORDER)
    return dx, dk.transpose(1, 2, 0, 3)


conv_in_order.defvjp(_conv_forward, _conv_backward)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def at_each_pixel(x: Float[Array, "b h w c"], kernel: Float[Array, "c o"], strided: bool = False) -> Float[Array, "b h w o"]:
    """x @ kernel, a convolution by 1 x 1, differentiated backwards alone.

    For the kernel's gradient XLA on a CPU writes the first operand of a product across its axes, and automatic differentiation
    makes that dy, whatever was to be computed for it (batch norm's gradient, say). Here it is the one with fewer channels;
    dy, where x is only some pixels of a larger one (strided), which would be computed again for that.
    """
    return x @ kernel


def _pixel_forward(x, kernel, strided):
    return at_each_pixel(x, kernel, strided), (x, kernel)


def _pixel_backward(strided, residuals, dy):
    x, kernel = residuals
    over_pixels = (((0, 1, 2), (0, 1, 2)), ((), ()))
    across_x = x.shape[-1] <= dy.shape[-1] and not strided
    dk = lax.dot_general(x, dy, over_pixels) if across_x else lax.dot_general(dy, x, over_pixels).T
    return dy @ kernel.T, dk


at_each_pixel.defvjp(_pixel_forward, _pixel_backward)


def conv(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "kh kw c o"],
    strides: tuple[int, int],
    padding: tuple[tuple[int, int], ...],
) -> Float[Array, "b i j o"]:
    """Two-dimensional convolution (cross-correlation) in the form that suits kernel and platform."""
    if kernel.shape[:2] == (1, 1) and not any(map(any, padding)):
        return at_each_pixel(x[:, :: strides[0], :: strides[1]], kernel[0, 0], max(strides) > 1)

    def on_cpu(x, kernel):
        return conv_in_order(x, kernel, strides, padding)

    def elsewhere(x, kernel):
        return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=ORDER)

    return lax.platform_dependent(x, kernel, cpu=on_cpu, default=elsewhere)


def depthwise(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "kh kw 1 c"],
    strides: tuple[int, int],
    padding: Sequence[tuple[int, int]],
) -> Float[Array, "b i j c"]:
    """Convolution of each channel by itself: XLA's own, but a sum over the kernel's shifted views where it compiles for a CPU.

    There its own is 2 to 30 times slower forwards and up to 10 times backwards.
    """

    def xla(x, kernel):
        return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=ORDER, feature_group_count=x.shape[-1])

    def views(x, kernel):
        kh, kw = kernel.shape[:2]
        x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
        rows, columns = ((size - k) // s + 1 for size, k, s in zip(x.shape[1:3], (kh, kw), strides))

        def tap(i, j):
            view = x[:, i : i + strides[0] * (rows - 1) + 1 : strides[0], j : j + strides[1] * (columns - 1) + 1 : strides[1]]
            return view * kernel[i, j, 0][None, None, None]

        return reduce(jnp.add, (tap(i, j) for i in range(kh) for j in range(kw)))

    return lax.platform_dependent(x, kernel, cpu=views, default=xla)


class Conv(nn.Module):
    """Convolution over height and width, `[b h w c] -> [b i j features]`, with a bias.

    padding: "SAME", "VALID", or ((top, bottom), (left, right)) in pixels. pool: side of the cells of whose results the largest
    is taken, by `max_pool`, 1 for none; before the bias is added, which gives the same numbers for less, and the gradient to
    the largest even where the bias would round two numbers to one. Parameters are float32; `dtype` computes.
    """

    features: int
    kernel_size: tuple[int, int] = (3, 3)
    strides: tuple[int, int] = (1, 1)
    padding: Padding = "SAME"
    use_bias: bool = True
    dtype: Any = jnp.float32
    kernel_init: Callable = nn.initializers.he_normal()
    pool: int = 1

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b i j o"]:
        if self.pool < 1:
            raise ValueError(f"Conv.pool is {self.pool}, and the side of a cell is at least 1 pixel")
        kernel = self.param("kernel", self.kernel_init, (*self.kernel_size, x.shape[-1], self.features))
        padding = self.padding
        if isinstance(padding, str):
            padding = lax.padtype_to_pads(x.shape[1:3], self.kernel_size, self.strides, padding)
        y = conv(x.astype(self.dtype), jnp.asarray(kernel, self.dtype), tuple(self.strides), tuple(map(tuple, padding)))
        y = max_pool(y, self.pool) if self.pool > 1 else y
        if self.use_bias:
            y = y + self.param("bias", nn.initializers.zeros_init(), (self.features,)).astype(self.dtype)[None, None, None]
        return y


def max_pool(x: Float[Array, "b h w c"], size: int = 2, stride: int | None = None, padding: int = 0) -> Float[Array, "b i j c"]:
    """Maximum over size x size cells, `stride` pixels apart (by default `size`: no overlap).

    padding: rows and columns on each side that never win. What is left over at the end is dropped. Without overlap and padding
    it is differentiated backwards alone: `jax.jvp` refuses it.
    """
    stride = size if stride is None else stride
    rows, columns = ((side + 2 * padding - size) // stride + 1 for side in x.shape[1:3])
    if rows < 1 or columns < 1:
        raise ValueError(f"max_pool over {size} x {size} cells needs at least that many pixels, and got {x.shape[1:3]}")
    if stride == size and not padding:
        return _largest_of_cells(x[:, : rows * size, : columns * size], size)
    sides = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    return _largest_of_views(jnp.pad(x, sides, constant_values=-jnp.inf) if padding else x, size, stride)


def _largest_of_views(x: Float[Array, "b h w c"], size: int, stride: int) -> Float[Array, "b i j c"]:
    """The largest of the size * size pictures of every `stride`-th pixel that begin at the first cell's pixels."""
    rows, columns = ((side - size) // stride + 1 for side in x.shape[1:3])

    def view(i, j):
        return x[:, i : i + stride * (rows - 1) + 1 : stride, j : j + stride * (columns - 1) + 1 : stride]

    return reduce(jnp.maximum, (view(i, j) for i in range(size) for j in range(size)))


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _largest_of_cells(x: Float[Array, "b h w c"], size: int) -> Float[Array, "b i j c"]:
    """The same of cells that share no pixel and leave none over.

    Where it is differentiated it is a reduction, whose result XLA on a CPU keeps: views it would compute again for each use,
    across their axes for the kernel's gradient of a convolution. Used once, they are faster. The gradient is the views'.
    """
    return _largest_of_views(x, size, size)


def _cells_forward(x, size):
    b, h, w, c = x.shape
    return x.reshape(b, h // size, size, w // size, size, c).max((2, 4)), x


def _cells_backward(size, x, dy):
    return jax.vjp(partial(_largest_of_views, size=size, stride=size), x)[1](dy)


_largest_of_cells.defvjp(_cells_forward, _cells_backward)


def _shares(side: int, cells: int) -> Float[np.ndarray, "cells side"]:
    """Row i holds the weight of each pixel in the mean over pixels floor(i side / cells) to ceil((i + 1) side / cells)."""
    shares = np.zeros((cells, side), np.float32)
    for i in range(cells):
        start, end = i * side // cells, -(-(i + 1) * side // cells)
        shares[i, start:end] = 1 / (end - start)
    return shares


def adaptive_mean_pool(x: Float[Array, "b h w c"], cells: int) -> Float[Array, "b cells cells c"]:
    """Mean over a grid of cells x cells that covers the picture, whatever its size (torch's adaptive_avg_pool2d).

    Cells overlap where the side is no multiple of `cells`, and repeat pixels where it is smaller.
    """
    if x.shape[1:3] == (cells, cells):
        return x
    down, across = (jnp.asarray(_shares(side, cells), x.dtype) for side in x.shape[1:3])
    return jnp.einsum("ih,bhwc,jw->bijc", down, x, across, precision=lax.Precision.HIGHEST)
