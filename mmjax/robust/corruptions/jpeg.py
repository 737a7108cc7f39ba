"""JPEG compression as a function of pixels (ITU-T T.81; the quality and the sampling of libjpeg), without the entropy coding,
which loses nothing."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mmjax.robust.corruptions.filters import folded

__all__ = ["CHROMA", "LUMA", "jpeg", "quantisers"]

# T.81, Annex K, tables K.1 and K.2
LUMA = np.array([
    [16, 11, 10, 16, 24, 40, 51, 61], [12, 12, 14, 19, 26, 58, 60, 55], [14, 13, 16, 24, 40, 57, 69, 56],
    [14, 17, 22, 29, 51, 87, 80, 62], [18, 22, 37, 56, 68, 109, 103, 77], [24, 35, 55, 64, 81, 104, 113, 92],
    [49, 64, 78, 87, 103, 121, 120, 101], [72, 92, 95, 98, 112, 100, 103, 99],
])  # fmt: skip
CHROMA = np.full((8, 8), 99)
CHROMA[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]

_TO_YCC = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32)
_TO_RGB = np.array([[1, 0, 1.402], [1, -0.344136, -0.714136], [1, 1.772, 0]], np.float32)
_DCT = np.array(
    [[np.sqrt((1 if k == 0 else 2) / 8) * np.cos(np.pi * k * (2 * n + 1) / 16) for n in range(8)] for k in range(8)], np.float32
)


def jpeg(x: Float[Array, "h w c"], quality: Float[Array, ""] | float | int) -> Float[Array, "h w c"]:
    """Pixels in [0, 1] after compression and decompression. Three channels are RGB, with chroma at half the size (4:2:0);
    channels of other images are compressed by themselves.

    libjpeg's arithmetic is in integers, so its pixels differ by a few 255ths.
    """
    pixels, (luma, chroma) = jnp.round(x * 255), quantisers(quality)
    if x.shape[-1] != 3:
        planes = [_plane(pixels[..., i], luma) for i in range(x.shape[-1])]
        return jnp.clip(jnp.round(jnp.stack(planes, axis=-1)), 0, 255) / 255
    y, *colours = jnp.moveaxis(jnp.round(pixels @ _TO_YCC.T + jnp.asarray([0.0, 128, 128])[None, None]), -1, 0)
    planes = [_plane(y, luma), *(_half_size(colour, chroma) for colour in colours)]
    rgb = (jnp.stack(planes, axis=-1) - jnp.asarray([0.0, 128, 128])[None, None]) @ _TO_RGB.T
    return jnp.clip(jnp.round(rgb), 0, 255) / 255


def quantisers(quality: Float[Array, ""] | float | int) -> tuple[Float[Array, "8 8"], Float[Array, "8 8"]]:
    """The steps of luma and chroma: Annex K's tables, scaled as libjpeg does."""
    quality = jnp.clip(jnp.asarray(quality, jnp.float32), 1, 100)
    scale = jnp.where(quality < 50, jnp.floor(5000 / quality), 200 - 2 * quality)
    luma, chroma = (jnp.clip(jnp.floor((table * scale + 50) / 100), 1, 255) for table in (LUMA, CHROMA))
    return luma, chroma


def _plane(plane: Float[Array, "h w"], step: Float[Array, "8 8"]) -> Float[Array, "h w"]:
    """One plane, values 0 to 255, after the rounding of the cosine transform of its blocks."""
    h, w = plane.shape
    plane = jnp.pad(plane, ((0, -h % 8), (0, -w % 8)), mode="edge") - 128
    blocks = plane.reshape(plane.shape[0] // 8, 8, plane.shape[1] // 8, 8)
    found = jnp.einsum("ki,aibj,lj->akbl", _DCT, blocks, _DCT, precision="highest")
    step = step[None, :, None]
    found = jnp.round(found / step) * step
    blocks = jnp.einsum("ki,akbl,lj->aibj", _DCT, found, _DCT, precision="highest")
    return jnp.clip(jnp.round(blocks.reshape(plane.shape)[:h, :w] + 128), 0, 255)


def _half_size(plane: Float[Array, "h w"], step: Float[Array, "8 8"]) -> Float[Array, "h w"]:
    """A plane at half the size: means of 2 x 2 pixels, and libjpeg's triangular interpolation back."""
    h, w = plane.shape
    padded = jnp.pad(plane, ((0, h % 2), (0, w % 2)), mode="edge")
    small = padded.reshape((h + 1) // 2, 2, (w + 1) // 2, 2).sum(axis=(1, 3))
    small = _plane(jnp.floor((small + 1 + np.arange((w + 1) // 2)[None] % 2) / 4), step)  # libjpeg's dither
    down, across = (_doubled(n) for n in small.shape)
    return (down @ small @ across.T)[:h, :w]


def _doubled(size: int) -> Float[np.ndarray, "m n"]:
    """3/4 of the nearest value and 1/4 of the next one; the edge is repeated."""
    wide = folded(size, 1, "edge")
    even, odd = 0.75 * wide[1:-1] + 0.25 * wide[:-2], 0.75 * wide[1:-1] + 0.25 * wide[2:]
    return np.stack([even, odd], axis=1).reshape(2 * size, size).astype(np.float32)
