"""A folder of weights as transformers writes one, tiny and random: BERT with a tokeniser."""

import json
from pathlib import Path

import jax
import numpy as np

from mmjax.pretrained.architectures import architecture_of
from mmjax.pretrained.files import write_arrays
from mmjax.pretrained.layout import theirs
from mmjax.pretrained.source import Source

CONFIG = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "vocab_size": 12,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "max_position_embeddings": 10,
    "type_vocab_size": 2,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "green", "frog", "two", "red", "cars", "of", "the"]


def random_tensors(seed: int = 0, config: dict = CONFIG) -> dict[str, np.ndarray]:
    """All tensors under BERT's names, drawn anew."""
    tensors = {"embeddings.word_embeddings.weight": np.zeros((12, 8), np.float32)}
    architecture = architecture_of(Source("tiny", config, tensors))
    shapes = jax.eval_shape(architecture.module.init, jax.random.key(0), architecture.given)
    random = np.random.default_rng(seed)
    variables = jax.tree.map(lambda leaf: random.normal(size=leaf.shape).astype(np.float32), shapes)
    return theirs(architecture.names, variables)


def bert_folder(folder: Path, seed: int = 0, **changes) -> Path:
    """config.json, model.safetensors and tokenizer.json. changes: to CONFIG."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG | changes))
    write_arrays(folder / "model.safetensors", random_tensors(seed, CONFIG | changes))
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder
