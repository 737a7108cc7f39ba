"""Pictures [b h w c] of float32, z-scored or not: what is outside a picture repeats its edge, and nothing is clipped."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from mmjax.data.augment.each import each
from mmjax.types import Batch


@dataclass(frozen=True)
class Shift:
    """Moves each picture by up to `pixels` up, down, left and right, the edge repeated; pictures are [b h w c]."""

    pixels: int = 4
    modality: str = "image"

    def __call__(self, batch: Batch, key: Key[Array, ""]) -> Batch:
        p = self.pixels

        def one(key, picture):
            row, column = jax.random.randint(key, (2,), 0, 2 * p + 1)
            padded = jnp.pad(picture, ((p, p), (p, p), (0, 0)), mode="edge")
            return jax.lax.dynamic_slice(padded, (row, column, 0), picture.shape)

        return each(one, batch, self.modality, key) if p else batch


@dataclass(frozen=True)
class Flip:
    """Mirrors each picture [b h w c] left to right with probability `rate`."""

    rate: float = 0.5
    modality: str = "image"

    def __call__(self, batch: Batch, key: Key[Array, ""]) -> Batch:
        def one(key, picture):
            return jnp.where(jax.random.bernoulli(key, self.rate), picture[:, ::-1], picture)

        return each(one, batch, self.modality, key) if self.rate else batch


@dataclass(frozen=True)
class RandomCrop:
    """A random part of each picture, stretched to the picture's size by bilinear interpolation (Szegedy et al., 2015).

    area: the smallest share of the picture's area, drawn uniformly up to 1. ratio: how much wider or higher the part may be
    than the picture's own shape, drawn evenly in logarithms; a part is never larger than the picture. area 1: the identity.
    """

    area: float = 0.5
    ratio: float = 4 / 3
    modality: str = "image"

    def __post_init__(self):
        if not 0 < self.area <= 1 or self.ratio < 1:
            raise ValueError(f"RandomCrop.area is {self.area} and .ratio {self.ratio}: they must lie in (0, 1] and from 1 up")

    def __call__(self, batch: Batch, key: Key[Array, ""]) -> Batch:
        def one(key, picture):
            area, ratio, top, left = jax.random.uniform(key, (4,))
            area = self.area + (1 - self.area) * area
            wider = self.ratio ** (ratio - 0.5)  # of the square root: width times this, height divided by it
            height, width = jnp.minimum(jnp.sqrt(area) / wider, 1), jnp.minimum(jnp.sqrt(area) * wider, 1)
            return cropped(picture, top * (1 - height), left * (1 - width), height, width)

        return each(one, batch, self.modality, key) if self.area < 1 else batch


@dataclass(frozen=True)
class Rotation:
    """Turns each picture about its centre by up to `degrees` either way, drawn uniformly; bilinear, the edge repeated."""

    degrees: float = 15.0
    modality: str = "image"

    def __call__(self, batch: Batch, key: Key[Array, ""]) -> Batch:
        def one(key, picture):
            return rotated(picture, jnp.deg2rad(jax.random.uniform(key, (), minval=-self.degrees, maxval=self.degrees)))

        return each(one, batch, self.modality, key) if self.degrees else batch


@dataclass(frozen=True)
class Colour:
    """Brightness, contrast and saturation of the first three channels; others, such as alpha, stay (Howard, 2013).

    brightness: up to so much is added to all colours, in the picture's own units: of the range for pixels in [0, 1], of
    deviations for z-scores. contrast: each colour's distance from its mean over the picture is multiplied by 1 - contrast
    up to 1 + contrast, at least 0. saturation: likewise each pixel's distance from its own grey, the mean of its colours.
    Contrast means the same whether channels are z-scored or not; saturation nearly so, where they were scaled alike.
    """

    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    modality: str = "image"

    def __call__(self, batch: Batch, key: Key[Array, ""]) -> Batch:
        def factor(key, strength):
            return jax.random.uniform(key, (), minval=max(0.0, 1 - strength), maxval=1 + strength)

        def one(key, picture):
            keys = jax.random.split(key, 3)
            x = picture[..., :3]
            if self.brightness:
                x = x + jax.random.uniform(keys[0], (), minval=-self.brightness, maxval=self.brightness)
            if self.contrast:
                x = away_from(x.mean(axis=(0, 1), keepdims=True), x, factor(keys[1], self.contrast))
            if self.saturation:
                x = away_from(x.mean(axis=-1, keepdims=True), x, factor(keys[2], self.saturation))
            return jnp.concatenate([x, picture[..., 3:]], axis=-1)

        return each(one, batch, self.modality, key) if self.brightness or self.contrast or self.saturation else batch


def away_from(centre: Float[Array, "#h #w #c"], x: Float[Array, "h w c"], factor: Float[Array, ""]) -> Float[Array, "h w c"]:
    """centre + factor (x - centre): 0 gives the centre, 1 the picture."""
    return centre + factor * (x - centre)


def bilinear(picture: Float[Array, "h w c"], row: Float[Array, "m n"], column: Float[Array, "m n"]) -> Float[Array, "m n c"]:
    """The picture between its pixels: pixel (i, j) is at row i, column j; outside, the nearest edge."""
    h, w, _ = picture.shape
    row, column = jnp.clip(row, 0, h - 1), jnp.clip(column, 0, w - 1)
    top, left = jnp.floor(row).astype(jnp.int32), jnp.floor(column).astype(jnp.int32)
    bottom, right = jnp.minimum(top + 1, h - 1), jnp.minimum(left + 1, w - 1)
    down, across = (row - top)[..., None], (column - left)[..., None]
    above = (1 - across) * picture[top, left] + across * picture[top, right]
    below = (1 - across) * picture[bottom, left] + across * picture[bottom, right]
    return (1 - down) * above + down * below


def rotated(picture: Float[Array, "h w c"], angle: Float[Array, ""]) -> Float[Array, "h w c"]:
    """Turned about its centre, counter-clockwise by `angle` (radians); bilinear, the edge repeated."""
    h, w, _ = picture.shape
    y, x = jnp.mgrid[:h, :w]
    y, x = y - (h - 1) / 2, x - (w - 1) / 2
    sine, cosine = jnp.sin(angle), jnp.cos(angle)
    return bilinear(picture, (h - 1) / 2 + cosine * y + sine * x, (w - 1) / 2 - sine * y + cosine * x)


def cropped(
    picture: Float[Array, "h w c"],
    top: Float[Array, ""],
    left: Float[Array, ""],
    height: Float[Array, ""],
    width: Float[Array, ""],
) -> Float[Array, "h w c"]:
    """The part that begins at (top, left), stretched to the whole; all in shares of the picture's sides. Bilinear."""
    h, w, _ = picture.shape
    row = h * top + height * (jnp.arange(h) + 0.5) - 0.5  # where the centres of the new pixels lie
    column = w * left + width * (jnp.arange(w) + 0.5) - 0.5
    return bilinear(picture, *jnp.meshgrid(row, column, indexing="ij"))
