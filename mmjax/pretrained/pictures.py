"""Pictures -> what a published encoder saw in its training, by the preprocessor_config.json that comes with weights."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8
from PIL import Image

from mmjax.pretrained.files import WeightsError
from mmjax.pretrained.source import Source

BILINEAR, BICUBIC = int(Image.Resampling.BILINEAR), int(Image.Resampling.BICUBIC)
HALVES, CLIP = [[0.5] * 3, [0.5] * 3], [[0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]]
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and deviation of its pixels, red, green, blue


def _kind(size: Any, resample: int, colours: list[list[float]], crop: bool = False, square: bool = False) -> dict[str, Any]:
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
    "ViTImageProcessor": _kind(224, BILINEAR, HALVES, square=True),
    "DeiTImageProcessor": _kind({"height": 256, "width": 256}, BICUBIC, HALVES, crop=True, square=True),
    "BitImageProcessor": _kind(224, BICUBIC, CLIP, crop=True),
    "CLIPImageProcessor": _kind(224, BICUBIC, CLIP, crop=True),
    "SiglipImageProcessor": _kind({"height": 224, "width": 224}, BICUBIC, HALVES),
    "VideoMAEImageProcessor": _kind(224, BILINEAR, HALVES, crop=True),
    "ConvNextImageProcessor": _kind(384, BICUBIC, HALVES) | {"crop_pct": 224 / 256},
}
"""What preprocessor_config.json may leave out, by the kind of preprocessing that it names."""


def rounded_down(spare: int) -> int:
    """Where a crop begins, as transformers has it."""
    return spare // 2


def rounded(spare: int) -> int:
    """Where a crop begins, as torchvision has it: to the nearest, and from the middle to the even one."""
    return round(spare / 2)


@dataclass(frozen=True)
class Pictures:
    """Resized, cropped, and as (pixel * scale - mean) / deviation.

    size: (height, width) in pixels, or the shorter side with the proportions kept, None to leave the size. resample: Pillow's
    number of the filter. crop: (height, width) of the middle that is kept, with black around it where there is less; None
    for all. start: spare pixels -> those cut off above or on the left. scale; mean, deviation: of red, green, blue.
    """

    size: tuple[int, int] | int | None
    resample: int
    crop: tuple[int, int] | None
    scale: float = 1 / 255
    mean: tuple[float, ...] = IMAGENET[0]
    deviation: tuple[float, ...] = IMAGENET[1]
    start: Callable[[int], int] = rounded_down

    @staticmethod
    def of(source: Source) -> "Pictures | None":
        """By the preprocessor_config.json of a folder of weights, None where there is none. Raises WeightsError."""
        name = "preprocessor_config.json"
        settings = source.settings(name)
        if not settings:
            name = "processor_config.json"  # a later transformers keeps the settings of all modalities in one file
            settings = source.settings(name).get("image_processor") or {}
        return from_settings(settings, f"{source.folder}/{name}") if settings else None

    def read(self, image: UInt8[np.ndarray, "h w c"] | Image.Image) -> UInt8[np.ndarray, "i j 3"]:
        """One picture of 1 (grey), 3 (RGB) or 4 (RGBA) channels, resized and cropped; what is transparent becomes white.

        A Pillow image may have any mode. Transparency is blended as transformers 5 does it, which rounds otherwise for an
        array than for an image; where a published preprocessing takes RGB alone, all others are turned into it here as well.
        """
        image = rgb(image)
        height, width = image.shape[:2]
        target = self._target(height, width)
        if target != (height, width):
            image = np.asarray(Image.fromarray(image).resize(target[::-1], self.resample))
        return self._cropped(image) if self.crop else image

    def _target(self, height: int, width: int) -> tuple[int, int]:
        if self.size is None:
            return height, width
        if isinstance(self.size, tuple):
            return self.size
        longer = int(self.size * max(height, width) / min(height, width))
        return (longer, self.size) if width <= height else (self.size, longer)

    def _cropped(self, image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "i j 3"]:
        short = [max(0, wanted - side) for wanted, side in zip(self.crop, image.shape)]
        if any(short):  # the odd pixel goes above, or to the left
            image = np.pad(image, [(-(-s // 2), s // 2) for s in short] + [(0, 0)])
        top, left = (self.start(side - wanted) for wanted, side in zip(self.crop, image.shape))
        return np.ascontiguousarray(image[top : top + self.crop[0], left : left + self.crop[1]])

    def finish(self, batch: UInt8[Array, "*n 3"] | UInt8[np.ndarray, "*n 3"]) -> Float[Array, "*n 3"]:
        """float32, whatever the leading axes; can be jitted."""
        last = (1,) * (batch.ndim - 1)
        mean, deviation = (jnp.asarray(x, jnp.float32).reshape(*last, -1) for x in (self.mean, self.deviation))
        return (jnp.asarray(batch, jnp.float32) * jnp.float32(self.scale) - mean) / deviation

    def batch(self, images: Iterable[Any]) -> Float[Array, "b h w 3"]:
        """Pictures as `read` takes them -> what the encoder takes."""
        return self.finish(np.stack([self.read(image) for image in images]))


def rgb(image: UInt8[np.ndarray, "h w c"] | Image.Image) -> UInt8[np.ndarray, "h w 3"]:
    """Grey in all three channels, and what is transparent over white."""
    if isinstance(image, Image.Image):
        if "A" in image.getbands() or image.info.get("transparency") is not None:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), image)
        return np.array(image.convert("RGB"))
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] not in (1, 3, 4):
        raise ValueError(f"a picture is uint8 [h w c] of 1, 3 or 4 channels, and this is {image.dtype} {list(image.shape)}")
    if image.shape[-1] == 4:
        alpha = image[..., 3:] / 255
        return np.round(alpha * image[..., :3] + (1 - alpha) * 255).astype(np.uint8)
    return np.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image


def from_settings(settings: Mapping[str, Any], where: str) -> Pictures:
    """preprocessor_config.json's content as Pictures. where: the file, for messages. Raises WeightsError."""
    named = settings.get("image_processor_type") or settings.get("feature_extractor_type") or ""
    named = named.replace("FeatureExtractor", "ImageProcessor").removesuffix("Fast").removesuffix("Pil")
    if named not in KINDS:
        raise WeightsError(f"{where}: image_processor_type is {named!r}; known are {', '.join(sorted(KINDS))}")
    values = KINDS[named] | {name: value for name, value in settings.items() if value is not None}
    if values.get("do_pad"):
        raise WeightsError(f"{where}: do_pad is not known")
    size = _size(values, "size", where, bool(values["default_to_square"])) if values["do_resize"] else None
    crop = _size(values, "crop_size", where, True) if values["do_center_crop"] else None
    if isinstance(crop, int):
        raise WeightsError(f"{where}: crop_size must be height and width; it is {values['crop_size']!r}")
    if "crop_pct" in values and size is not None:
        if not isinstance(size, int):
            raise WeightsError(f"{where}: size must have shortest_edge, and is {values['size']!r}")
        if size < 384:
            first, size = size, int(size / values["crop_pct"])
            if crop is not None:
                raise WeightsError(f"{where}: do_center_crop after the crop by crop_pct is not known")
            crop = first, first
        else:
            size = size, size
    mean, deviation = (_colours(values, name, where) for name in ("image_mean", "image_std"))
    if not values["do_normalize"]:
        mean, deviation = (0.0,) * 3, (1.0,) * 3
    scale = values["rescale_factor"] if values["do_rescale"] else 1
    return Pictures(size, int(values["resample"]), crop, float(scale), mean, deviation)


def _size(values: Mapping[str, Any], name: str, where: str, square: bool) -> tuple[int, int] | int:
    """(height, width), or the shorter side alone. square: what a single number means."""
    given = values[name]
    if isinstance(given, int):
        return (given, given) if square else given
    if isinstance(given, list | tuple) and len(given) == 2:
        return int(given[0]), int(given[1])
    if isinstance(given, Mapping):
        sides = {side: length for side, length in given.items() if length is not None}
        if set(sides) == {"height", "width"}:
            return int(sides["height"]), int(sides["width"])
        if set(sides) == {"shortest_edge"}:
            return int(sides["shortest_edge"])
    raise WeightsError(f"{where}: {name} must be height and width, or shortest_edge; it is {given!r}")


def _colours(values: Mapping[str, Any], name: str, where: str) -> tuple[float, ...]:
    given = values[name]
    given = [given] * 3 if isinstance(given, int | float) else given
    if len(given) != 3:
        raise WeightsError(f"{where}: {name} must have 3 numbers, and is {given!r}")
    return tuple(map(float, given))
