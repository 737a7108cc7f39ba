"""Gemma 3 with images (Gemma Team, 2025), pan-and-scan off: transformers' models of type "gemma3"."""

import math

from mmjax.decoders.interleaved import both_ways_in_images
from mmjax.fusion.connectors import gemma3_connector
from mmjax.pretrained.convert import Architecture
from mmjax.pretrained.files import WeightsError
from mmjax.pretrained.image_prompts import ImagePrompts, OneTile
from mmjax.pretrained.images import ImagePreprocessing
from mmjax.pretrained.layout import SAME
from mmjax.pretrained.source import Source
from mmjax.pretrained.vision_language import NamedModule, image_part, join, prefixes, text_part

__all__ = ["gemma3"]


def gemma3(source: Source) -> Architecture:
    """The vectors of an image attend to each other in both directions, in local layers too."""
    where = prefixes(source)
    image = image_part(source, where, "siglip_vision_model")
    text, texts = text_part(source, where, tied=True)
    count = source.integer("mm_tokens_per_image", 256)
    across, cells = math.isqrt(count), image.grid[0]
    if across**2 != count or cells % across:
        raise WeightsError(
            f"{source.where}: {source.file} has mm_tokens_per_image = {count}; it must be the square of a divisor of {cells}"
        )
    vision = source.section("vision_config").with_defaults({"layer_norm_eps": 1e-6})
    module = gemma3_connector(text.module.width, cells // across, image.grid, vision.positive("layer_norm_eps"))
    names = {
        "connector/image_norm/scale": (f"{where.connector}mm_soft_emb_norm.weight", SAME),
        "connector/connector/image_dense0/kernel": (f"{where.connector}mm_input_projection_weight", SAME),
    }
    source.preprocessing("image_processor").require("do_pan_and_scan", None, False)
    pixels = ImagePreprocessing.of(source)
    around = "\n\n<start_of_image>", "<end_of_image>\n\n"
    tiles = OneTile(pixels, f"{around[0]}{'<image_soft_token>' * count}{around[1]}", count) if pixels else None
    placeholder, vocabulary = source.integer("image_token_index", 262_144), text.module.vocabulary
    prompts = ImagePrompts("<start_of_image>", placeholder, vocabulary, image.size, count, pixels, tiles, texts)
    return join(image, NamedModule(module, names), text, both_ways_in_images, prompts)
