"""LLaVA-NeXT (Liu et al., 2024), also called LLaVA-1.6: images of any proportions as tiles. transformers' type "llava_next"."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from mmjax.fusion.connectors import LineBreak
from mmjax.pretrained.convert import Architecture
from mmjax.pretrained.files import WeightsError, shown
from mmjax.pretrained.image_prompts import ImagePrompts, Tiles
from mmjax.pretrained.images import CLIP, ImagePreprocessing, from_settings, rgb
from mmjax.pretrained.layout import SAME
from mmjax.pretrained.llava import llava_connector, selected_states
from mmjax.pretrained.source import SIDE, Settings, Source, are_integers
from mmjax.pretrained.vision_language import NamedModule, join, prefixes, text_part

__all__ = ["AnyResolution", "Size", "best_size", "kept", "llava_next"]

Size = tuple[int, int]
"""(height, width)."""


def best_size(size: Size, sizes: tuple[Size, ...]) -> Size:
    """The size to which an image is fitted: the one with the most pixels of the image, then with the fewest wasted pixels."""

    def score(target: Size) -> tuple[int, int]:
        scale = min(target[1] / size[1], target[0] / size[0])
        effective = min(int(size[1] * scale) * int(size[0] * scale), size[0] * size[1])
        return effective, effective - target[0] * target[1]

    return max(sizes, key=score)  # the first of equal ones


def kept(size: Size, grid: Size) -> tuple[range, range]:
    """The (rows, columns) of a grid of patches that are not padding of an image of this size."""
    (height, width), (rows, columns) = size, grid
    if width / height > columns / rows:
        padding = (rows - int(round(height * (columns / width), 7))) // 2
        return range(padding, rows - padding), range(columns)
    padding = (columns - int(round(width * (rows / height), 7))) // 2
    return range(rows), range(padding, columns - padding)


@dataclass(frozen=True)
class AnyResolution:
    """The complete image as the first tile, then the tiles of the image in one of several sizes, padded with black.

    images: of the pixels, without a size. sizes: (height, width) in pixels, multiples of `side`. side: of a tile, in pixels.
    grid: (rows, columns) of the vectors of a tile.
    """

    images: ImagePreprocessing
    sizes: tuple[Size, ...]
    side: int
    grid: Size

    def __call__(self, image: Any) -> Tiles:
        image = Image.fromarray(rgb(image))
        size = image.height, image.width
        height, width = best_size(size, self.sizes)
        scale = width / image.width, height / image.height
        if scale[0] < scale[1]:
            inner = min(math.ceil(image.height * scale[0]), height), width
        else:
            inner = height, min(math.ceil(image.width * scale[1]), width)
        large = np.zeros((height, width, 3), np.uint8)
        top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
        large[top : top + inner[0], left : left + inner[1]] = self._resized(image, inner)
        tiles = large.reshape(height // self.side, self.side, width // self.side, self.side, 3).swapaxes(1, 2)
        pixels = np.concatenate([self._resized(image, (self.side, self.side))[None], tiles.reshape(-1, *tiles.shape[2:])])
        vectors = self.vectors(size)
        return Tiles(pixels, "<image>" * len(vectors), vectors)

    def _resized(self, image: Image.Image, size: Size) -> np.ndarray:
        return np.asarray(image.resize(size[::-1], self.images.resample))

    def vectors(self, size: Size) -> list[int]:
        """The numbers of the vectors of an image of this size (see `Tiles`): the first tile, then row by row those that are not
        padding, with the line break, -1, after each row."""
        across = [length // self.side for length in best_size(size, self.sizes)]
        count = self.grid[0] * self.grid[1]
        rows, columns = kept(size, (across[0] * self.grid[0], across[1] * self.grid[1]))
        found = list(range(count))
        for row in rows:
            for column in columns:
                tile = 1 + row // self.grid[0] * across[1] + column // self.grid[1]
                found.append(tile * count + row % self.grid[0] * self.grid[1] + column % self.grid[1])
            found.append(-1)
        return found


def llava_next(source: Source) -> Architecture:
    """As LLaVA-1.5, with `AnyResolution` and a learned vector at the end of each row."""
    where = prefixes(source)
    image = selected_states(source, where)
    text, texts = text_part(source, where)
    perceptron = llava_connector(source, where, text.module.width)
    outer = where.connector.removesuffix("multi_modal_projector.")
    names = {f"connector/{path}": entry for path, entry in perceptron.names.items()}
    connector = NamedModule(LineBreak(perceptron.module), {"vector": (f"{outer}image_newline", SAME), **names})
    count = image.grid[0] * image.grid[1]
    pixels, tiles = _preprocessing(source, image.size[0], image.grid)
    placeholder, vocabulary = source.integer("image_token_index", 32_000), text.module.vocabulary
    prompts = ImagePrompts("<image>", placeholder, vocabulary, image.size, count, pixels, tiles, texts, leading=1)
    return join(image, connector, text, None, prompts)


def _preprocessing(source: Source, side: int, grid: Size) -> tuple[ImagePreprocessing | None, AnyResolution | None]:
    """From preprocessor_config.json; None without the file. side: of the encoder's images."""
    settings = source.preprocessing("image_processor")
    if not settings.config:
        return None, None
    settings.require("image_processor_type", *(f"LlavaNextImageProcessor{suffix}" for suffix in ("", "Fast", "Pil")))
    sizes = _sizes(source, side)
    if settings.config.get("image_grid_pinpoints") is not None and _sizes(settings, side) != sizes:
        raise settings.error("image_grid_pinpoints", "as in config.json")
    own = {"image_processor_type": "CLIPImageProcessor", "do_pad": False}
    images = from_settings(replace(settings, config={"image_mean": CLIP[0], "image_std": CLIP[1], **settings.config, **own}))
    if images.size not in (side, (side, side)) or images.crop not in (None, (side, side)):
        raise WeightsError(f"{settings.where}: {settings.file} must resize and crop tiles to {side} pixels, the encoder's size")
    return images, AnyResolution(images, sizes, side, grid)


def _sizes(settings: Settings, side: int) -> tuple[Size, ...]:
    """image_grid_pinpoints; the default is that of transformers."""
    default = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
    given = settings.config.get("image_grid_pinpoints") or default
    pair = lambda size: are_integers(size, 2, maximum=SIDE) and all(length % side == 0 for length in size)
    if not isinstance(given, list | tuple) or not all(map(pair, given)) or len(given) > 100:
        raise WeightsError(
            f"{settings.where}: {settings.file} has image_grid_pinpoints = {shown(repr(given))}; they must be (height, width), "
            f"multiples of {side}"
        )
    return tuple((int(height), int(width)) for height, width in given)
