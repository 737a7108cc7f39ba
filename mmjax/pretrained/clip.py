"""CLIP (Radford et al., 2021): transformers' CLIPModel, both towers."""

from mmjax.encoders.dual import Pooled
from mmjax.heads import Projection, Temperature
from mmjax.model import TwoTowers
from mmjax.nn import first_token, last_token
from mmjax.pretrained.layout import Architecture, Names, dense
from mmjax.pretrained.pictures import Pictures
from mmjax.pretrained.source import Source
from mmjax.pretrained.texts import Texts
from mmjax.pretrained.towers import (
    LIMIT,
    ONE,
    UNUSED,
    PicturesAndTexts,
    given,
    image_names,
    image_tower,
    text_names,
    text_tower,
)

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
"""What published files leave out, as transformers defines it."""


def clip(source: Source) -> Architecture:
    """Tokens of the image tower are all normed, as the class token is in the original. A text is known at its last token,
    which is its end: padding does not count, whatever its number.
    """
    vision, words = (_part(source, *part) for part in (("vision_config", VISION), ("text_config", TEXT)))
    image, text = image_tower(vision, first_norm=True), text_tower(words, one_way=True)
    width = source.size("projection_dim", 512)
    module = TwoTowers(
        Pooled(image, first_token),
        Pooled(text, last_token),
        Projection(width),
        Projection(width),
        Temperature(smallest=LIMIT),
    )
    names: Names = {
        **image_names("params/image/encoder", image),
        **text_names("params/text/encoder", text),
        **dense("params/image_head/dense", "visual_projection", bias=False),
        **dense("params/text_head/dense", "text_projection", bias=False),
        "params/temperature/log_scale": ("logit_scale", ONE),
    }
    end = words.size("eos_token_id", least=0)
    if end == 2:  # in the first weights' config, by mistake; the original then takes the highest number in the text
        end = text.vocabulary - 1
    preprocessing = PicturesAndTexts.of(Pictures.of(source), Texts.of(source, text.positions, end=end))
    return Architecture(module, given(image, text, vision.size("num_channels")), names, preprocessing, UNUSED)


def _part(source: Source, name: str, defaults: dict) -> Source:
    """Old files may say a tower's config twice; then "..._dict" is the one that counts."""
    second = f"{name}_dict"
    return source.part(second if source.config.get(second) is not None else name).over(defaults)
