"""Audio Spectrogram Transformer: transformers' ASTModel, or the body of ASTForAudioClassification."""

import numpy as np

from mmjax.encoders.audio import AST
from mmjax.pretrained.layout import CONV, POSITIONS, Architecture, Layout, Names, dense, norm
from mmjax.pretrained.sounds import ASTSound
from mmjax.pretrained.source import Source
from mmjax.pretrained.vit import VIT
from mmjax.types import Padded

PAIR = Layout(lambda x, y: np.concatenate([x[0], y[0]]), lambda x: (x[None, :1], x[None, 1:]))  # two [1 1 d] <-> [2 d]


def ast(source: Source) -> Architecture:
    """Its classifier looks at the mean of the first two tokens through a norm of its own, and is not used."""
    source.must("hidden_act", "gelu")
    source.must("qkv_bias", True)
    module = AST(
        bands=source.size("num_mel_bins"),
        frames=source.size("max_length"),
        patch=source.size("patch_size"),
        stride=(source.size("frequency_stride"), source.size("time_stride")),
        width=source.size("hidden_size"),
        depth=source.size("num_hidden_layers"),
        heads=source.size("num_attention_heads"),
        hidden=source.size("intermediate_size"),
        dropout=source.share("hidden_dropout_prob"),
        epsilon=source.positive("layer_norm_eps"),
    )
    prefix = "audio_spectrogram_transformer."
    prefix = prefix if f"{prefix}embeddings.cls_token" in source.tensors else ""
    embeddings = f"{prefix}embeddings"
    names: Names = {
        "params/first": ((f"{embeddings}.cls_token", f"{embeddings}.distillation_token"), PAIR),
        "params/positions": (f"{embeddings}.position_embeddings", POSITIONS),
        **dense("params/patches", f"{embeddings}.patch_embeddings.projection", layout=CONV),
        **norm("params/norm", f"{prefix}layernorm"),
    }
    for layer in range(module.depth):
        names |= VIT.at(f"params/transformer/block{layer}", f"{prefix}encoder.layer.{layer}")
    frames = Padded(np.zeros((1, module.frames, module.bands), np.float32), np.array([module.frames], np.int32))
    return Architecture(module, frames, names, ASTSound.of(source), unused=(r"classifier\..*",))
