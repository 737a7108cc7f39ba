"""SigLIP (Zhai et al., 2023) and SigLIP 2 (Tschannen et al., 2025) for one size of picture: transformers' SiglipModel."""

from typing import NoReturn

from mmjax.encoders.dual import Pooled
from mmjax.heads import Bias, Projection, Temperature
from mmjax.model import TwoTowers
from mmjax.nn import AttentionPool, last_token
from mmjax.pretrained.files import WeightsError
from mmjax.pretrained.layout import DENSE, POSITIONS, SAME, Architecture, Names, dense, norm, pieces
from mmjax.pretrained.pictures import Pictures
from mmjax.pretrained.source import Source
from mmjax.pretrained.texts import Texts
from mmjax.pretrained.towers import (
    LIMIT,
    UNUSED,
    PicturesAndTexts,
    given,
    image_names,
    image_tower,
    text_names,
    text_tower,
)

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
"""What published files leave out, as transformers defines it."""


def siglip(source: Source) -> Architecture:
    """The text is known at its last token; by the preprocessing all texts are equally long, and their padding is text."""
    vision, words = source.part("vision_config").over(VISION), source.part("text_config").over(TEXT)
    vision.must("vision_use_head", True)
    image, text = image_tower(vision, class_token=False), text_tower(words, one_way=False)
    module = TwoTowers(
        Pooled(image, AttentionPool(image.heads, image.hidden, image.activation, image.epsilon)),
        Pooled(text, last_token),
        Projection(None),
        Projection(words.size("projection_size", text.width), bias=True),
        Temperature(start=0.1, smallest=LIMIT),
        Bias(),
    )
    names: Names = {
        **image_names("params/image/encoder", image),
        **_pool("params/image/pool", "vision_model.head"),
        **text_names("params/text/encoder", text),
        **dense("params/text_head/dense", "text_model.head"),
        "params/temperature/log_scale": ("logit_scale", SAME),
        "params/bias/bias": ("logit_bias", SAME),
    }
    preprocessing = PicturesAndTexts.of(Pictures.of(source), Texts.of(words, text.positions, whole=True))
    return Architecture(module, given(image, text, vision.size("num_channels")), names, preprocessing, UNUSED)


def naflex(source: Source) -> NoReturn:
    """SigLIP 2's other variant."""
    raise WeightsError(
        f"{source.where}: SigLIP 2 NaFlex (pictures of any proportions, model_type 'siglip2') is not known; its variants for "
        "one size of picture, such as google/siglip2-base-patch16-224, have model_type 'siglip'"
    )


def _pool(ours: str, theirs: str) -> Names:
    """The original keeps query, key and value in one tensor."""
    names: Names = {
        f"{ours}/query": (f"{theirs}.probe", POSITIONS),
        **dense(f"{ours}/attention/out", f"{theirs}.attention.out_proj"),
        **norm(f"{ours}/norm", f"{theirs}.layernorm"),
        **dense(f"{ours}/up", f"{theirs}.mlp.fc1"),
        **dense(f"{ours}/down", f"{theirs}.mlp.fc2"),
    }
    for part, kernel, bias in zip(("query", "key", "value"), pieces(DENSE, 3), pieces(SAME, 3)):
        names[f"{ours}/attention/{part}/kernel"] = (f"{theirs}.attention.in_proj_weight", kernel)
        names[f"{ours}/attention/{part}/bias"] = (f"{theirs}.attention.in_proj_bias", bias)
    return names
