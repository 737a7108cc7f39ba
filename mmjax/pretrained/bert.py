"""BERT and related encoders, with or without a prefix and a head: transformers' BertModel (thus sentence encoders such as
MiniLM), RoBERTa (Liu et al., 2019), XLM-R and CamemBERT, and DistilBERT (Sanh et al., 2019)."""

import numpy as np

from mmjax.encoders.bert import BERT
from mmjax.pretrained.convert import Architecture
from mmjax.pretrained.files import WeightsError
from mmjax.pretrained.layout import SAME, BlockNames, Names, norm
from mmjax.pretrained.source import Source
from mmjax.pretrained.texts import TextPreprocessing
from mmjax.types import Padded

__all__ = ["BLOCK", "DISTILLED", "HEADS", "bert", "distilbert", "roberta"]

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
DISTILLED = BlockNames(
    query="attention.q_lin",
    key="attention.k_lin",
    value="attention.v_lin",
    out="attention.out_lin",
    up="ffn.lin1",
    down="ffn.lin2",
    norm1="sa_layer_norm",
    norm2="output_layer_norm",
)
HEADS = (r"cls\..*", r"lm_head\..*", r"vocab_.*", r"(pre_)?classifier\..*", r"qa_outputs\..*")


def bert(source: Source) -> Architecture:
    """The encoder; the pooler and the pretraining heads are not used."""
    return _named(source, _module(source), "bert.", BLOCK, "encoder.layer")


def roberta(source: Source) -> Architecture:
    """BERT's architecture; positions start after the id of the padding. The original counts positions over valid tokens only,
    which is the same, since a Padded has padding at the end only."""
    return _named(source, _module(source, source.integer("pad_token_id", minimum=0) + 1), "roberta.", BLOCK, "encoder.layer")


def distilbert(source: Source) -> Architecture:
    """BERT's architecture without segment embeddings and pooler, under other names."""
    module = BERT(
        vocabulary=source.integer("vocab_size"),
        width=source.integer("dim"),
        depth=source.layers("n_layers"),
        heads=source.integer("n_heads"),
        hidden=source.integer("hidden_dim"),
        positions=source.integer("max_position_embeddings"),
        types=0,
        dropout=source.fraction("dropout"),
        activation=source.activation("activation"),
    )
    return _named(source, module, "distilbert.", DISTILLED, "transformer.layer")


def _module(source: Source, first: int = 0) -> BERT:
    source.require("position_embedding_type", "absolute")
    source.require("is_decoder", False)
    return BERT(
        vocabulary=source.integer("vocab_size"),
        width=source.integer("hidden_size"),
        depth=source.layers("num_hidden_layers"),
        heads=source.integer("num_attention_heads"),
        hidden=source.integer("intermediate_size"),
        positions=source.integer("max_position_embeddings"),
        first=first,
        types=source.integer("type_vocab_size", minimum=0),
        dropout=source.fraction("hidden_dropout_prob"),
        activation=source.activation(),
        epsilon=source.positive("layer_norm_eps"),
    )


def _named(source: Source, module: BERT, prefix: str, block: BlockNames, layers: str) -> Architecture:
    """The architecture. prefix: of all names if the weights include a head. layers: prefix of the blocks' names after that."""
    prefix = prefix if f"{prefix}embeddings.word_embeddings.weight" in source.tensors else ""
    embeddings = f"{prefix}embeddings"
    names: Names = {
        "params/word/embedding": (f"{embeddings}.word_embeddings.weight", SAME),
        "params/position": (f"{embeddings}.position_embeddings.weight", SAME),
        **norm("params/norm", f"{embeddings}.LayerNorm"),
    }
    if module.types:
        names["params/type"] = (f"{embeddings}.token_type_embeddings.weight", SAME)
    for layer in range(module.depth):
        names |= block.at(f"params/transformer/block{layer}", f"{prefix}{layers}.{layer}")
    if f"{embeddings}.LayerNorm.gamma" in source.tensors:  # the names in the first published files
        names = {path: (_old_name(name), layout) for path, (name, layout) in names.items()}
    longest = module.positions - module.first
    if longest < 1:
        raise WeightsError(
            f"{source.where}: config.json has max_position_embeddings = {module.positions}; it must be at least "
            f"{module.first + 1}, since positions start after pad_token_id = {module.first - 1}"
        )
    return Architecture(
        module,
        Padded(np.zeros((1, longest), np.int32), np.array([longest], np.int32)),
        names,
        TextPreprocessing.of(source, longest),
        unused=(rf"{prefix}pooler\..*", rf"{prefix}embeddings\.(position|token_type)_ids", *HEADS),
    )


def _old_name(name: str) -> str:
    return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
