"""Audio Spectrogram Transformer: transformers' ASTModel, or the encoder of ASTForAudioClassification."""

import numpy as np

from mmjax.encoders.audio import AST
from mmjax.pretrained.audio import ASTPreprocessing
from mmjax.pretrained.convert import Architecture, example_array
from mmjax.pretrained.layout import CONV, POSITIONS, Layout, Names, dense, norm
from mmjax.pretrained.source import Source
from mmjax.pretrained.vit import VIT
from mmjax.types import Padded

__all__ = ["TWO_TOKENS", "ast"]

TWO_TOKENS = Layout(lambda x, y: np.concatenate([x[0], y[0]]), lambda x: (x[None, :1], x[None, 1:]))  # two [1 1 d] <-> [2 d]


def ast(source: Source) -> Architecture:
    """The classifier is not used: it reads the mean of the first two tokens through a norm of its own."""
    source.require("hidden_act", "gelu")
    source.require("qkv_bias", True)
    module = AST(
        bands=source.integer("num_mel_bins", maximum=1024),
        frames=source.integer("max_length", maximum=2**16),
        patch=source.integer("patch_size"),
        stride=(source.integer("frequency_stride"), source.integer("time_stride")),
        width=source.integer("hidden_size"),
        depth=source.layers("num_hidden_layers"),
        heads=source.integer("num_attention_heads"),
        hidden=source.integer("intermediate_size"),
        dropout=source.fraction("hidden_dropout_prob"),
        epsilon=source.positive("layer_norm_eps"),
    )
    prefix = "audio_spectrogram_transformer."
    prefix = prefix if f"{prefix}embeddings.cls_token" in source.tensors else ""
    embeddings = f"{prefix}embeddings"
    names: Names = {
        "params/first": ((f"{embeddings}.cls_token", f"{embeddings}.distillation_token"), TWO_TOKENS),
        "params/positions": (f"{embeddings}.position_embeddings", POSITIONS),
        **dense("params/patches", f"{embeddings}.patch_embeddings.projection", layout=CONV),
        **norm("params/norm", f"{prefix}layernorm"),
    }
    for layer in range(module.depth):
        names |= VIT.at(f"params/transformer/block{layer}", f"{prefix}encoder.layer.{layer}")
    frames = Padded(example_array(1, module.frames, module.bands), np.array([module.frames], np.int32))
    return Architecture(module, frames, names, ASTPreprocessing.of(source), unused=(r"classifier\..*",))
