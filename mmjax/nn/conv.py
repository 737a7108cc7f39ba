"""Convolution and pooling in the form that is fast on each platform.

XLA's convolution on a CPU is slow inside `scan` (90 times) and in the gradient under `vmap` over kernels, and its max-pool has
a scatter for a gradient; as one matmul over patches, and as a maximum of strided slices, they are neither.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

Padding = str | Sequence[tuple[int, int]]


def conv_as_matmul(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "kh kw c o"],
    strides: tuple[int, int],
    padding: Sequence[tuple[int, int]],
) -> Float[Array, "b i j o"]:
    """Two-dimensional convolution: the kernel's columns side by side as patches, then one matmul for each of its rows.

    Whole patches in a single matmul would move three times the memory; nine matmuls would each be too thin.
    """
    kh, kw, channels, features = kernel.shape
    x = jnp.pad(x, ((0, 0), *padding, (0, 0))) if any(p != (0, 0) for p in padding) else x
    rows, columns = ((size - k) // s + 1 for size, k, s in zip(x.shape[1:3], (kh, kw), strides))
    views = [x[:, :, j : j + strides[1] * (columns - 1) + 1 : strides[1]] for j in range(kw)]
    patches = views[0] if kw == 1 else jnp.concatenate(views, axis=-1)

    def row(i):
        taken = patches[:, i : i + strides[0] * (rows - 1) + 1 : strides[0]]
        return taken.reshape(-1, kw * channels) @ kernel[i].reshape(kw * channels, features)

    return sum(map(row, range(1, kh)), row(0)).reshape(x.shape[0], rows, columns, features)


def conv(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "kh kw c o"],
    strides: tuple[int, int],
    padding: Sequence[tuple[int, int]],
) -> Float[Array, "b i j o"]:
    """Two-dimensional convolution (cross-correlation): XLA's own, but a matmul over patches where it compiles for a CPU."""

    def xla(x, kernel):
        return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))

    if kernel.shape[:2] == (1, 1):
        return conv_as_matmul(x, kernel, strides, padding)
    return lax.platform_dependent(x, kernel, cpu=lambda x, k: conv_as_matmul(x, k, strides, padding), default=xla)


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
        numbers = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=numbers, feature_group_count=x.shape[-1])

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

    padding: "SAME", "VALID", or ((top, bottom), (left, right)) in pixels. Parameters are float32; `dtype` computes.
    """

    features: int
    kernel_size: tuple[int, int] = (3, 3)
    strides: tuple[int, int] = (1, 1)
    padding: Padding = "SAME"
    use_bias: bool = True
    dtype: Any = jnp.float32
    kernel_init: Callable = nn.initializers.he_normal()

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b i j o"]:
        kernel = self.param("kernel", self.kernel_init, (*self.kernel_size, x.shape[-1], self.features))
        padding = self.padding
        if isinstance(padding, str):
            padding = lax.padtype_to_pads(x.shape[1:3], self.kernel_size, self.strides, padding)
        y = conv(x.astype(self.dtype), jnp.asarray(kernel, self.dtype), tuple(self.strides), tuple(map(tuple, padding)))
        if self.use_bias:
            y = y + self.param("bias", nn.initializers.zeros_init(), (self.features,)).astype(self.dtype)[None, None, None]
        return y


def max_pool(x: Float[Array, "b h w c"], size: int = 2, stride: int | None = None, padding: int = 0) -> Float[Array, "b i j c"]:
    """Maximum over size x size cells, `stride` pixels apart (by default `size`: no overlap).

    padding: rows and columns on each side that never win. What is left over at the end is dropped.
    """
    stride = size if stride is None else stride
    rows, columns = ((side + 2 * padding - size) // stride + 1 for side in x.shape[1:3])
    if rows < 1 or columns < 1:
        raise ValueError(f"max_pool over {size} x {size} cells needs at least that many pixels, and got {x.shape[1:3]}")
    if padding:
        sides = ((0, 0), (padding, padding), (padding, padding), (0, 0))
        x = jnp.pad(x, sides, constant_values=-jnp.inf)

    def view(i, j):
        return x[:, i : i + stride * (rows - 1) + 1 : stride, j : j + stride * (columns - 1) + 1 : stride]

    return reduce(jnp.maximum, (view(i, j) for i in range(size) for j in range(size)))


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
