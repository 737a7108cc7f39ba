"""SigLIP 2 NaFlex (Tschannen et al., 2025): transformers' Siglip2Model, for images of any proportions."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from mmjax.data.decode import MAX_PIXELS
from mmjax.encoders.naflex import ImagePatches, NaFlex
from mmjax.pretrained.convert import Architecture, example_array
from mmjax.pretrained.dual_encoders import BLOCK
from mmjax.pretrained.images import BILINEAR, ImagePreprocessing, from_settings, rgb
from mmjax.pretrained.layout import SAME, Names, dense, norm
from mmjax.pretrained.siglip import BOTH, TEXT, towers
from mmjax.pretrained.source import Source

__all__ = ["VISION", "NaFlexPreprocessing", "naflex"]

VISION = BOTH | {"num_channels": 3, "patch_size": 16, "num_patches": 256}


@dataclass(frozen=True)
class NaFlexPreprocessing:
    """Resizes images to the largest size with at most `patches` patches, almost without a change of proportions.

    images: of the pixels, without a size. patch: side of a patch in pixels. patches: the number to which images are padded.
    """

    images: ImagePreprocessing
    patch: int
    patches: int

    @staticmethod
    def of(source: Source, patch: int) -> "NaFlexPreprocessing | None":
        """From preprocessor_config.json; None without the file. patch: of the encoder."""
        settings = source.preprocessing("image_processor")
        if not settings.config:
            return None
        kinds = [f"Siglip2ImageProcessor{suffix}" for suffix in ("", "Fast", "Pil")]
        settings.require("image_processor_type", *kinds)
        settings.require("do_resize", True)
        settings.require("patch_size", patch)
        plain = {"image_processor_type": "SiglipImageProcessor", "do_resize": False}
        resample = {"resample": settings.config.get("resample", BILINEAR)}
        images = from_settings(replace(settings, config={**settings.config, **plain, **resample}))
        return NaFlexPreprocessing(images, patch, settings.integer("max_num_patches", 256, maximum=MAX_PIXELS // patch**2))

    def read(self, image: Any) -> ImagePatches:
        """One image, as `ImagePreprocessing.read` accepts it -> x uint8 [patches, patch * patch * 3], grid int32 [2]."""
        image = rgb(image)
        sides = self._target(*image.shape[:2])
        if sides != image.shape[:2]:
            image = np.asarray(Image.fromarray(image).resize(sides[::-1], self.images.resample))
        rows, columns = (side // self.patch for side in sides)
        cells = image.reshape(rows, self.patch, columns, self.patch, 3).swapaxes(1, 2)
        x = np.zeros((self.patches, self.patch**2 * 3), np.uint8)
        x[: rows * columns] = cells.reshape(rows * columns, -1)
        return ImagePatches(x, np.array([rows, columns], np.int32))

    def _target(self, height: int, width: int) -> tuple[int, int]:
        """The size in pixels: the original's bisection of the scale."""

        def scaled(scale: float) -> tuple[int, int]:
            sides = (math.ceil(side * scale / self.patch) * self.patch for side in (height, width))
            return tuple(max(self.patch, side) for side in sides)

        low, high = 1e-6, 100.0
        while high - low >= 1e-5:
            scale = (low + high) / 2
            if math.prod(side // self.patch for side in scaled(scale)) <= self.patches:
                low = scale
            else:
                high = scale
        return scaled(low)

    def finish(self, batch: ImagePatches) -> ImagePatches:
        """Scales and normalises pixels to float32; padded patches hold any values. Can be jitted."""
        pixels = batch.x.reshape(*batch.x.shape[:-1], self.patch**2, 3)
        return batch.replace(x=self.images.finish(pixels).reshape(batch.x.shape))

    def batch(self, images: Iterable[Any]) -> ImagePatches:
        """Images -> the encoder's input."""
        read = [self.read(image) for image in images]
        return self.finish(ImagePatches(np.stack([one.x for one in read]), np.stack([one.grid for one in read])))


def naflex(source: Source) -> Architecture:
    """As `siglip`, but images are `ImagePatches`."""
    vision = source.section("vision_config").with_defaults(VISION)
    patch, channels = vision.integer("patch_size", maximum=1024), vision.integer("num_channels", maximum=1024)
    side = math.isqrt(vision.integer("num_patches"))
    if side**2 != vision.integer("num_patches"):
        raise vision.error("num_patches", "a square number")
    image = NaFlex(
        side,
        width=vision.integer("hidden_size"),
        depth=vision.layers("num_hidden_layers"),
        heads=vision.integer("num_attention_heads"),
        hidden=vision.integer("intermediate_size"),
        activation=vision.activation(),
        epsilon=vision.positive("layer_norm_eps"),
    )
    ours, theirs = "params/image/encoder", "vision_model"
    names: Names = {
        **dense(f"{ours}/embed", f"{theirs}.embeddings.patch_embedding"),
        f"{ours}/positions": (f"{theirs}.embeddings.position_embedding.weight", SAME),
        **norm(f"{ours}/norm", f"{theirs}.post_layernorm"),
    }
    for layer in range(image.depth):
        names |= BLOCK.at(f"{ours}/transformer/block{layer}", f"{theirs}.encoder.layers.{layer}")
    example = ImagePatches(example_array(1, side**2, patch**2 * channels), np.array([[side, side]], np.int32))
    words = source.section("text_config").with_defaults(TEXT)
    return towers(vision, words, image, names, example, NaFlexPreprocessing.of(source, patch))
