"""Augmentations of images, float32 [b h w c], z-scored or not. Images continue with their edge; values are not clipped."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from mmjax.data.augment.each import for_each_example
from mmjax.types import Batch

__all__ = ["Colour", "Flip", "RandomCrop", "Rotation", "Shift", "bilinear", "cropped", "rotated", "scale_about"]


@dataclass(frozen=True)
class Shift:
    """Shifts each image by up to `pixels` vertically and horizontally; the edge is repeated.

    pixels: largest shift. modality: name of the images.
    """

    pixels: int = 4
    modality: str = "image"

    def __call__(self, batch: Batch, key: Key[Array, ""]) -> Batch:
        p = self.pixels

        def change(key, image):
            row, column = jax.random.randint(key, (2,), 0, 2 * p + 1)
            padded = jnp.pad(image, ((p, p), (p, p), (0, 0)), mode="edge")
            return jax.lax.dynamic_slice(padded, (row, column, 0), image.shape)

        return for_each_example(change, batch, self.modality, key) if p else batch


@dataclass(frozen=True)
class Flip:
    """Mirrors each image left to right with probability `rate`.

    rate: probability. modality: name of the images.
    """

    rate: float = 0.5
    modality: str = "image"

    def __call__(self, batch: Batch, key: Key[Array, ""]) -> Batch:
        def change(key, image):
            return jnp.where(jax.random.bernoulli(key, self.rate), image[:, ::-1], image)

        return for_each_example(change, batch, self.modality, key) if self.rate else batch


@dataclass(frozen=True)
class RandomCrop:
    """A random crop of each image, resized to the image's size by bilinear interpolation (Szegedy et al., 2015).

    area: the smallest share of the image's area; the share is drawn uniformly from area to 1, and area 1 is the identity.
    ratio: the largest factor between the aspect ratios of crop and image, drawn log-uniformly; a crop is never larger than the
    image. modality: name of the images. Raises ValueError for an area outside (0, 1] or a ratio below 1.
    """

    area: float = 0.5
    ratio: float = 4 / 3
    modality: str = "image"

    def __post_init__(self):
        if not 0 < self.area <= 1 or self.ratio < 1:
            raise ValueError(
                f"RandomCrop.area is {self.area} and ratio is {self.ratio}; area must be above 0 and at most 1, and ratio at "
                "least 1"
            )

    def __call__(self, batch: Batch, key: Key[Array, ""]) -> Batch:
        def change(key, image):
            area, ratio, top, left = jax.random.uniform(key, (4,))
            area = self.area + (1 - self.area) * area
            stretch = self.ratio ** (ratio - 0.5)  # multiplies the width and divides the height, so the area remains
            height, width = jnp.minimum(jnp.sqrt(area) / stretch, 1), jnp.minimum(jnp.sqrt(area) * stretch, 1)
            return cropped(image, top * (1 - height), left * (1 - width), height, width)

        return for_each_example(change, batch, self.modality, key) if self.area < 1 else batch


@dataclass(frozen=True)
class Rotation:
    """Rotates each image about its centre by up to `degrees` either way, drawn uniformly; bilinear, the edge repeated.

    degrees: largest angle. modality: name of the images.
    """

    degrees: float = 15.0
    modality: str = "image"

    def __call__(self, batch: Batch, key: Key[Array, ""]) -> Batch:
        def change(key, image):
            return rotated(image, jnp.deg2rad(jax.random.uniform(key, (), minval=-self.degrees, maxval=self.degrees)))

        return for_each_example(change, batch, self.modality, key) if self.degrees else batch


@dataclass(frozen=True)
class Colour:
    """Changes brightness, contrast and saturation of the first three channels (Howard, 2013), but not of others, such as alpha.

    brightness: the largest offset that is added to all colours, in units of the image (pixels in [0, 1], or z-scores).
    contrast: the factor of each colour's difference from its mean over the image is drawn from [1 - contrast, 1 + contrast], at
    least 0. saturation: likewise for each pixel's difference from its grey value, the mean of its colours.
    On z-scored images, contrast acts as on pixels, and saturation nearly so if the channels have similar deviations.
    """

    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    modality: str = "image"

    def __call__(self, batch: Batch, key: Key[Array, ""]) -> Batch:
        def factor(key, strength):
            return jax.random.uniform(key, (), minval=max(0.0, 1 - strength), maxval=1 + strength)

        def change(key, image):
            keys = jax.random.split(key, 3)
            x = image[..., :3]
            if self.brightness:
                x = x + jax.random.uniform(keys[0], (), minval=-self.brightness, maxval=self.brightness)
            if self.contrast:
                x = scale_about(x.mean(axis=(0, 1), keepdims=True), x, factor(keys[1], self.contrast))
            if self.saturation:
                x = scale_about(x.mean(axis=-1, keepdims=True), x, factor(keys[2], self.saturation))
            return jnp.concatenate([x, image[..., 3:]], axis=-1)

        off = not (self.brightness or self.contrast or self.saturation)
        return batch if off else for_each_example(change, batch, self.modality, key)


def scale_about(centre: Float[Array, "#h #w #c"], x: Float[Array, "h w c"], factor: Float[Array, ""]) -> Float[Array, "h w c"]:
    """centre + factor (x - centre): 0 gives the centre, 1 the image."""
    return centre + factor * (x - centre)


def bilinear(image: Float[Array, "h w c"], row: Float[Array, "m n"], column: Float[Array, "m n"]) -> Float[Array, "m n c"]:
    """Bilinear interpolation: pixel (i, j) is at row i, column j; outside, the nearest edge."""
    h, w, _ = image.shape
    row, column = jnp.clip(row, 0, h - 1), jnp.clip(column, 0, w - 1)
    top, left = jnp.floor(row).astype(jnp.int32), jnp.floor(column).astype(jnp.int32)
    bottom, right = jnp.minimum(top + 1, h - 1), jnp.minimum(left + 1, w - 1)
    down, across = (row - top)[..., None], (column - left)[..., None]
    above = (1 - across) * image[top, left] + across * image[top, right]
    below = (1 - across) * image[bottom, left] + across * image[bottom, right]
    return (1 - down) * above + down * below


def rotated(image: Float[Array, "h w c"], angle: Float[Array, ""]) -> Float[Array, "h w c"]:
    """The image rotated about its centre, counter-clockwise by `angle` (radians); bilinear, the edge repeated."""
    h, w, _ = image.shape
    y, x = jnp.mgrid[:h, :w]
    y, x = y - (h - 1) / 2, x - (w - 1) / 2
    sine, cosine = jnp.sin(angle), jnp.cos(angle)
    return bilinear(image, (h - 1) / 2 + cosine * y + sine * x, (w - 1) / 2 - sine * y + cosine * x)


def cropped(
    image: Float[Array, "h w c"],
    top: Float[Array, ""],
    left: Float[Array, ""],
    height: Float[Array, ""],
    width: Float[Array, ""],
) -> Float[Array, "h w c"]:
    """The crop of size (height, width) at (top, left), in shares of the image's sides, resized bilinearly to [h w c]."""
    h, w, _ = image.shape
    row = h * top + height * (jnp.arange(h) + 0.5) - 0.5  # the centres of the new pixels
    column = w * left + width * (jnp.arange(w) + 0.5) - 0.5
    return bilinear(image, *jnp.meshgrid(row, column, indexing="ij"))
