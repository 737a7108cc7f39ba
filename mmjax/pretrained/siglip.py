"""SigLIP (Zhai et al., 2023) and SigLIP 2 (Tschannen et al., 2025) with a fixed image size: transformers' SiglipModel."""

from typing import Any

import flax.linen as nn

from mmjax.encoders.dual import Pooled
from mmjax.heads import Bias, Projection, Temperature
from mmjax.model import TwoTowers
from mmjax.nn import AttentionPool, last_token
from mmjax.pretrained.convert import Architecture
from mmjax.pretrained.dual_encoders import (
    MIN_TEMPERATURE,
    UNUSED,
    ImageTextPreprocessing,
    example_image,
    example_text,
    image_encoder,
    image_names,
    text_encoder,
    text_names,
)
from mmjax.pretrained.images import ImagePreprocessing
from mmjax.pretrained.layout import DENSE, POSITIONS, SAME, Names, dense, norm, split_rows
from mmjax.pretrained.source import Source
from mmjax.pretrained.texts import TextPreprocessing

__all__ = ["BOTH", "TEXT", "VISION", "siglip", "towers"]

BOTH = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "hidden_act": "gelu_pytorch_tanh",
    "layer_norm_eps": 1e-6,
}
VISION = BOTH | {"num_channels": 3, "image_size": 224, "patch_size": 16}
TEXT = BOTH | {"vocab_size": 32_000, "max_position_embeddings": 64, "pad_token_id": 1}
"""transformers' defaults of fields that published files may omit."""


def siglip(source: Source) -> Architecture:
    """The text embedding is read at the last token. All texts have the same length: the encoder attends to their padding."""
    vision, words = source.section("vision_config").with_defaults(VISION), source.section("text_config").with_defaults(TEXT)
    image = image_encoder(vision, class_token=False)
    names, example = image_names("params/image/encoder", image), example_image(image, vision.integer("num_channels"))
    return towers(vision, words, image, names, example, ImagePreprocessing.of(source))


def towers(
    vision: Source, words: Source, image: nn.Module, image_part: Names, example: Any, preprocessing: Any
) -> Architecture:
    """SigLIP around an image encoder. vision, words: the settings of both encoders. image_part: the names of the image encoder.
    example, preprocessing: of its input."""
    vision.require("vision_use_head", True)
    text = text_encoder(words, causal=False)
    module = TwoTowers(
        Pooled(image, AttentionPool(image.heads, image.hidden, image.activation, image.epsilon)),
        Pooled(text, last_token),
        Projection(None),
        Projection(words.integer("projection_size", text.width), bias=True),
        Temperature(start=0.1, smallest=MIN_TEMPERATURE),
        Bias(),
    )
    names: Names = {
        **image_part,
        **_pool("params/image/pool", "vision_model.head"),
        **text_names("params/text/encoder", text),
        **dense("params/text_head/dense", "text_model.head"),
        "params/temperature/log_scale": ("logit_scale", SAME),
        "params/bias/bias": ("logit_bias", SAME),
    }
    both = ImageTextPreprocessing.of(preprocessing, TextPreprocessing.of(words, text.positions, attend_to_padding=True))
    return Architecture(module, {"image": example, "text": example_text(text)}, names, both, UNUSED)


def _pool(ours: str, theirs: str) -> Names:
    """Attention pooling; the original stores query, key and value in one tensor."""
    names: Names = {
        f"{ours}/query": (f"{theirs}.probe", POSITIONS),
        **dense(f"{ours}/attention/out", f"{theirs}.attention.out_proj"),
        **norm(f"{ours}/norm", f"{theirs}.layernorm"),
        **dense(f"{ours}/up", f"{theirs}.mlp.fc1"),
        **dense(f"{ours}/down", f"{theirs}.mlp.fc2"),
    }
    for part, kernel, bias in zip(("query", "key", "value"), split_rows(DENSE, 3), split_rows(SAME, 3)):
        names[f"{ours}/attention/{part}/kernel"] = (f"{theirs}.attention.in_proj_weight", kernel)
        names[f"{ours}/attention/{part}/bias"] = (f"{theirs}.attention.in_proj_bias", bias)
    return names
