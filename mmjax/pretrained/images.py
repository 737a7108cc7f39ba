"""Image preprocessing of published encoders, from the preprocessor_config.json beside their weights."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8
from PIL import Image

from mmjax.data.decode import MAX_PIXELS, pixels
from mmjax.pretrained.files import WeightsError
from mmjax.pretrained.source import SIDE, Settings, Source, is_number

__all__ = [
    "BICUBIC", "BILINEAR", "CLIP", "HALF", "IMAGENET", "KINDS", "OVER_WHITE", "ImagePreprocessing", "floor_half",
    "from_settings", "rgb", "round_half",
]

BILINEAR, BICUBIC = int(Image.Resampling.BILINEAR), int(Image.Resampling.BICUBIC)
HALF = [[0.5] * 3, [0.5] * 3]
CLIP = [[0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]]
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and deviation of red, green and blue
_ALPHA = np.arange(256)[:, None] / 255
OVER_WHITE = np.round(_ALPHA * np.arange(256) + (1 - _ALPHA) * 255).astype(np.uint8)  # [alpha, colour]; rounds as transformers


def _defaults(size: Any, resample: int, colours: list[list[float]], crop: bool = False, square: bool = False) -> dict[str, Any]:
    return {
        "do_resize": True,
        "size": size,
        "resample": resample,
        "default_to_square": square,
        "do_center_crop": crop,
        "crop_size": 224,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": colours[0],
        "image_std": colours[1],
    }


KINDS = {
    "ViTImageProcessor": _defaults(224, BILINEAR, HALF, square=True),
    "DeiTImageProcessor": _defaults({"height": 256, "width": 256}, BICUBIC, HALF, crop=True, square=True),
    "BitImageProcessor": _defaults(224, BICUBIC, CLIP, crop=True),
    "CLIPImageProcessor": _defaults(224, BICUBIC, CLIP, crop=True),
    "LlavaImageProcessor": _defaults(224, BICUBIC, CLIP, crop=True),
    "Gemma3ImageProcessor": _defaults({"height": 224, "width": 224}, BILINEAR, HALF),
    "SiglipImageProcessor": _defaults({"height": 224, "width": 224}, BICUBIC, HALF),
    "VideoMAEImageProcessor": _defaults(224, BILINEAR, HALF, crop=True),
    "ConvNextImageProcessor": _defaults(384, BICUBIC, HALF) | {"crop_pct": 224 / 256},
}
"""image_processor_type -> the defaults of fields that preprocessor_config.json may omit."""


def floor_half(excess: int) -> int:
    """The start of a centre crop in transformers: half of the excess pixels, rounded down."""
    return excess // 2


def round_half(excess: int) -> int:
    """The start of a centre crop in torchvision: half of the excess pixels, rounded to the nearest, ties to even."""
    return round(excess / 2)


@dataclass(frozen=True)
class ImagePreprocessing:
    """Resizes, crops, and computes (pixel * scale - mean) / deviation.

    size: (height, width) in pixels; or the length of the shorter side, which keeps the proportions; or None for no resizing.
    resample: Pillow's number of the filter. crop: (height, width) of the centre crop, padded with black if the image is
    smaller; None for no crop. scale: factor of the pixels. mean, deviation: of red, green and blue. crop_start: excess pixels
    -> first row or column of the crop.
    """

    size: tuple[int, int] | int | None
    resample: int
    crop: tuple[int, int] | None
    scale: float = 1 / 255
    mean: tuple[float, ...] = IMAGENET[0]
    deviation: tuple[float, ...] = IMAGENET[1]
    crop_start: Callable[[int], int] = floor_half

    @staticmethod
    def of(source: Source) -> "ImagePreprocessing | None":
        """From the preprocessor_config.json of a folder of weights; None without the file. Raises WeightsError."""
        settings = source.preprocessing("image_processor")
        return from_settings(settings) if settings.config else None

    def read(self, image: UInt8[np.ndarray, "h w c"] | Image.Image) -> UInt8[np.ndarray, "i j 3"]:
        """Resizes and crops one image of 1 (grey), 3 (RGB) or 4 (RGBA) channels; transparent pixels are blended with white.

        A Pillow image may have any mode. Images are always converted to RGB, even where the published preprocessing accepts
        only RGB. Blending follows transformers 5, which rounds arrays and Pillow images differently.
        """
        if not (isinstance(image, Image.Image) and image.mode == "RGB" and image.info.get("transparency") is None):
            image = rgb(image)
        width, height = image.size if isinstance(image, Image.Image) else image.shape[1::-1]
        target = self._target(height, width)
        if target != (height, width):
            image = image if isinstance(image, Image.Image) else Image.fromarray(image)
            image = image.resize(target[::-1], self.resample)
        image = np.asarray(image)
        return self._cropped(image) if self.crop else image

    def _target(self, height: int, width: int) -> tuple[int, int]:
        if self.size is None:
            return height, width
        if isinstance(self.size, tuple):
            return self.size
        longer = int(self.size * max(height, width) / min(height, width))
        if longer * self.size > MAX_PIXELS:
            raise ValueError(f"an image of {height} x {width} pixels is too long for a shorter side of {self.size} pixels")
        return (longer, self.size) if width <= height else (self.size, longer)

    def _cropped(self, image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "i j 3"]:
        short = [max(0, wanted - side) for wanted, side in zip(self.crop, image.shape)]
        if any(short):  # an odd number of rows or columns puts one more above or to the left
            image = np.pad(image, [(-(-s // 2), s // 2) for s in short] + [(0, 0)])
        top, left = (self.crop_start(side - wanted) for wanted, side in zip(self.crop, image.shape))
        return np.ascontiguousarray(image[top : top + self.crop[0], left : left + self.crop[1]])

    def finish(self, batch: UInt8[Array, "*n 3"] | UInt8[np.ndarray, "*n 3"]) -> Float[Array, "*n 3"]:
        """Scales and normalises pixels to float32, with any leading axes; can be jitted."""
        last = (1,) * (batch.ndim - 1)
        mean, deviation = (jnp.asarray(x, jnp.float32).reshape(*last, -1) for x in (self.mean, self.deviation))
        return (jnp.asarray(batch, jnp.float32) * jnp.float32(self.scale) - mean) / deviation

    def batch(self, images: Iterable[Any]) -> Float[Array, "b h w 3"]:
        """Images as `read` accepts them -> the encoder's input."""
        return self.finish(np.stack([self.read(image) for image in images]))


