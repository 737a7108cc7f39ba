"""CLIP (Radford et al., 2021): transformers' CLIPModel with both encoders."""

from mmjax.encoders.dual import Pooled
from mmjax.heads import Projection, Temperature
from mmjax.model import TwoTowers
from mmjax.nn import first_token, last_token
from mmjax.pretrained.convert import Architecture
from mmjax.pretrained.dual_encoders import (
    MIN_TEMPERATURE,
    SCALAR,
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
from mmjax.pretrained.layout import Names, dense
from mmjax.pretrained.source import Source
from mmjax.pretrained.texts import TextPreprocessing

__all__ = ["BOTH", "TEXT", "VISION", "clip"]

BOTH = {"num_hidden_layers": 12, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}
VISION = BOTH | {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_attention_heads": 12,
    "num_channels": 3,
    "image_size": 224,
    "patch_size": 32,
}
TEXT = BOTH | {
    "vocab_size": 49_408,
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_attention_heads": 8,
    "max_position_embeddings": 77,
    "eos_token_id": 49_407,
}
"""transformers' defaults of fields that published files may omit."""


def clip(source: Source) -> Architecture:
    """The final norm applies to all image tokens, as it does to the class token in the original. The text embedding is read at
    the text's last token, the end token, whatever the id of the padding."""
    vision, words = (_section(source, *part) for part in (("vision_config", VISION), ("text_config", TEXT)))
    image, text = image_encoder(vision, first_norm=True), text_encoder(words, causal=True)
    width = source.integer("projection_dim", 512)
    module = TwoTowers(
        Pooled(image, first_token),
        Pooled(text, last_token),
        Projection(width),
        Projection(width),
        Temperature(smallest=MIN_TEMPERATURE),
    )
    names: Names = {
        **image_names("params/image/encoder", image),
        **text_names("params/text/encoder", text),
        **dense("params/image_head/dense", "visual_projection", bias=False),
        **dense("params/text_head/dense", "text_projection", bias=False),
        "params/temperature/log_scale": ("logit_scale", SCALAR),
    }
    end = words.integer("eos_token_id", minimum=0)
    if end == 2:  # a mistake in the config of the first weights; the original then uses the highest id of the text
        end = text.vocabulary - 1
    preprocessing = ImageTextPreprocessing.of(
        ImagePreprocessing.of(source), TextPreprocessing.of(source, text.positions, end=end)
    )
    example = {"image": example_image(image, vision.integer("num_channels")), "text": example_text(text)}
    return Architecture(module, example, names, preprocessing, UNUSED)


def _section(source: Source, name: str, defaults: dict) -> Source:
    """Old files may contain an encoder's config twice; then "..._dict" takes precedence."""
    second = f"{name}_dict"
    return source.section(second if source.config.get(second) is not None else name).with_defaults(defaults)
