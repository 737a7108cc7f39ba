"""transformers' ViT and DINOv2, and the .npz files of ViT's authors (Steiner et al., 2022, "AugReg")."""

from typing import Any

from mmjax.encoders.vit import ViT
from mmjax.nn.attention import gelu_tanh
from mmjax.pretrained.convert import Architecture, example_array
from mmjax.pretrained.files import WeightsError
from mmjax.pretrained.images import BILINEAR, ImagePreprocessing
from mmjax.pretrained.layout import CLASS_TOKEN, POSITIONS, SAME, BlockNames, Layout, Names, dense, norm, patches
from mmjax.pretrained.source import Source

__all__ = ["ATTENTION", "DINO", "FLAT", "VIT", "augreg", "dinov2", "vit"]

ATTENTION = {part: f"attention.attention.{part}" for part in ("query", "key", "value")} | {"out": "attention.output.dense"}
VIT = BlockNames(**ATTENTION, up="intermediate.dense", down="output.dense", norm1="layernorm_before", norm2="layernorm_after")
DINO = BlockNames(**ATTENTION, up="mlp.fc1", down="mlp.fc2", norm1="norm1", norm2="norm2")


def vit(source: Source) -> Architecture:
    """ViTModel, or the encoder of ViTForImageClassification or ViTForMaskedImageModeling. The classifier is not used: it reads
    the class token, whereas ours reads the mean of all tokens. Nor are the pooler and the decoder of masked images."""
    return _transformers(source, "vit.", VIT, hidden=source.integer("intermediate_size"))