def rgb(image: UInt8[np.ndarray, "h w c"] | Image.Image) -> UInt8[np.ndarray, "h w 3"]:
    """Repeats grey in all three channels, scales 16 bits to 8, and blends transparent pixels with white."""
    if isinstance(image, Image.Image) and image.mode.startswith("I;16"):  # 16 bits, which Pillow would clip
        image = pixels(image)
    if isinstance(image, Image.Image):
        if "A" in image.getbands() or image.info.get("transparency") is not None:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), image)
        return np.array(image.convert("RGB"))
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] not in (1, 3, 4):
        raise ValueError(f"an image must be uint8 [h w c] with 1, 3 or 4 channels, not {image.dtype} {list(image.shape)}")
    if image.shape[-1] == 4:
        alpha = image[..., 3:]
        if alpha.min(initial=255) == 255:
            return image[..., :3]
        return OVER_WHITE.take(alpha * np.uint16(256) + image[..., :3])
    return np.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image


def from_settings(settings: Settings) -> ImagePreprocessing:
    """The preprocessing that a preprocessor_config.json describes. Raises WeightsError."""
    kind = settings.string("image_processor_type", "") or settings.string("feature_extractor_type", "")
    kind = kind.replace("FeatureExtractor", "ImageProcessor").removesuffix("Fast").removesuffix("Pil")
    if kind not in KINDS:
        known = ", ".join(sorted(KINDS))
        raise WeightsError(f"{settings.where}: {settings.file} has image_processor_type = {kind!r}; supported are {known}")
    settings = settings.with_defaults(KINDS[kind])
    settings.require("do_pad", False)
    settings.require("resample", *map(int, Image.Resampling))
    size = _size(settings, "size", settings.flag("default_to_square")) if settings.flag("do_resize") else None
    crop = _size(settings, "crop_size", True) if settings.flag("do_center_crop") else None
    if isinstance(crop, int):
        raise settings.error("crop_size", "height and width")
    if "crop_pct" in settings.config and size is not None:
        size, crop = _crop_by_fraction(settings, size, crop)
    mean, deviation = _colours(settings, "image_mean", Settings.number), _colours(settings, "image_std", Settings.positive)
    if not settings.flag("do_normalize"):
        mean, deviation = (0.0,) * 3, (1.0,) * 3
    scale = settings.positive("rescale_factor") if settings.flag("do_rescale") else 1.0
    return ImagePreprocessing(size, int(settings.config["resample"]), crop, scale, mean, deviation)


def _crop_by_fraction(
    settings: Settings, size: tuple[int, int] | int, crop: tuple[int, int] | None
) -> tuple[tuple[int, int] | int, tuple[int, int] | None]:
    """ConvNext's rule: below 384 px, resize to size / crop_pct and crop to size; otherwise, resize to a square."""
    if not isinstance(size, int):
        raise settings.error("size", "an object with shortest_edge, or a number and default_to_square false")
    if size >= 384:
        return (size, size), crop
    if crop is not None:
        raise settings.error("do_center_crop", "false, since crop_pct already crops")
    return int(size / settings.positive("crop_pct")), (size, size)


def _size(settings: Settings, name: str, square: bool) -> tuple[int, int] | int:
    """(height, width), or the length of the shorter side. square: whether a single number means a square."""
    given = settings.config[name]
    if not isinstance(given, Mapping):
        height, width = settings.height_width(name)
        return height if is_number(given) and not square else (height, width)
    sides = settings.section(name)
    named = {side for side, length in given.items() if length is not None}
    if named == {"height", "width"}:
        return sides.integer("height", maximum=SIDE), sides.integer("width", maximum=SIDE)
    if named == {"shortest_edge"}:
        return sides.integer("shortest_edge", maximum=SIDE)
    raise settings.error(name, "height and width, or shortest_edge")


def _colours(settings: Settings, name: str, read: Callable[[Settings, str], float]) -> tuple[float, ...]:
    """Numbers for red, green and blue, given as a list or as one number for all three. read: reads one of them."""
    given = settings.config[name]
    given = given if isinstance(given, list | tuple) else [given] * 3
    if len(given) != 3:
        raise settings.error(name, "3 numbers")
    return tuple(read(replace(settings, config={name: one}), name) for one in given)
