"""The tokenizer inside a GGUF file as a tokenizer of the `tokenizers` library: byte-level BPE ("gpt2") or SentencePiece's BPE
("llama"), as llama.cpp's names are."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.pretrained.files import WeightsError, shown
from mmjax.pretrained.gguf import GGUF, read_gguf
from mmjax.pretrained.sentence_piece import LONGEST, add_special, piece_bpe, surround

__all__ = ["SPLITS", "gguf_tokenizer", "tokenizer_config", "write_tokenizer"]

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SPLITS = {"gpt-2": None, "smollm": None, "llama-bpe": _WORDS % r"\p{N}{1,3}", "qwen2": _WORDS % r"\p{N}"}
"""tokenizer.ggml.pre -> the regular expression that splits a text into words; None for that of GPT-2."""


def gguf_tokenizer(file: Path) -> Any:
    """The tokenizer of a file, which adds the tokens before and after a text that the file wants. Raises WeightsError."""
    content = read_gguf(file)
    kind = content.get("tokenizer.ggml.model", str)
    if kind not in ("gpt2", "llama"):
        raise WeightsError(f"{file}: tokenizer.ggml.model is {shown(repr(kind), 60)}; supported are gpt2 and llama")
    tokens = content.get("tokenizer.ggml.tokens", list)
    if not tokens or not all(isinstance(token, str) and len(token) <= LONGEST for token in tokens):
        raise WeightsError(f"{file}: tokenizer.ggml.tokens must be strings of at most {LONGEST} characters")
    types = _numbers(content, "token_type", len(tokens))
    library = (_byte_level if kind == "gpt2" else _sentence_piece)(content, tokens, types)
    add_special(library, tokens, types)
    _add_template(library, content, tokens, kind == "llama")
    return library


def tokenizer_config(file: Path) -> dict[str, Any]:
    """The content of tokenizer_config.json: special tokens and, if there is one, the chat template."""
    content = read_gguf(file)
    tokens = content.get("tokenizer.ggml.tokens", list)
    config: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast"}
    for name, theirs in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding")):
        number = content.metadata.get(f"tokenizer.ggml.{theirs}_token_id")
        if isinstance(number, int) and 0 <= number < len(tokens):
            config[f"{name}_token"] = tokens[number]
    template = content.metadata.get("tokenizer.chat_template")
    return config | ({"chat_template": template} if template else {})


def write_tokenizer(file: Path, folder: Path) -> None:
    """Writes tokenizer.json and tokenizer_config.json for transformers."""
    gguf_tokenizer(file).save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config(file), indent=1))


def _numbers(content: GGUF, name: str, count: int) -> np.ndarray:
    """An array of one number for each token."""
    values = content.get(f"tokenizer.ggml.{name}", np.ndarray)
    if len(values) != count:
        raise WeightsError(f"{content.file}: tokenizer.ggml.{name} has {len(values):,} entries for {count:,} tokens")
    return values


def _byte_level(content: GGUF, tokens: list[str], types: np.ndarray) -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    del types
    kind = content.get("tokenizer.ggml.pre", str, "gpt-2")
    if kind not in SPLITS:
        raise WeightsError(f"{content.file}: tokenizer.ggml.pre is {shown(repr(kind), 60)}; supported are {', '.join(SPLITS)}")
    merges = content.get("tokenizer.ggml.merges", list)
    pairs = [tuple(merge.split(" ")) if isinstance(merge, str) else () for merge in merges]
    known = set(tokens)
    for merge, pair in zip(merges, pairs):
        if len(pair) != 2 or not known.issuperset((*pair, "".join(pair))):
            raise WeightsError(f"{content.file}: the merge {shown(merge, 60)!r} must be two tokens that give a third one")
    vocabulary = {token: number for number, token in enumerate(tokens)}
    library = Tokenizer(models.BPE(vocab=vocabulary, merges=pairs, ignore_merges=kind == "llama-bpe"))
    words = [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=SPLITS[kind] is None)]
    if kind == "smollm":
        words.insert(0, pre_tokenizers.Digits(individual_digits=True))
    if SPLITS[kind]:
        words.insert(0, pre_tokenizers.Split(Regex(SPLITS[kind]), "isolated"))
    library.pre_tokenizer = pre_tokenizers.Sequence(words)
    library.normalizer = normalizers.NFC() if kind == "qwen2" else None
    library.decoder = decoders.ByteLevel()
    return library


def _sentence_piece(content: GGUF, tokens: list[str], types: np.ndarray) -> Any:
    scores = _numbers(content, "scores", len(tokens))
    prefix = content.get("tokenizer.ggml.add_space_prefix", bool, True)
    return piece_bpe(tokens, types, scores, bytes_for_unknown=True, space_before=prefix)


def _add_template(library: Any, content: GGUF, tokens: list[str], by_default: bool) -> None:
    """The tokens before and after each text."""
    used = {}
    for name, default in (("bos", by_default), ("eos", False)):
        if content.get(f"tokenizer.ggml.add_{name}_token", bool, default):
            number = content.get(f"tokenizer.ggml.{name}_token_id", int)
            if not 0 <= number < len(tokens):
                raise WeightsError(f"{content.file}: {name}_token_id is {number}; it must be below {len(tokens)}")
            used[name] = tokens[number]
    surround(library, used.get("bos"), used.get("eos"))
