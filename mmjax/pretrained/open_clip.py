"""CLIP and SigLIP as open_clip publishes them (Ilharco et al., 2021): open_clip_config.json and open_clip_model.safetensors.

Supported are the Vision Transformers of OpenAI, LAION, DataComp, DFN and MetaCLIP, and SigLIP. Settings that change the forward
pass otherwise are refused, each by its name.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import Any, NamedTuple

import numpy as np

from mmjax.encoders.dual import Pooled, TextTransformer
from mmjax.encoders.vit import ViT
from mmjax.heads import Bias, Projection, Temperature
from mmjax.model import TwoTowers
from mmjax.nn import AttentionPool, first_token, last_token
from mmjax.nn.attention import gelu, gelu_sigmoid, gelu_tanh
from mmjax.pretrained.convert import Architecture
from mmjax.pretrained.dual_encoders import MIN_TEMPERATURE, SCALAR, ImageTextPreprocessing, example_image, example_text
from mmjax.pretrained.files import WeightsError, shown
from mmjax.pretrained.images import BICUBIC, BILINEAR, CLIP, ImagePreprocessing, round_half
from mmjax.pretrained.layout import DENSE, POSITIONS, SAME, Names, dense, norm, patches, split_rows
from mmjax.pretrained.source import Source
from mmjax.pretrained.texts import TextPreprocessing
from mmjax.pretrained.tokenizer_files import CANONICAL

__all__ = ["ONLY", "RESAMPLE", "TEXT", "TRUNKS", "UNUSED", "VISION", "Tower", "open_clip"]

VISION = {"layers": 12, "width": 768, "head_width": 64, "mlp_ratio": 4.0, "patch_size": 16, "image_size": 224}
TEXT = {"context_length": 77, "vocab_size": 49_408, "width": 512, "heads": 8, "layers": 12, "mlp_ratio": 4.0} | {
    "pool_type": "argmax"
}
"""open_clip's defaults of fields that published files may omit."""
ONLY: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("hf_model_name", "ls_init_value"), (None,)),
    **dict.fromkeys(("attentional_pool", "no_ln_pre", "embed_cls", "qk_norm", "scaled_cosine_attn"), (False, None)),
    **dict.fromkeys(("scale_heads", "scale_attn_inner", "scale_attn", "scale_fc"), (False, None)),
}
"""Fields of an encoder that change its forward pass, with the values that are supported."""
TRUNKS: dict[str, tuple[int, Callable]] = {
    "vit_base_patch16_siglip": (12, gelu),
    "vit_base_patch32_siglip": (12, gelu_tanh),
    "vit_large_patch16_siglip": (16, gelu),
    "vit_large_patch16_siglip_512": (16, gelu_tanh),
    "vit_so400m_patch14_siglip": (16, gelu),
    "vit_so400m_patch16_siglip": (16, gelu_tanh),
    "vit_giantopt_patch16_siglip": (16, gelu_tanh),
}
"""timm's name of an image encoder, with or without the image size -> (heads, activation). The tensors have all other sizes."""
UNUSED = (r"(text\.)?attn_mask", r"input_resolution|context_length|vocab_size")
RESAMPLE = {"bicubic": BICUBIC, "bilinear": BILINEAR}


class Tower(NamedTuple):
    """An encoder with its head, and the names of both. example: an input."""

    encoder: Pooled
    head: Projection
    names: Names
    example: Any


def open_clip(source: Source) -> Architecture:
    """CLIP or SigLIP, from the section "model_cfg" of open_clip_config.json."""
    config = source.section("model_cfg")
    config.require("multimodal_cfg", None)
    vision, words = config.section("vision_cfg").with_defaults(VISION), config.section("text_cfg").with_defaults(TEXT)
    for name, values in ONLY.items():
        for section in (vision, words):
            section.require(name, *values)
    quick, width = config.flag("quick_gelu", False), config.integer("embed_dim")
    image = _timm(source, vision) if vision.config.get("timm_model_name") else _vision(vision, quick, width)
    text = _text(words, quick, width, "text." if config.flag("custom_text", False) else "")
    names: Names = {**image.names, **text.names, "params/temperature/log_scale": ("logit_scale", SCALAR)}
    bias = config.config.get("init_logit_bias") is not None
    if bias:
        names["params/bias/bias"] = ("logit_bias", SCALAR)
    module = TwoTowers(
        image.encoder,
        text.encoder,
        image.head,
        text.head,
        Temperature(smallest=MIN_TEMPERATURE, start=0.1 if bias else 0.07),
        Bias() if bias else None,
    )
    both = ImageTextPreprocessing.of(_images(source, vision), _texts(words, text.encoder.encoder))
    return Architecture(module, {"image": image.example, "text": text.example}, names, both, UNUSED)


def _activation(config: Source, quick: bool) -> Callable:
    kind = config.section("act_kwargs", {})
    kind.require("approximate", "none", "tanh")
    return gelu_sigmoid if quick else gelu_tanh if kind.config.get("approximate") == "tanh" else gelu


