"""LLaVA-1.5 (Liu et al., 2024, "Improved baselines with visual instruction tuning"): transformers' models of type "llava"."""

from mmjax.fusion.connectors import llava_mlp
from mmjax.pretrained.convert import Architecture
from mmjax.pretrained.image_prompts import ImagePrompts, OneTile
from mmjax.pretrained.images import ImagePreprocessing
from mmjax.pretrained.layout import Names, dense
from mmjax.pretrained.source import Source
from mmjax.pretrained.vision_language import ImagePart, NamedModule, Prefixes, image_part, join, prefixes, text_part

__all__ = ["llava", "llava_connector", "selected_states"]


def llava(source: Source) -> Architecture:
    """The vectors of an image are the states of its patches after the block that vision_feature_layer selects."""
    where = prefixes(source)
    image = selected_states(source, where)
    text, texts = text_part(source, where)
    connector = llava_connector(source, where, text.module.width)
    count = image.grid[0] * image.grid[1]
    pixels = ImagePreprocessing.of(source)
    tiles = OneTile(pixels, "<image>" * count, count) if pixels else None
    placeholder = source.integer("image_token_index", 32_000)
    prompts = ImagePrompts("<image>", placeholder, text.module.vocabulary, image.size, count, pixels, tiles, texts)
    return join(image, connector, text, None, prompts)


def selected_states(source: Source, where: Prefixes) -> ImagePart:
    """The image encoder of LLaVA and LLaVA-NeXT: CLIP without its class token, or SigLIP, up to a block."""
    layer = source.integer("vision_feature_layer", -2, minimum=-1000)
    image = image_part(source, where, "clip_vision_model", layer)
    select = "default" if image.part.module.vit.class_token else "full"
    source = source.with_defaults({"vision_feature_select_strategy": "default"})
    if source.string("vision_feature_select_strategy") != select:
        raise source.error("vision_feature_select_strategy", f"{select!r} with this image encoder")
    return image


def llava_connector(source: Source, where: Prefixes, width: int) -> NamedModule:
    """Two dense layers. width: of the language model."""
    bias = source.flag("multimodal_projector_bias", True)
    settings = source.with_defaults({"projector_hidden_act": "gelu"})
    names: Names = {}
    for layer in range(2):
        names |= dense(f"image_dense{layer}", f"{where.connector}linear_{layer + 1}", bias)
    return NamedModule(llava_mlp(width, activation=settings.activation("projector_hidden_act"), bias=bias), names)
