"""ViT and DINOv2 of transformers, and ViT's weights as its authors published them, an .npz (Steiner et al., 2022, "AugReg")."""

from typing import Any

import numpy as np

from mmjax.encoders.vit import ViT
from mmjax.nn.attention import gelu_tanh
from mmjax.pretrained.files import WeightsError
from mmjax.pretrained.layout import FIRST, POSITIONS, SAME, Architecture, BlockNames, Layout, Names, dense, norm, patches
from mmjax.pretrained.pictures import BILINEAR, Pictures
from mmjax.pretrained.source import Source

ATTENTION = {part: f"attention.attention.{part}" for part in ("query", "key", "value")} | {"out": "attention.output.dense"}
VIT = BlockNames(**ATTENTION, up="intermediate.dense", down="output.dense", norm1="layernorm_before", norm2="layernorm_after")
DINO = BlockNames(**ATTENTION, up="mlp.fc1", down="mlp.fc2", norm1="norm1", norm2="norm2")


def vit(source: Source) -> Architecture:
    """ViTModel, or the body of ViTForImageClassification, whose classifier looks at the first token alone; ours at the mean of
    all, so it is not used. Nor is the pooler."""
    return _transformers(source, "vit.", VIT, hidden=source.size("intermediate_size"))


def dinov2(source: Source) -> Architecture:
    """Dinov2Model, or the body of Dinov2ForImageClassification. Its positions fit pictures of any size, interpolated."""
    source.must("use_swiglu_ffn", False)
    hidden = int(source.size("hidden_size") * source.positive("mlp_ratio"))
    sides = source.sides("image_size")
    if sides[0] != sides[1]:
        raise WeightsError(f"{source.where}: config.json has image_size = {sides}; DINOv2's positions are those of a square")
    grid = tuple(side // source.sides("patch_size")[0] for side in sides)
    return _transformers(source, "dinov2.", DINO, hidden, layer_scale=source.number("layerscale_value"), grid=grid)


def _transformers(source: Source, prefix: str, block: BlockNames, hidden: int, **fields: Any) -> Architecture:
    """What both have in common. prefix: of the body in a model for a task; fields: of ViT, by which they differ."""
    source.must("qkv_bias", True)
    prefix = prefix if f"{prefix}embeddings.cls_token" in source.tensors else ""
    sides, patch, depth = source.sides("image_size"), source.sides("patch_size"), source.size("num_hidden_layers")
    if patch[0] != patch[1] or sides[0] % patch[0] or sides[1] % patch[0]:
        raise WeightsError(f"{source.where}: config.json has patch_size = {patch}; only squares that divide {sides} are known")
    module = ViT(
        patch=patch[0],
        width=source.size("hidden_size"),
        depth=depth,
        heads=source.size("num_attention_heads"),
        hidden=hidden,
        dropout=source.share("hidden_dropout_prob"),
        epsilon=source.positive("layer_norm_eps"),
        activation=source.activation(),
        **fields,
    )
    names: Names = {
        "params/class_token": (f"{prefix}embeddings.cls_token", FIRST),
        "params/positions": (f"{prefix}embeddings.position_embeddings", POSITIONS),
        **dense("params/embed", f"{prefix}embeddings.patch_embeddings.projection", layout=patches(*patch)),
        **norm("params/norm", f"{prefix}layernorm"),
    }
    for layer in range(depth):
        ours, theirs = f"params/transformer/block{layer}", f"{prefix}encoder.layer.{layer}"
        names |= block.at(ours, theirs)
        if module.layer_scale is not None:
            names |= {f"{ours}/scale{number}": (f"{theirs}.layer_scale{number}.lambda1", SAME) for number in "12"}
    picture = np.zeros((1, *sides, source.size("num_channels", 3)), np.float32)
    unused = (rf"{prefix}pooler\..*", rf"{prefix}embeddings\.mask_token", r"classifier\..*")
    return Architecture(module, picture, names, Pictures.of(source), unused)


FLAT = Layout(lambda x: x.reshape(-1, x.shape[-1]), lambda x: x)


def _heads(heads: int) -> tuple[Layout, Layout, Layout]:
    """Kernels [d h k] and biases [h k] of query, key and value, and kernels [h k d] of what follows; k is one head's width."""
    kernel = Layout(lambda x: x.reshape(x.shape[0], -1), lambda x: x.reshape(x.shape[0], heads, -1))
    bias = Layout(lambda x: x.reshape(-1), lambda x: x.reshape(heads, -1))
    out = Layout(lambda x: x.reshape(-1, x.shape[-1]), lambda x: x.reshape(heads, -1, x.shape[-1]))
    return kernel, bias, out


def augreg(source: Source) -> Architecture:
    """The arrays of google-research's vision_transformer; all sizes are read off them. Its classifier is not used, see `vit`.

    Their code has GELU by tanh. Pictures are resized to the square of the positions, by Pillow, which smooths where it makes
    them smaller, as TensorFlow's resize in their evaluation did not; and lie between -1 and 1.
    """
    shapes = {name: array.shape for name, array in source.tensors.items()}
    block, positions = "Transformer/encoderblock_{}", "Transformer/posembed_input/pos_embedding"
    attention, mlp = f"{block}/MultiHeadDotProductAttention_1", f"{block}/MlpBlock_3"
    needed = {
        "embedding/kernel": 4,
        positions: 3,
        f"{attention.format(0)}/query/kernel": 3,
        f"{mlp.format(0)}/Dense_0/kernel": 2,
    }
    for name, axes in needed.items():
        if len(shapes.get(name, ())) != axes:
            raise WeightsError(f"{source.where}: {name} must be there with {axes} axes, for ViT's sizes are read off it")
    side, _, channels, width = shapes["embedding/kernel"]
    heads = shapes[f"{attention.format(0)}/query/kernel"][1]
    hidden = shapes[f"{mlp.format(0)}/Dense_0/kernel"][1]
    depth = sum(name.endswith("/LayerNorm_0/scale") for name in shapes)
    cells = round((shapes[positions][1] - 1) ** 0.5)
    kernel, bias, out = _heads(heads)
    embedding = Layout(FLAT.ours, lambda x: x.reshape(side, side, channels, width))
    names: Names = {
        "params/class_token": ("cls", FIRST),
        "params/positions": (positions, POSITIONS),
        "params/embed/kernel": ("embedding/kernel", embedding),
        "params/embed/bias": ("embedding/bias", SAME),
    }
    names |= _as_is("params/norm", "Transformer/encoder_norm", "scale")
    for layer in range(depth):
        ours = f"params/transformer/block{layer}"
        for part in ("query", "key", "value"):
            theirs = f"{attention.format(layer)}/{part}"
            names[f"{ours}/attention/{part}/kernel"] = (f"{theirs}/kernel", kernel)
            names[f"{ours}/attention/{part}/bias"] = (f"{theirs}/bias", bias)
        names[f"{ours}/attention/out/kernel"] = (f"{attention.format(layer)}/out/kernel", out)
        names[f"{ours}/attention/out/bias"] = (f"{attention.format(layer)}/out/bias", SAME)
        for mine, theirs, first in (
            ("norm1", f"{block}/LayerNorm_0", "scale"),
            ("norm2", f"{block}/LayerNorm_2", "scale"),
            ("up", f"{mlp}/Dense_0", "kernel"),
            ("down", f"{mlp}/Dense_1", "kernel"),
        ):
            names |= _as_is(f"{ours}/{mine}", theirs.format(layer), first)
    size = cells * side
    return Architecture(
        ViT(side, width, depth, heads, hidden, activation=gelu_tanh),
        np.zeros((1, size, size, channels), np.float32),
        names,
        Pictures.of(source) or Pictures((size, size), BILINEAR, None, mean=(0.5,) * 3, deviation=(0.5,) * 3),
        unused=("head/.*", "pre_logits/.*"),
    )


def _as_is(ours: str, theirs: str, first: str) -> Names:
    return {f"{ours}/{name}": (f"{theirs}/{name}", SAME) for name in (first, "bias")}
