"""Qwen2-VL (Wang et al., 2024): images of their own size, and positions by row and column. transformers' type "qwen2_vl"."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from PIL import Image

from mmjax.data.decode import MAX_PIXELS
from mmjax.decoders.interleaved import Interleaved
from mmjax.encoders.features import Features
from mmjax.encoders.qwen_vit import PlacedCells, QwenViT
from mmjax.fusion.compose import Append, Only, Parallel
from mmjax.fusion.connectors import MLPConnector, PixelShuffle
from mmjax.fusion.steps import SideBySide
from mmjax.model import Multimodal
from mmjax.nn.rotary import GridRope
from mmjax.pretrained.convert import Architecture, example_array
from mmjax.pretrained.files import WeightsError
from mmjax.pretrained.image_prompts import ImagePrompts, Prompts, Tiles
from mmjax.pretrained.images import BICUBIC, CLIP, ImagePreprocessing, from_settings, rgb
from mmjax.pretrained.layout import DENSE, SAME, Names, dense, norm, patches, split_rows
from mmjax.pretrained.rope import rope_settings
from mmjax.pretrained.source import Source
from mmjax.pretrained.vision_language import NamedModule, Prefixes, architecture, text_part
from mmjax.types import Padded

__all__ = ["MARKER", "Cells", "cells_of", "fitted", "places_of", "qwen2_vl", "with_places"]

MARKER = "<|image_pad|>"


def fitted(height: int, width: int, factor: int, fewest: int, most: int) -> tuple[int, int]:
    """The size in pixels to which an image is resized: multiples of `factor`, with `fewest` to `most` pixels if possible."""
    if max(height, width) > 200 * min(height, width):
        raise ValueError(f"an image has {height} x {width} pixels; its sides may differ by a factor of 200")
    sides = [round(side / factor) * factor for side in (height, width)]
    if math.prod(sides) > most:
        scale = math.sqrt(height * width / most)
        sides = [max(factor, math.floor(side / scale / factor) * factor) for side in (height, width)]
    elif math.prod(sides) < fewest:
        scale = math.sqrt(fewest / (height * width))
        sides = [math.ceil(side * scale / factor) * factor for side in (height, width)]
    return sides[0], sides[1]


@dataclass(frozen=True)
class Cells:
    """An image as rows and columns of cells, with a vector for each.

    images: of the pixels, without a size. side: of a cell, in pixels. fewest, most: pixels of an image.
    """

    images: ImagePreprocessing
    side: int
    fewest: int
    most: int

    def __call__(self, image: Any) -> Tiles:
        image = Image.fromarray(rgb(image))
        height, width = fitted(image.height, image.width, self.side, self.fewest, self.most)
        pixels = np.asarray(image.resize((width, height), self.images.resample))
        rows, columns = height // self.side, width // self.side
        cells = pixels.reshape(rows, self.side, columns, self.side, 3).swapaxes(1, 2).reshape(-1, self.side, self.side, 3)
        return Tiles(cells, MARKER * len(cells), range(len(cells)), (rows, columns))


def cells_of(grids: Sequence[tuple[int, int]]) -> Int[np.ndarray, "n 3"]:
    """Row, column and number of the image, from 1, of each cell of images with these (rows, columns)."""
    parts = [np.stack([*np.divmod(np.arange(r * c), c), np.full(r * c, k)], axis=1) for k, (r, c) in enumerate(grids, 1)]
    return np.concatenate([np.zeros((0, 3), int), *parts]).astype(np.int32)


def places_of(grids: Sequence[tuple[int, int]]) -> Float[np.ndarray, "n 3"]:
    """Row and column of each cell, and by how much positions grow after it: by the longer side, after the last of an image."""
    places = cells_of(grids).astype(np.float32)
    places[:, 2] = 0
    for last, grid in zip(np.cumsum([math.prod(grid) for grid in grids], dtype=int) - 1, grids):
        places[last, 2] = max(grid)
    return places


def with_places(prompts: Prompts, tiles: Sequence[Sequence[Tiles]]) -> Prompts:
    """The prompts with the places of cells, as part of the image and as an input of its own."""
    images = prompts.batch.inputs["image"]
    cells = np.zeros((*images.x.shape[:2], 3), np.int32)
    places = np.zeros(cells.shape, np.float32)
    for row, own in enumerate(tiles):
        grids = [tile.grid for tile in own]
        count = sum(map(math.prod, grids))
        cells[row, :count], places[row, :count] = cells_of(grids), places_of(grids)
    inputs = {"image": PlacedCells(images.x, cells), "place": Padded(places, images.length)}
    present = dict.fromkeys(inputs, prompts.batch.present["image"])
    return prompts._replace(batch=prompts.batch.replace(inputs=inputs, present=present))


def qwen2_vl(source: Source) -> Architecture:
    """The places of vectors are a second input of the model, whose tokens stand beside those of the image."""
    source = _nested(source)
    nested = "model.language_model.embed_tokens.weight" in source.tensors
    visual = "model.visual." if "model.visual.patch_embed.proj.weight" in source.tensors else "visual."
    where = Prefixes("model.language_model." if nested else "model.", visual, f"{visual}merger.", "lm_head.weight")
    rope = rope_settings(source.section("text_config"))
    theta = rope.positive("rope_theta", source.section("text_config").positive("rope_theta", 1e6))
    sections = rope.integers("mrope_section", 3, minimum=0) if "mrope_section" in rope.config else (16, 24, 24)
    plain = {"rope_scaling": None, "rope_parameters": {"rope_type": "default", "rope_theta": theta}}
    text, texts = text_part(source, where, **plain)
    text = text._replace(module=text.module.clone(rope=GridRope(theta, sections)))
    encoder, side = _encoder(source, visual)
    across = side // encoder.module.patch
    names = {**dense("image_dense0", f"{visual}merger.mlp.0"), **dense("image_dense1", f"{visual}merger.mlp.2")}
    connector = MLPConnector(text.module.width, hidden=(encoder.module.width * across**2,))
    vectors = PixelShuffle(connector, across, (across, across))
    fusion = Parallel({"image": Only(("image",), vectors), "place": Only(("place",), Append())}, SideBySide())
    language = Interleaved(text.module, text.module.prompt, places=True)
    module = Multimodal({"image": encoder.module, "place": Features(None)}, fusion, decoders={"text": language})
    parts = {
        "encoders_image": encoder,
        "fusion/branches_image/fusion/connector": NamedModule(connector, names),
        "decoders_text": text,
    }
    cells = PlacedCells(example_array(1, 1, side, side, 3), np.ones((1, 1, 3), np.int32))
    inputs = {"image": cells, "place": Padded(example_array(1, 1, 3), np.ones(1, np.int32))}
    pixels, tiles = _preprocessing(source, encoder.module.patch, across)
    placeholder, size = source.integer("image_token_id", 151_655), (side, side, 3)
    prompts = ImagePrompts(MARKER, placeholder, text.module.vocabulary, size, 1, pixels, tiles, texts, extend=with_places)
    return architecture(module, parts, inputs, prompts)


def _nested(source: Source) -> Source:
    """With text_config, which files of transformers 4 lack: its fields are beside vision_config."""
    if "text_config" in source.config:
        return source
    own = {name: value for name, value in source.config.items() if name != "vision_config"}
    return replace(source, config={**source.config, "text_config": own | {"model_type": "qwen2_vl_text"}})


def _encoder(source: Source, visual: str) -> tuple[NamedModule, int]:
    """The encoder, and the side of a cell in pixels: that of the patches that become one vector."""
    defaults = {"depth": 32, "embed_dim": 1280, "num_heads": 16, "mlp_ratio": 4, "hidden_act": "quick_gelu", "patch_size": 14}
    config = source.section("vision_config").with_defaults(defaults)
    width, frames = config.integer("embed_dim"), config.integer("temporal_patch_size", 2)
    config.require("in_channels", 3)
    patch = config.integer("patch_size")
    hidden = int(width * config.positive("mlp_ratio", maximum=1000))
    heads, depth = config.integer("num_heads"), config.layers("depth")
    if width % (4 * heads):
        raise config.error("embed_dim", f"a multiple of 4 * num_heads, which is {4 * heads}")
    module = QwenViT(patch, width, depth, heads, hidden, config.activation(), frames)
    names: Names = {
        "embed/kernel": (f"{visual}patch_embed.proj.weight", patches(frames, patch, patch)),
        **norm("norm", f"{visual}merger.ln_q"),
    }
    for number in range(depth):
        ours, theirs = f"block{number}", f"{visual}blocks.{number}"
        for part, kernel, bias in zip(("query", "key", "value"), split_rows(DENSE, 3), split_rows(SAME, 3)):
            names[f"{ours}/{part}/kernel"] = (f"{theirs}.attn.qkv.weight", kernel)
            names[f"{ours}/{part}/bias"] = (f"{theirs}.attn.qkv.bias", bias)
        for part, published in (("out", "attn.proj"), ("up", "mlp.fc1"), ("down", "mlp.fc2")):
            names |= dense(f"{ours}/{part}", f"{theirs}.{published}")
        names |= norm(f"{ours}/norm1", f"{theirs}.norm1") | norm(f"{ours}/norm2", f"{theirs}.norm2")
    return NamedModule(module, names), patch * config.integer("spatial_merge_size", 2)


def _preprocessing(source: Source, patch: int, across: int) -> tuple[ImagePreprocessing | None, Cells | None]:
    """From preprocessor_config.json; None without the file. across: patches along the side of a cell."""
    settings = source.preprocessing("image_processor")
    if not settings.config:
        return None, None
    settings.require("image_processor_type", *(f"Qwen2VLImageProcessor{suffix}" for suffix in ("", "Fast", "Pil")))
    settings.require("do_resize", True)
    sizes = settings.with_defaults({"patch_size": 14, "merge_size": 2})
    sizes.require("patch_size", patch)
    sizes.require("merge_size", across)
    own = {"image_processor_type": "SiglipImageProcessor", "do_resize": False, "do_pad": False}
    own |= {"resample": settings.config.get("resample", BICUBIC)}
    pixels = from_settings(replace(settings, config={"image_mean": CLIP[0], "image_std": CLIP[1], **settings.config, **own}))
    size = settings.section("size", {"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 1280})
    limit = lambda name, edge: settings.integer(name, size.integer(edge, maximum=MAX_PIXELS), maximum=MAX_PIXELS)
    fewest, most = limit("min_pixels", "shortest_edge"), limit("max_pixels", "longest_edge")
    if fewest > most:
        raise WeightsError(f"{settings.where}: {settings.file} has more than {most} pixels as the fewest of an image")
    return pixels, Cells(pixels, patch * across, fewest, most)
