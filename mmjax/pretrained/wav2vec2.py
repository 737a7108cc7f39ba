"""wav2vec 2.0: transformers' Wav2Vec2Model, or the encoder of its models for tasks or pretraining."""

import numpy as np

from mmjax.encoders.wav2vec2 import Wav2Vec2
from mmjax.pretrained.audio import WaveformPreprocessing
from mmjax.pretrained.convert import Architecture, example_array
from mmjax.pretrained.files import WeightsError
from mmjax.pretrained.layout import CONV_TIME, SAME, BlockNames, Layout, Names, dense, norm
from mmjax.pretrained.source import Source
from mmjax.pretrained.whisper import CONV_ROW
from mmjax.types import Padded

__all__ = ["BLOCK", "HEADS", "LENGTHS", "wav2vec2"]

BLOCK = BlockNames(
    query="attention.q_proj",
    key="attention.k_proj",
    value="attention.v_proj",
    out="attention.out_proj",
    up="feed_forward.intermediate_dense",
    down="feed_forward.output_dense",
    norm1="layer_norm",
    norm2="final_layer_norm",
)
LENGTHS = Layout(lambda x: x.reshape(x.shape[-1]), lambda x: x.reshape(1, 1, -1))  # [1 1 k] <-> [k]
HEADS = (
    r"lm_head\..*",
    r"quantizer\..*",
    r"project_(hid|q)\..*",
    r"projector\..*",
    r"classifier\..*",
    r"layer_weights",
    r"tdnn\..*",  # of x-vectors, as are the next two
    r"feature_extractor\.(weight|bias)",
    r"objective\..*",
)


def wav2vec2(source: Source) -> Architecture:
    """The encoder. The heads of pretraining and tasks are not used, nor is the embedding of masked steps."""
    source.require("add_adapter", False)
    source.require("adapter_attn_dim", None)
    source.require("feat_extract_norm", "group", "layer")
    each_norm, bias = source.string("feat_extract_norm") == "layer", source.flag("conv_bias")
    widths, kernels, strides = (source.integers(f"conv_{name}", maximum=4096) for name in ("dim", "kernel", "stride"))
    if not len(widths) == len(kernels) == len(strides):
        raise WeightsError(f"{source.where}: config.json has conv_dim, conv_kernel and conv_stride of different lengths")
    module = Wav2Vec2(
        widths=widths,
        kernels=kernels,
        strides=strides,
        each_norm=each_norm,
        conv_bias=bias,
        pre_norm=source.flag("do_stable_layer_norm"),
        width=source.integer("hidden_size"),
        depth=source.layers("num_hidden_layers"),
        heads=source.integer("num_attention_heads"),
        hidden=source.integer("intermediate_size"),
        taps=source.integer("num_conv_pos_embeddings", maximum=4096),
        groups=source.integer("num_conv_pos_embedding_groups"),
        conv_activation=source.activation("feat_extract_activation"),
        activation=source.activation(),
        epsilon=source.positive("layer_norm_eps"),
        dropout=source.fraction("hidden_dropout"),
    )
    prefix = "wav2vec2." if "wav2vec2.encoder.layer_norm.weight" in source.tensors else ""
    positions = f"{prefix}encoder.pos_conv_embed.conv"
    new = f"{positions}.parametrizations.weight.original0" in source.tensors  # torch renamed the parts of weight_norm
    length, direction = (f"parametrizations.weight.original{n}" for n in "01") if new else ("weight_g", "weight_v")
    names: Names = {
        "params/positions/length": (f"{positions}.{length}", LENGTHS),
        "params/positions/direction": (f"{positions}.{direction}", CONV_TIME),
        "params/positions/bias": (f"{positions}.bias", SAME),
        **norm("params/frame_norm", f"{prefix}feature_projection.layer_norm"),
        **dense("params/projection", f"{prefix}feature_projection.projection"),
        **norm("params/norm", f"{prefix}encoder.layer_norm"),
    }
    for number in range(len(widths)):
        layer = f"{prefix}feature_extractor.conv_layers.{number}"
        names |= dense(f"params/conv{number}", f"{layer}.conv", bias, CONV_ROW)
        if each_norm or number == 0:
            names |= norm(f"params/conv_norm{number}", f"{layer}.layer_norm")
    for number in range(module.depth):
        names |= BLOCK.at(f"params/transformer/block{number}", f"{prefix}encoder.layers.{number}")
    wave = Padded(example_array(1, 16_000), np.array([16_000], np.int32))
    return Architecture(module, wave, names, WaveformPreprocessing.of(source), unused=(rf"{prefix}masked_spec_embed", *HEADS))
