"""Convolution and pooling, in the forms that are fast on a CPU. On other platforms convolutions are XLA's own.

On a CPU, XLA runs a convolution with Eigen only if its axes are ordered [b h w c] and [kh kw c o]. It transposes other orders,
but only in the outermost computation: the gradients of automatic differentiation have other orders and are 90 times slower
inside `scan`. Here the gradients are convolutions in the fast order, and a 1 x 1 convolution is a matmul over pixels.

The gradient of XLA's max-pooling is a slow scatter. Here max-pooling is a maximum of strided slices, and a reduction where
cells do not overlap and gradients are needed.
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

from mmjax.nn.checks import positive

__all__ = ["NHWC", "Conv", "Padding", "adaptive_mean_pool", "conv", "conv_nhwc", "depthwise", "max_pool", "pointwise_conv"]

Padding = str | Sequence[tuple[int, int]]
NHWC = ("NHWC", "HWIO", "NHWC")


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv_nhwc(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "kh kw c o"],
    strides: tuple[int, int],
    padding: tuple[tuple[int, int], ...],
) -> Float[Array, "b i j o"]:
    """XLA's two-dimensional convolution, with gradients that are convolutions in the same axis order.

    Reverse-mode differentiation only; `jax.jvp` raises an error.
    """
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=NHWC)


def _conv_forward(x, kernel, strides, padding):
    return conv_nhwc(x, kernel, strides, padding), (x, kernel)


def _conv_backward(strides, padding, residuals, dy):
    """dx convolves dy, dilated by the strides, with the flipped kernel. The kernel's gradient convolves x with dy, where the
    axes of channels and examples are exchanged."""
    x, kernel = residuals
    sizes = list(zip(kernel.shape, x.shape[1:3], ((n - 1) * s + 1 for n, s in zip(dy.shape[1:3], strides)), padding))
    pads = [(k - 1 - low, n + low - spread) for k, n, spread, (low, _) in sizes]
    flipped = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    dx = lax.conv_general_dilated(dy, flipped, (1, 1), pads, lhs_dilation=strides, dimension_numbers=NHWC)
    pads = [(low, k - 1 - n - low + spread) for k, n, spread, (low, _) in sizes]
    channels, window = x.transpose(3, 1, 2, 0), dy.transpose(1, 2, 0, 3)
    dk = lax.conv_general_dilated(channels, window, (1, 1), pads, rhs_dilation=strides, dimension_numbers=NHWC)
    return dx, dk.transpose(1, 2, 0, 3)


conv_nhwc.defvjp(_conv_forward, _conv_backward)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def pointwise_conv(x: Float[Array, "b h w c"], kernel: Float[Array, "c o"], strided: bool = False) -> Float[Array, "b h w o"]:
    """x @ kernel: a 1 x 1 convolution. Reverse-mode differentiation only.

    In the matmul of the kernel's gradient, XLA on a CPU writes the first operand transposed, and computes the operations fused
    with it in this slow order. Automatic differentiation puts dy first, often fused with the gradient of batch norm. Here the
    operand with fewer channels comes first. If x is a strided slice (strided=True), dy comes first, since XLA would compute
    the slice again.
    """
    return x @ kernel


def _pointwise_forward(x, kernel, strided):
    return pointwise_conv(x, kernel, strided), (x, kernel)


def _pointwise_backward(strided, residuals, dy):
    x, kernel = residuals
    over_pixels = (((0, 1, 2), (0, 1, 2)), ((), ()))
    x_first = x.shape[-1] <= dy.shape[-1] and not strided
    dk = lax.dot_general(x, dy, over_pixels) if x_first else lax.dot_general(dy, x, over_pixels).T
    return dy @ kernel.T, dk


pointwise_conv.defvjp(_pointwise_forward, _pointwise_backward)


def conv(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "kh kw c o"],
    strides: tuple[int, int],
    padding: tuple[tuple[int, int], ...],
) -> Float[Array, "b i j o"]:
    """Two-dimensional convolution (cross-correlation), in the form that is fast for this kernel and platform."""
    if kernel.shape[:2] == (1, 1) and not any(map(any, padding)):
        return pointwise_conv(x[:, :: strides[0], :: strides[1]], kernel[0, 0], max(strides) > 1)

    def on_cpu(x, kernel):
        return conv_nhwc(x, kernel, strides, padding)

    def elsewhere(x, kernel):
        return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=NHWC)

    return lax.platform_dependent(x, kernel, cpu=on_cpu, default=elsewhere)


def depthwise(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "kh kw 1 c"],
    strides: tuple[int, int],
    padding: Sequence[tuple[int, int]],
) -> Float[Array, "b i j c"]:
    """Depthwise convolution: each channel has its own kernel. On a CPU it is a sum of shifted, weighted views of x.

    XLA's own on a CPU is 2 to 30 times slower, and up to 10 times slower for gradients.
    """

    def xla(x, kernel):
        return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=NHWC, feature_group_count=x.shape[-1])

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
    """Convolution over height and width, [b h w c] -> [b i j features].

    features: number of output channels. kernel_size, strides: (rows, columns), in pixels. use_bias: whether it has a bias.
    padding: "SAME", "VALID", or ((top, bottom), (left, right)), in pixels.
    pool: side of the cells of a `max_pool` after the convolution, in pixels; 1 for no pooling. The bias is added after
        pooling, which gives the same result at less cost.
    dtype: of the computation and the output; parameters are float32.
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
        positive(self, "features", "kernel_size", "strides", "pool")
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
    """The maximum over cells of size x size pixels.

    stride: distance of neighbouring cells, in pixels; by default `size`, so that cells do not overlap.
    padding: rows and columns of -inf on each side.

    An incomplete cell at the end is dropped. Without overlap and padding, only reverse-mode differentiation works. Raises
    ValueError if x is smaller than one cell.
    """
    stride = size if stride is None else stride
    rows, columns = ((side + 2 * padding - size) // stride + 1 for side in x.shape[1:3])
    if rows < 1 or columns < 1:
        raise ValueError(f"max_pool: the input has {x.shape[1:3]} pixels, fewer than one cell of {size} x {size}")
    if stride == size and not padding:
        return _max_of_cells(x[:, : rows * size, : columns * size], size)
    sides = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    return _max_of_views(jnp.pad(x, sides, constant_values=-jnp.inf) if padding else x, size, stride)


def _max_of_views(x: Float[Array, "b h w c"], size: int, stride: int) -> Float[Array, "b i j c"]:
    """The maximum of size * size strided slices; slice (i, j) contains pixel (i, j) of every cell."""
    rows, columns = ((side - size) // stride + 1 for side in x.shape[1:3])

    def view(i, j):
        return x[:, i : i + stride * (rows - 1) + 1 : stride, j : j + stride * (columns - 1) + 1 : stride]

    return reduce(jnp.maximum, (view(i, j) for i in range(size) for j in range(size)))


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _max_of_cells(x: Float[Array, "b h w c"], size: int) -> Float[Array, "b i j c"]:
    """The maximum of cells that tile x exactly.

    With a gradient, the forward pass is a reduction: XLA on a CPU stores its result, but would recompute slices for every use.
    Without a gradient, slices are faster. The gradient is that of the slices.
    """
    return _max_of_views(x, size, size)


def _cells_forward(x, size):
    b, h, w, c = x.shape
    return x.reshape(b, h // size, size, w // size, size, c).max((2, 4)), x


def _cells_backward(size, x, dy):
    return jax.vjp(partial(_max_of_views, size=size, stride=size), x)[1](dy)


_max_of_cells.defvjp(_cells_forward, _cells_backward)


def _cell_weights(side: int, cells: int) -> Float[np.ndarray, "cells side"]:
    """Row i contains the weight of each pixel in cell i, the mean of pixels floor(i side/cells) .. ceil((i+1) side/cells)."""
    weights = np.zeros((cells, side), np.float32)
    for i in range(cells):
        start, end = i * side // cells, -(-(i + 1) * side // cells)
        weights[i, start:end] = 1 / (end - start)
    return weights


def adaptive_mean_pool(x: Float[Array, "b h w c"], cells: int) -> Float[Array, "b cells cells c"]:
    """The means of a cells x cells grid that covers an image of any size (torch's adaptive_avg_pool2d).

    Cells overlap if the side is not a multiple of `cells`.
    """
    if x.shape[1:3] == (cells, cells):
        return x
    down, across = (jnp.asarray(_cell_weights(side, cells), x.dtype) for side in x.shape[1:3])
    return jnp.einsum("ih,bhwc,jw->bijc", down, x, across, precision=lax.Precision.HIGHEST)
