"""Whisper: transformers' WhisperModel and WhisperForConditionalGeneration, encoder and decoder."""

import numpy as np

from mmjax.decoders.transformer import Decoder
from mmjax.decoders.whisper import Whisper
from mmjax.encoders.whisper import WhisperEncoder
from mmjax.pretrained.audio import WhisperPreprocessing
from mmjax.pretrained.convert import Architecture, example_array
from mmjax.pretrained.layout import SAME, BlockNames, Layout, Names, dense, norm
from mmjax.pretrained.source import Source
from mmjax.types import Padded

__all__ = ["BLOCK", "CONV_ROW", "encoder_names", "whisper"]

BLOCK = BlockNames(
    query="self_attn.q_proj",
    key="self_attn.k_proj",
    value="self_attn.v_proj",
    out="self_attn.out_proj",
    up="fc1",
    down="fc2",
    norm1="self_attn_layer_norm",
    norm2="final_layer_norm",
    key_bias=False,
)
CONV_ROW = Layout(lambda x: x.transpose(2, 1, 0)[None], lambda x: x[0].transpose(2, 1, 0))  # [out in k] <-> [1 k in out]


def whisper(source: Source) -> Architecture:
    """Encoder and decoder. The encoder alone is `module.encoder` with `variables["params"]["encoder"]`."""
    activation = source.activation("activation_function")
    source.require("tie_word_embeddings", True)
    width, bands = source.integer("d_model"), source.integer("num_mel_bins", maximum=1024)
    sources, targets = source.integer("max_source_positions"), source.integer("max_target_positions")
    encoder = WhisperEncoder(
        positions=sources,
        width=width,
        depth=source.layers("encoder_layers"),
        heads=source.integer("encoder_attention_heads"),
        hidden=source.integer("encoder_ffn_dim"),
        activation=activation,
        dropout=source.fraction("dropout"),
    )
    decoder = Decoder(
        vocabulary=source.integer("vocab_size"),
        width=width,
        depth=source.layers("decoder_layers"),
        heads=source.integer("decoder_attention_heads"),
        hidden=source.integer("decoder_ffn_dim"),
        positions=targets,
        activation=activation,
        dropout=source.fraction("dropout"),
        key_bias=False,
    )
    length = np.array([2 * sources], np.int32)
    return Architecture(
        Whisper(encoder, decoder),
        {
            "frames": Padded(example_array(1, 2 * sources, bands), length),
            "tokens": Padded(np.zeros((1, 1), np.int32), np.ones(1, np.int32)),
        },
        _names(encoder, decoder, "model." if "model.encoder.conv1.weight" in source.tensors else ""),
        WhisperPreprocessing.of(source),
        unused=(r"proj_out\.weight",),
    )


def encoder_names(encoder: WhisperEncoder, theirs: str) -> Names:
    """The names of the encoder's parameters by the paths within it. theirs: its prefix, without a dot."""
    names: Names = {"position": (f"{theirs}.embed_positions.weight", SAME)}
    for conv in ("conv1", "conv2"):
        names |= dense(conv, f"{theirs}.{conv}", layout=CONV_ROW)
    for layer in range(encoder.depth):
        names |= BLOCK.at(f"transformer/block{layer}", f"{theirs}.layers.{layer}")
    return names | norm("norm", f"{theirs}.layer_norm")


def _names(encoder: WhisperEncoder, decoder: Decoder, prefix: str) -> Names:
    names = {f"params/encoder/{path}": entry for path, entry in encoder_names(encoder, f"{prefix}encoder").items()}
    ours, theirs = "params/decoder", f"{prefix}decoder"
    names[f"{ours}/word/embedding"] = (f"{theirs}.embed_tokens.weight", SAME)
    names[f"{ours}/position"] = (f"{theirs}.embed_positions.weight", SAME)
    for layer in range(decoder.depth):
        block, layer_of = f"{ours}/block{layer}", f"{theirs}.layers.{layer}"
        names |= BLOCK.at(block, layer_of) | norm(f"{block}/norm_cross", f"{layer_of}.encoder_attn_layer_norm")
        for part, name in (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj"), ("out", "out_proj")):
            names |= dense(f"{block}/cross/{part}", f"{layer_of}.encoder_attn.{name}", bias=part != "key")
    return names | norm(f"{ours}/norm", f"{theirs}.layer_norm")
