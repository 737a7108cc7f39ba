"""Folders of weights in their published formats, tiny and random: BERT, Llama, EfficientNet-Lite, Whisper."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mmjax.pretrained.architectures import architecture_of
from mmjax.pretrained.convert import to_tensors
from mmjax.pretrained.files import write_arrays
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


IMAGES = {
    "model_type": "efficientnet-lite",
    "stages": [[1, 3, 2, 1, 4], [1, 3, 1, 2, 4]],
    "stem": 4,
    "head": 6,
    "batch_norm_eps": 1e-3,
}
SPEECH = {
    "model_type": "whisper",
    "activation_function": "gelu",
    "d_model": 8,
    "num_mel_bins": 80,
    "max_source_positions": 200,
    "max_target_positions": 4,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 8,
    "decoder_ffn_dim": 8,
    "dropout": 0.0,
    "vocab_size": 5,
}


LANGUAGE = {
    "model_type": "llama",
    "hidden_act": "silu",
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10_000.0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "tie_word_embeddings": True,
}


def random_tensors(seed: int = 0, config: dict = CONFIG, known: Mapping[str, Any] = {}) -> dict[str, np.ndarray]:
    """Random tensors for a config under their published names; variances are positive. known: tensors that name the version."""
    architecture = architecture_of(Source("tiny", config, known))
    shapes = jax.eval_shape(architecture.module.init, jax.random.key(0), architecture.example_input)
    random = np.random.default_rng(seed)
    variables = jax.tree.map(lambda leaf: random.normal(size=leaf.shape).astype(np.float32), shapes)
    return {
        name: np.abs(x) + 0.5 if name.endswith("running_var") else x
        for name, x in to_tensors(architecture.names, variables).items()
    }


def image_folder(folder: Path) -> Path:
    """EfficientNet-Lite for images of 32 px."""
    settings = {
        "image_processor_type": "BitImageProcessor",
        "size": {"shortest_edge": 32},
        "crop_size": {"height": 32, "width": 32},
    }
    return _written(folder, IMAGES, {"preprocessor_config.json": settings})


def byte_tokenizer(*special: str) -> Any:
    """A tokenizer of bytes, after <pad>, <s>, </s> and these special tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    first = ["<pad>", "<s>", "</s>", *special]
    ids = {token: number for number, token in enumerate([*first, *alphabet])}
    library = Tokenizer(models.BPE(vocab=ids, merges=[]))
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    library.add_special_tokens(first)
    return library


def language_folder(folder: Path) -> Path:
    """Llama with a tokenizer of bytes."""
    library = byte_tokenizer()
    written = _written(folder, LANGUAGE | {"vocab_size": library.get_vocab_size()}, {})
    library.save(str(written / "tokenizer.json"))
    return written


def vision_language_folder(folder: Path) -> Path:
    """LLaVA for images of 8 px with a tokenizer of bytes; four vectors stand for an image."""
    library = byte_tokenizer("<image>")
    vision = {
        "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 8, "image_size": 8,
        "patch_size": 4,
    }  # fmt: skip
    text = LANGUAGE | {"vocab_size": library.get_vocab_size(), "max_position_embeddings": 256}
    config = {"model_type": "llava", "text_config": text, "vision_config": vision, "image_token_index": 3}
    size = {"size": {"shortest_edge": 8}, "crop_size": {"height": 8, "width": 8}, "image_processor_type": "CLIPImageProcessor"}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text(json.dumps(size))
    library.save(str(folder / "tokenizer.json"))
    empty = {"language_model.model.embed_tokens.weight": np.zeros(1)}
    write_arrays(folder / "model.safetensors", random_tensors(0, config, empty))
    return folder


def speech_folder(folder: Path) -> Path:
    """Whisper for recordings of at most 4 s."""
    return _written(folder, SPEECH, {"preprocessor_config.json": {"chunk_length": 4, "feature_size": 80}})


def whisper_folder(folder: Path) -> Path:
    """Multilingual Whisper with a tokenizer, for windows of 0.08 s; ids: words w0 to w9, special tokens, five timestamps."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

    names = "endoftext startoftranscript en cs translate transcribe startofprev nospeech notimestamps".split()
    config = SPEECH | {"max_source_positions": 4, "max_target_positions": 24, "vocab_size": 24}
    settings = {
        "is_multilingual": True,
        "suppress_tokens": [0],
        "begin_suppress_tokens": [1, 10],
        "max_initial_timestamp_index": 2,
    }
    files = {
        "preprocessor_config.json": {"chunk_length": 0.08, "feature_size": 80},
        "generation_config.json": settings,
    }
    _written(folder, config, files)
    tokenizer = Tokenizer(models.WordLevel({f"w{number}": number for number in range(10)}, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens([AddedToken(f"<|{name}|>", special=True) for name in names])
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def _written(folder: Path, config: dict, files: dict[str, dict], seed: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in {"config.json": config, **files}.items():
        (folder / name).write_text(json.dumps(content))
    write_arrays(folder / "model.safetensors", random_tensors(seed, config))
    return folder


def bert_folder(folder: Path, seed: int = 0, **changes) -> Path:
    """config.json, model.safetensors and tokenizer.json. changes: to CONFIG."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    _written(folder, CONFIG | changes, {}, seed)
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder
