"""BERT and its kin, with or without a prefix and a head: transformers' BertModel, so sentence encoders such as MiniLM too,
RoBERTa (Liu et al., 2019), XLM-R and CamemBERT in its shape, and DistilBERT (Sanh et al., 2019)."""

import numpy as np

from mmjax.encoders.bert import BERT
from mmjax.pretrained.files import WeightsError
from mmjax.pretrained.layout import SAME, Architecture, BlockNames, Names, norm
from mmjax.pretrained.source import Source
from mmjax.pretrained.texts import Texts
from mmjax.types import Padded

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
    """The encoder; its pooler and the heads of its pretraining are not used."""
    return _named(source, _module(source), "bert.", BLOCK, "encoder.layer")


def roberta(source: Source) -> Architecture:
    """The same; a word's position is its number among the words that are no padding, after the padding's own number. With
    padding at the end alone, as a Padded has it, that is its place."""
    return _named(source, _module(source, source.size("pad_token_id", least=0) + 1), "roberta.", BLOCK, "encoder.layer")


def distilbert(source: Source) -> Architecture:
    """The same without segments and pooler, under other names."""
    module = BERT(
        vocabulary=source.size("vocab_size"),
        width=source.size("dim"),
        depth=source.size("n_layers"),
        heads=source.size("n_heads"),
        hidden=source.size("hidden_dim"),
        positions=source.size("max_position_embeddings"),
        types=0,
        dropout=source.share("dropout"),
        activation=source.activation("activation"),
    )
    return _named(source, module, "distilbert.", DISTILLED, "transformer.layer")


def _module(source: Source, first: int = 0) -> BERT:
    source.must("position_embedding_type", "absolute")
    source.must("is_decoder", False)
    return BERT(
        vocabulary=source.size("vocab_size"),
        width=source.size("hidden_size"),
        depth=source.size("num_hidden_layers"),
        heads=source.size("num_attention_heads"),
        hidden=source.size("intermediate_size"),
        positions=source.size("max_position_embeddings"),
        first=first,
        types=source.size("type_vocab_size", least=0),
        dropout=source.share("hidden_dropout_prob"),
        activation=source.activation(),
        epsilon=source.positive("layer_norm_eps"),
    )


def _named(source: Source, module: BERT, prefix: str, block: BlockNames, layers: str) -> Architecture:
    """prefix: of all names where the weights are a model with a head. layers: what the blocks' names begin with, then."""
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
    if f"{embeddings}.LayerNorm.gamma" in source.tensors:  # as the first files name a norm's parameters
        names = {path: (_of_old(name), layout) for path, (name, layout) in names.items()}
    longest = module.positions - module.first
    if longest < 1:
        raise WeightsError(
            f"{source.where}: config.json has max_position_embeddings = {module.positions}, and with pad_token_id = "
            f"{module.first - 1} none is left for a word"
        )
    return Architecture(
        module,
        Padded(np.zeros((1, longest), np.int32), np.array([longest], np.int32)),
        names,
        Texts.of(source, longest),
        unused=(rf"{prefix}pooler\..*", rf"{prefix}embeddings\.(position|token_type)_ids", *HEADS),
    )


def _of_old(name: str) -> str:
    return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
