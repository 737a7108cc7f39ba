"""Pictures -> what a published encoder saw in its training, by the preprocessor_config.json that comes with weights."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8
from PIL import Image

from mmjax.pretrained.files import WeightsError
from mmjax.pretrained.source import Fields, Source, is_number

BILINEAR, BICUBIC = int(Image.Resampling.BILINEAR), int(Image.Resampling.BICUBIC)
HALVES, CLIP = [[0.5] * 3, [0.5] * 3], [[0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]]
_ALPHA = np.arange(256)[:, None] / 255
OVER_WHITE = np.round(_ALPHA * np.arange(256) + (1 - _ALPHA) * 255).astype(np.uint8)  # [alpha, colour], as transformers rounds
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
        settings = source.preprocessing("image_processor")
        return from_settings(settings) if settings.config else None

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
        alpha = image[..., 3:]
        if alpha.min(initial=255) == 255:
            return image[..., :3]
        return OVER_WHITE.take(alpha * np.uint16(256) + image[..., :3])
    return np.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image


def from_settings(settings: Fields) -> Pictures:
    """preprocessor_config.json's content as Pictures. Raises WeightsError."""
    named = settings.text("image_processor_type", "") or settings.text("feature_extractor_type", "")
    named = named.replace("FeatureExtractor", "ImageProcessor").removesuffix("Fast").removesuffix("Pil")
    if named not in KINDS:
        known = ", ".join(sorted(KINDS))
        raise WeightsError(f"{settings.where}: {settings.file} has image_processor_type = {named!r}; known are {known}")
    settings = settings.over(KINDS[named])
    settings.must("do_pad", False)
    settings.must("resample", *map(int, Image.Resampling))
    size = _size(settings, "size", settings.flag("default_to_square")) if settings.flag("do_resize") else None
    crop = _size(settings, "crop_size", True) if settings.flag("do_center_crop") else None
    if isinstance(crop, int):
        raise settings.error("crop_size", "height and width")
    if "crop_pct" in settings.config and size is not None:
        if not isinstance(size, int):
            raise settings.error("size", "an object with shortest_edge, or a number and default_to_square false")
        if size < 384:
            first, size = size, int(size / settings.positive("crop_pct"))
            if crop is not None:
                raise settings.error("do_center_crop", "false, for crop_pct crops already")
            crop = first, first
        else:
            size = size, size
    mean, deviation = _colours(settings, "image_mean", Fields.number), _colours(settings, "image_std", Fields.positive)
    if not settings.flag("do_normalize"):
        mean, deviation = (0.0,) * 3, (1.0,) * 3
    scale = settings.positive("rescale_factor") if settings.flag("do_rescale") else 1.0
    return Pictures(size, int(settings.config["resample"]), crop, scale, mean, deviation)


def _size(settings: Fields, name: str, square: bool) -> tuple[int, int] | int:
    """(height, width), or the shorter side alone. square: what a single number means."""
    given = settings.config[name]
    if not isinstance(given, Mapping):
        height, width = settings.sides(name)
        return height if is_number(given) and not square else (height, width)
    sides = settings.part(name)
    named = {side for side, length in given.items() if length is not None}
    if named == {"height", "width"}:
        return sides.size("height"), sides.size("width")
    if named == {"shortest_edge"}:
        return sides.size("shortest_edge")
    raise settings.error(name, "height and width, or shortest_edge")


def _colours(settings: Fields, name: str, read: Callable[[Fields, str], float]) -> tuple[float, ...]:
    """A number for each of red, green and blue, or one for all three. read: each of them."""
    given = settings.config[name]
    given = given if isinstance(given, list | tuple) else [given] * 3
    if len(given) != 3:
        raise settings.error(name, "3 numbers")
    return tuple(read(replace(settings, config={name: one}), name) for one in given)