def _transformer(config: Source, quick: bool, heads: int) -> dict[str, Any]:
    width = config.integer("width")
    return {
        "width": width,
        "depth": config.layers("layers"),
        "heads": heads,
        "hidden": int(width * config.positive("mlp_ratio", maximum=1000)),
        "epsilon": config.section("norm_kwargs", {}).positive("eps", 1e-5),
        "activation": _activation(config, quick),
    }


def _vision(config: Source, quick: bool, width: int) -> Tower:
    """open_clip's Vision Transformer. width: of the embedding."""
    config.require("pool_type", "tok")
    config.require("pos_embed_type", "learnable", "sin_cos_2d")  # both are published as a tensor
    patch, sides = config.integer("patch_size"), config.height_width("image_size")
    if patch > min(sides):
        raise config.error("patch_size", f"at most the side of the image, which is {min(sides)}")
    fields = _transformer(config, quick, max(1, config.integer("width") // config.integer("head_width")))
    module = ViT(patch, grid=(sides[0] // patch, sides[1] // patch), first_norm=True, **fields)
    ours, theirs = "params/image/encoder", "visual"
    names: Names = {
        f"{ours}/embed/kernel": (f"{theirs}.conv1.weight", patches(patch, patch)),
        f"{ours}/class_token": (f"{theirs}.class_embedding", SAME),
        f"{ours}/positions": (f"{theirs}.positional_embedding", SAME),
        **norm(f"{ours}/first_norm", f"{theirs}.ln_pre"),
        **norm(f"{ours}/norm", f"{theirs}.ln_post"),
        **_blocks(ours, f"{theirs}.transformer.resblocks", module.depth),
        "params/image_head/dense/kernel": (f"{theirs}.proj", SAME),
    }
    return Tower(Pooled(module, first_token), Projection(width), names, example_image(module, 3))


def _text(config: Source, quick: bool, width: int, prefix: str) -> Tower:
    """open_clip's text encoder. A text is represented by its end token; in SigLIP by its last one, after any padding."""
    config.require("proj_type", "linear", "none")
    config.require("pool_type", "argmax", "eos", "last")
    causal = not config.flag("no_causal_mask", False)
    if not causal:  # then the encoder attends to padding, which only texts of equal length have
        config.require("pool_type", "last")
    module = TextTransformer(
        config.integer("vocab_size"),
        positions=config.integer("context_length"),
        causal=causal,
        **_transformer(config, quick, config.integer("heads")),
    )
    ours, head = "params/text/encoder", "params/text_head/dense"
    names: Names = {
        f"{ours}/word/embedding": (f"{prefix}token_embedding.weight", SAME),
        f"{ours}/position": (f"{prefix}positional_embedding", SAME),
        **norm(f"{ours}/norm", f"{prefix}ln_final"),
        **_blocks(ours, f"{prefix}transformer.resblocks", module.depth),
    }
    example = example_text(module)
    if config.config.get("proj_type") == "none":
        return Tower(Pooled(module, last_token), Projection(None), names, example)
    bias = config.flag("proj_bias", False)
    names |= dense(head, f"{prefix}text_projection") if bias else {f"{head}/kernel": (f"{prefix}text_projection", SAME)}
    return Tower(Pooled(module, last_token), Projection(width, bias=bias), names, example)


def _joint(ours: str, kernel: str, bias: str, parts: tuple[str, ...] = ("query", "key", "value")) -> Names:
    """Projections of an attention that are slices of one tensor."""
    names: Names = {}
    for part, of_kernel, of_bias in zip(parts, split_rows(DENSE, len(parts)), split_rows(SAME, len(parts))):
        names |= {f"{ours}/{part}/kernel": (kernel, of_kernel), f"{ours}/{part}/bias": (bias, of_bias)}
    return names


def _blocks(ours: str, theirs: str, depth: int) -> Names:
    names: Names = {}
    for layer in range(depth):
        one, other = f"{ours}/transformer/block{layer}", f"{theirs}.{layer}"
        names |= _joint(f"{one}/attention", f"{other}.attn.in_proj_weight", f"{other}.attn.in_proj_bias")
        names |= dense(f"{one}/attention/out", f"{other}.attn.out_proj")
        names |= dense(f"{one}/up", f"{other}.mlp.c_fc") | dense(f"{one}/down", f"{other}.mlp.c_proj")
        names |= norm(f"{one}/norm1", f"{other}.ln_1") | norm(f"{one}/norm2", f"{other}.ln_2")
    return names


def _timm(source: Source, config: Source) -> Tower:
    """SigLIP's image encoder, which open_clip takes from timm. Its sizes are those of the tensors."""
    name, trunk = config.string("timm_model_name"), "visual.trunk"
    known = TRUNKS.get(name) or TRUNKS.get(re.sub(r"_\d+$", "", name))
    if known is None:
        raise config.error("timm_model_name", f"one of {', '.join(TRUNKS)}, with an image size")
    config.require("timm_pool", "map")
    config.require("timm_proj", "none", "")

    def shape(tensor: str, axes: int) -> tuple[int, ...]:
        found = source.tensors.get(f"{trunk}.{tensor}", np.zeros(0)).shape
        if len(found) != axes or not prod(found):
            raise WeightsError(f"{source.where}: {trunk}.{tensor} is {list(found)}; it must have {axes} axes")
        return found

    (width, channels, patch, _), (hidden, _) = shape("patch_embed.proj.weight", 4), shape("blocks.0.mlp.fc1.weight", 2)
    found = [re.fullmatch(rf"{trunk}\.blocks\.(\d{{1,4}})\..*", tensor) for tensor in source.tensors]
    depth = 1 + max(int(one[1]) for one in found if one)
    sides, (heads, activation) = config.height_width("image_size"), known
    grid = sides[0] // patch, sides[1] // patch
    fields = {"width": width, "depth": depth, "heads": heads, "hidden": hidden, "epsilon": 1e-6, "activation": activation}
    module = ViT(patch, grid=grid, class_token=False, **fields)
    pool = AttentionPool(heads, hidden, activation, 1e-6)
    return Tower(Pooled(module, pool), Projection(None), _timm_names(trunk, patch, depth), example_image(module, channels))


def _timm_names(trunk: str, patch: int, depth: int) -> Names:
    ours, pool, latent = "params/image/encoder", "params/image/pool", f"{trunk}.attn_pool"
    names: Names = {
        **dense(f"{ours}/embed", f"{trunk}.patch_embed.proj", layout=patches(patch, patch)),
        f"{ours}/positions": (f"{trunk}.pos_embed", POSITIONS),
        **norm(f"{ours}/norm", f"{trunk}.norm"),
        f"{pool}/query": (f"{latent}.latent", POSITIONS),
        **dense(f"{pool}/attention/query", f"{latent}.q"),
        **_joint(f"{pool}/attention", f"{latent}.kv.weight", f"{latent}.kv.bias", ("key", "value")),
        **dense(f"{pool}/attention/out", f"{latent}.proj"),
        **norm(f"{pool}/norm", f"{latent}.norm"),
        **dense(f"{pool}/up", f"{latent}.mlp.fc1"),
        **dense(f"{pool}/down", f"{latent}.mlp.fc2"),
    }
    for layer in range(depth):
        one, other = f"{ours}/transformer/block{layer}", f"{trunk}.blocks.{layer}"
        names |= _joint(f"{one}/attention", f"{other}.attn.qkv.weight", f"{other}.attn.qkv.bias")
        names |= dense(f"{one}/attention/out", f"{other}.attn.proj")
        names |= dense(f"{one}/up", f"{other}.mlp.fc1") | dense(f"{one}/down", f"{other}.mlp.fc2")
        names |= norm(f"{one}/norm1", f"{other}.norm1") | norm(f"{one}/norm2", f"{other}.norm2")
    return names


def _images(source: Source, vision: Source) -> ImagePreprocessing:
    """The section "preprocess_cfg"; its crops are torchvision's."""
    settings, sides = source.section("preprocess_cfg", {}), vision.height_width("image_size")
    settings.require("resize_mode", "shortest", "squash")
    settings.require("interpolation", *RESAMPLE)
    squash = settings.config.get("resize_mode") == "squash"
    if not squash and sides[0] != sides[1]:
        raise WeightsError(f"{settings.where}: images of {sides[0]} x {sides[1]} pixels need resize_mode = 'squash'")
    mean, deviation = (settings.config.get(name, default) for name, default in zip(("mean", "std"), CLIP))
    for name, colours in (("mean", mean), ("std", deviation)):
        numbers = isinstance(colours, list | tuple) and len(colours) == 3 and all(isinstance(x, int | float) for x in colours)
        if not numbers or (name == "std" and min(colours) <= 0):
            raise WeightsError(f"{settings.where}: {settings.file} has {name} = {shown(colours)}; it must be 3 numbers")
    resample = RESAMPLE[settings.config.get("interpolation", "bicubic")]
    rest = {"mean": tuple(mean), "deviation": tuple(deviation), "crop_start": round_half}
    return ImagePreprocessing(sides if squash else sides[0], resample, None if squash else sides, **rest)


def _texts(config: Source, module: TextTransformer) -> TextPreprocessing | None:
    """The tokenizer of the folder. Texts end at the end token, which by open_clip's "argmax" has the highest id."""
    pool, clean = config.string("pool_type"), config.section("tokenizer_kwargs", {}).config.get("clean")
    end = {"argmax": module.vocabulary - 1, "last": None}.get(pool, config.integer("eos_id", 2, minimum=0))
    found = TextPreprocessing.of(config, module.positions, end=end, attend_to_padding=pool == "last")
    return replace(found, rules=replace(found.rules, **CANONICAL)) if found and clean == "canonicalize" else found