def dinov2(source: Source) -> Architecture:
    """Dinov2Model or Dinov2WithRegistersModel, or the encoder of their models for classification. Positions are interpolated
    for images of other sizes; pixels beyond the last whole patch are not used."""
    source.require("use_swiglu_ffn", False)
    hidden = int(source.integer("hidden_size") * source.positive("mlp_ratio", maximum=1000))
    sides = source.height_width("image_size")
    if sides[0] != sides[1]:
        raise WeightsError(f"{source.where}: config.json has image_size = {sides}; it must be a square")
    patch = source.height_width("patch_size")[0]
    if patch > sides[0]:
        raise source.error("patch_size", f"at most the image's side, {sides[0]}")
    kind = source.string("model_type")
    registers = source.integer("num_register_tokens", minimum=0, maximum=1024) if kind == "dinov2_with_registers" else 0
    fields = {"layer_scale": source.number("layerscale_value"), "grid": (sides[0] // patch,) * 2, "registers": registers}
    return _transformers(source, f"{kind}.", DINO, hidden, **fields)


def _transformers(source: Source, prefix: str, block: BlockNames, hidden: int, **fields: Any) -> Architecture:
    """ViT or DINOv2. prefix: of the encoder in a model with a head. fields: those of ViT in which the two differ."""
    source.require("qkv_bias", True)
    prefix = prefix if f"{prefix}embeddings.cls_token" in source.tensors else ""
    sides, patch = source.height_width("image_size"), source.height_width("patch_size")
    depth = source.layers("num_hidden_layers")
    if patch[0] != patch[1] or ("grid" not in fields and (sides[0] % patch[0] or sides[1] % patch[0])):
        raise WeightsError(f"{source.where}: config.json has patch_size = {patch}; it must be a square that divides {sides}")
    module = ViT(
        patch=patch[0],
        width=source.integer("hidden_size"),
        depth=depth,
        heads=source.integer("num_attention_heads"),
        hidden=hidden,
        dropout=source.fraction("hidden_dropout_prob"),
        epsilon=source.positive("layer_norm_eps"),
        activation=source.activation(),
        **fields,
    )
    names: Names = {
        "params/class_token": (f"{prefix}embeddings.cls_token", CLASS_TOKEN),
        "params/positions": (f"{prefix}embeddings.position_embeddings", POSITIONS),
        **dense("params/embed", f"{prefix}embeddings.patch_embeddings.projection", layout=patches(*patch)),
        **norm("params/norm", f"{prefix}layernorm"),
    }
    for layer in range(depth):
        ours, theirs = f"params/transformer/block{layer}", f"{prefix}encoder.layer.{layer}"
        names |= block.at(ours, theirs)
        if module.layer_scale is not None:
            names |= {f"{ours}/scale{number}": (f"{theirs}.layer_scale{number}.lambda1", SAME) for number in "12"}
    if module.registers:
        names["params/registers"] = (f"{prefix}embeddings.register_tokens", POSITIONS)
    image = example_array(1, *sides, source.integer("num_channels", 3))
    unused = (rf"{prefix}pooler\..*", rf"{prefix}embeddings\.mask_token", r"classifier\..*", r"decoder\..*")
    return Architecture(module, image, names, ImagePreprocessing.of(source), unused)


FLAT = Layout(lambda x: x.reshape(-1, x.shape[-1]), lambda x: x)


def _heads(heads: int) -> tuple[Layout, Layout, Layout]:
    """The layouts of kernels [d h k] and biases [h k] of query, key and value, and of output kernels [h k d], for h heads."""
    kernel = Layout(lambda x: x.reshape(x.shape[0], -1), lambda x: x.reshape(x.shape[0], heads, -1))
    bias = Layout(lambda x: x.reshape(-1), lambda x: x.reshape(heads, -1))
    out = Layout(lambda x: x.reshape(-1, x.shape[-1]), lambda x: x.reshape(heads, -1, x.shape[-1]))
    return kernel, bias, out


def augreg(source: Source) -> Architecture:
    """The arrays of google-research's vision_transformer; all sizes are read off them. The classifier is not used, see `vit`.

    GELU uses the tanh approximation, as in the original code. Images are resized to the square of the positions and scaled to
    [-1, 1]. Pillow antialiases when it shrinks an image; TensorFlow's resize in the original evaluation did not.
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
            raise WeightsError(f"{source.where}: {name} must exist with {axes} axes, since ViT's sizes are read off it")
    side, _, channels, width = shapes["embedding/kernel"]
    heads = shapes[f"{attention.format(0)}/query/kernel"][1]
    hidden = shapes[f"{mlp.format(0)}/Dense_0/kernel"][1]
    depth = sum(name.endswith("/LayerNorm_0/scale") for name in shapes)
    cells = round(max(0, shapes[positions][1] - 1) ** 0.5)
    kernel, bias, out = _heads(heads)
    embedding = Layout(FLAT.to_ours, lambda x: x.reshape(side, side, channels, width))
    names: Names = {
        "params/class_token": ("cls", CLASS_TOKEN),
        "params/positions": (positions, POSITIONS),
        "params/embed/kernel": ("embedding/kernel", embedding),
        "params/embed/bias": ("embedding/bias", SAME),
    }
    names |= _unchanged("params/norm", "Transformer/encoder_norm", "scale")
    for layer in range(depth):
        ours = f"params/transformer/block{layer}"
        for part in ("query", "key", "value"):
            theirs = f"{attention.format(layer)}/{part}"
            names[f"{ours}/attention/{part}/kernel"] = (f"{theirs}/kernel", kernel)
            names[f"{ours}/attention/{part}/bias"] = (f"{theirs}/bias", bias)
        names[f"{ours}/attention/out/kernel"] = (f"{attention.format(layer)}/out/kernel", out)
        names[f"{ours}/attention/out/bias"] = (f"{attention.format(layer)}/out/bias", SAME)
        for our_name, theirs, first in (
            ("norm1", f"{block}/LayerNorm_0", "scale"),
            ("norm2", f"{block}/LayerNorm_2", "scale"),
            ("up", f"{mlp}/Dense_0", "kernel"),
            ("down", f"{mlp}/Dense_1", "kernel"),
        ):
            names |= _unchanged(f"{ours}/{our_name}", theirs.format(layer), first)
    size = cells * side
    default = ImagePreprocessing((size, size), BILINEAR, None, mean=(0.5,) * 3, deviation=(0.5,) * 3)
    return Architecture(
        ViT(side, width, depth, heads, hidden, activation=gelu_tanh),
        example_array(1, size, size, channels),
        names,
        ImagePreprocessing.of(source) or default,
        unused=("head/.*", "pre_logits/.*"),
    )


def _unchanged(ours: str, theirs: str, first: str) -> Names:
    return {f"{ours}/{name}": (f"{theirs}/{name}", SAME) for name in (first, "bias")}
