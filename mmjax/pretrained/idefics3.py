"""Idefics3 (Laurençon et al., 2024) and SmolVLM (Marafioti et al., 2025): transformers' types "idefics3" and "smolvlm"."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from mmjax.data.decode import MAX_PIXELS
from mmjax.fusion.connectors import idefics3_connector
from mmjax.pretrained.convert import Architecture
from mmjax.pretrained.image_prompts import ImagePrompts, Tiles
from mmjax.pretrained.images import ImagePreprocessing, from_settings, rgb
from mmjax.pretrained.layout import dense
from mmjax.pretrained.source import SIDE, Source
from mmjax.pretrained.vision_language import NamedModule, image_part, join, prefixes, text_part

__all__ = ["LANCZOS", "LONGEST", "SplitTiles", "idefics3", "scaled", "splits"]

LANCZOS = int(Image.Resampling.LANCZOS)
LONGEST = 4096
"""The longest side of a resized image, in pixels."""


def scaled(height: int, width: int, longest: int) -> tuple[int, int]:
    """The size in pixels whose longer side is `longest`, with the proportions of the image; the other side is even."""
    ratio = width / height
    if width >= height:
        width, height = longest, int(longest / ratio)
        height += height % 2
    else:
        height, width = longest, int(longest * ratio)
        width += width % 2
    height, width = max(height, 1), max(width, 1)
    if width >= height and width > LONGEST:
        height, width = int(LONGEST / (width / height)), LONGEST
    elif height > width and height > LONGEST:
        height, width = LONGEST, int(LONGEST * (width / height))
    return max(height, 1), max(width, 1)


def splits(height: int, width: int, side: int) -> tuple[int, int]:
    """(rows, columns) of square tiles that cover an image."""
    ratio = width / height
    up = lambda length: math.ceil(length / side)
    if width >= height:
        columns = up(width)
        return up(int(columns * side / ratio)), columns
    rows = up(height)
    return rows, up(int(rows * side * ratio))


@dataclass(frozen=True)
class SplitTiles:
    """An image as rows and columns of tiles, and the complete image as the last tile; one tile if it is small.

    images: of the pixels, without a size. longest: the longer side to which an image is resized, in pixels; None for no
    resizing. side: of a tile, in pixels. vectors: per tile. split: whether there are rows and columns.
    """

    images: ImagePreprocessing
    longest: int | None
    side: int
    vectors: int
    split: bool

    def __call__(self, image: Any) -> Tiles:
        image = Image.fromarray(rgb(image))
        if self.longest is not None:
            image = self._resized(image, *scaled(image.height, image.width, self.longest))
        rows, columns = splits(image.height, image.width, self.side) if self.split else (1, 1)
        image = self._resized(image, rows * self.side, columns * self.side)
        if rows * columns == 1:
            return self._tiles([np.asarray(image)], self._single())
        pixels = np.asarray(image).reshape(rows, self.side, columns, self.side, 3).swapaxes(1, 2)
        whole = np.asarray(self._resized(image, self.side, self.side))
        return self._tiles([*pixels.reshape(-1, self.side, self.side, 3), whole], self._table(rows, columns))

    def _resized(self, image: Image.Image, height: int, width: int) -> Image.Image:
        if height * width > MAX_PIXELS:
            raise ValueError(f"an image would be resized to {height} x {width} pixels, more than {MAX_PIXELS:,}")
        return image if image.size == (width, height) else image.resize((width, height), self.images.resample)

    def _tiles(self, pixels: list[np.ndarray], text: str) -> Tiles:
        return Tiles(np.stack(pixels), text, range(len(pixels) * self.vectors))

    def _single(self) -> str:
        return f"<fake_token_around_image><global-img>{'<image>' * self.vectors}<fake_token_around_image>"

    def _table(self, rows: int, columns: int) -> str:
        vectors = "<image>" * self.vectors
        tile = lambda row, column: f"<fake_token_around_image><row_{row + 1}_col_{column + 1}>{vectors}"
        lines = ("".join(tile(row, column) for column in range(columns)) + "\n" for row in range(rows))
        return "".join(lines) + "\n" + self._single()


def idefics3(source: Source) -> Architecture:
    """Pixel shuffle of each tile's patches. Idefics3 masks the padding of an image; its tiles have none."""
    where = prefixes(source)
    image = image_part(source, where, f"{source.string('model_type')}_vision")
    text, texts = text_part(source, where)
    side = source.integer("scale_factor", 2)
    names = dense("connector/image_dense0", f"{where.connector}modality_projection.proj", bias=False)
    connector = NamedModule(idefics3_connector(text.module.width, side, image.grid), names)
    count = image.grid[0] * image.grid[1] // side**2
    pixels, tiles = _preprocessing(source, image.size[0], count)
    placeholder, vocabulary = source.integer("image_token_id", 128_257), text.module.vocabulary
    prompts = ImagePrompts("<image>", placeholder, vocabulary, image.size, count, pixels, tiles, texts)
    return join(image, connector, text, None, prompts)


def _preprocessing(source: Source, side: int, vectors: int) -> tuple[ImagePreprocessing | None, SplitTiles | None]:
    """From preprocessor_config.json; None without the file. side: of the encoder's images. vectors: per tile."""
    settings = source.preprocessing("image_processor")
    if not settings.config:
        return None, None
    names = [f"{kind}ImageProcessor{suffix}" for kind in ("Idefics3", "SmolVLM") for suffix in ("", "Fast", "Pil")]
    settings.require("image_processor_type", *names)
    settings.require("do_pad", True, False)
    tile = settings.section("max_image_size", {"longest_edge": 364}).integer("longest_edge", maximum=SIDE)
    if tile != side:
        raise settings.error("max_image_size", f"the encoder's image_size, {side}")
    own = {"image_processor_type": "SiglipImageProcessor", "do_resize": False, "do_pad": False}
    own |= {"resample": settings.config.get("resample", LANCZOS)}
    pixels = from_settings(replace(settings, config={**settings.config, **own}))
    size = settings.section("size", {"longest_edge": 4 * 364}).integer("longest_edge", maximum=SIDE)
    longest = size if settings.flag("do_resize", True) else None
    return pixels, SplitTiles(pixels, longest, tile, vectors, settings.flag("do_image_splitting", True))
