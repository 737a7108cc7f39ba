"""BERT and its kin: transformers' BertModel, with or without a prefix and a head, so sentence encoders such as MiniLM too."""

import numpy as np

from mmjax.encoders.bert import BERT
from mmjax.pretrained.layout import SAME, Architecture, BlockNames, Names, norm
from mmjax.pretrained.source import Source
from mmjax.pretrained.texts import Texts
from mmjax.types import Sequence

BLOCK = BlockNames(
    query="attention.self.query",
    key="attention.self.key",
    value="attention.self.value",
    out="attention.output.dense",
    up="intermediate.dense",
    down="output.dense",
    norm1="attention.output.LayerNorm",
    norm2="output.LayerNorm",
)


def bert(source: Source) -> Architecture:
    """The encoder; its pooler and the heads of its pretraining are not used."""
    source.must("hidden_act", "gelu")
    source.must("position_embedding_type", "absolute")
    depth, positions = source.number("num_hidden_layers"), source.number("max_position_embeddings")
    module = BERT(
        vocabulary=source.number("vocab_size"),
        width=source.number("hidden_size"),
        depth=depth,
        heads=source.number("num_attention_heads"),
        hidden=source.number("intermediate_size"),
        positions=positions,
        types=source.number("type_vocab_size"),
        dropout=source.number("hidden_dropout_prob"),
        epsilon=source.number("layer_norm_eps"),
    )
    prefix = "bert." if "bert.embeddings.word_embeddings.weight" in source.tensors else ""
    embeddings = f"{prefix}embeddings"
    names: Names = {
        "params/word/embedding": (f"{embeddings}.word_embeddings.weight", SAME),
        "params/position": (f"{embeddings}.position_embeddings.weight", SAME),
        "params/type": (f"{embeddings}.token_type_embeddings.weight", SAME),
        **norm("params/norm", f"{embeddings}.LayerNorm"),
    }
    for layer in range(depth):
        names |= BLOCK.at(f"params/transformer/block{layer}", f"{prefix}encoder.layer.{layer}")
    return Architecture(
        module,
        Sequence(np.zeros((1, positions), np.int32), np.array([positions], np.int32)),
        names,
        Texts.of(source, positions),
        unused=(rf"{prefix}pooler\..*", rf"{prefix}embeddings\.position_ids", r"cls\..*"),
    )
