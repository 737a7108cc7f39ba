"""Tiny GGUF files, written from ggml's description of the format, without our reader."""

import struct
from pathlib import Path

import numpy as np

STRING, ARRAY, UINT32, INT32, FLOAT32, BOOL, UINT64 = 8, 9, 4, 5, 6, 7, 10
SIZES = {2: 18, 3: 20, 6: 22, 7: 24, 8: 34}
"""Type -> bytes of a block of 32 numbers."""
WORDS = ["<unk>", "<s>", "</s>", "a", "b", "ab", "Ġ", "Ġab"]


def string(text) -> bytes:
    raw = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(raw)) + raw


def value(content) -> bytes:
    """The type and the bytes of a Python value."""
    if isinstance(content, bool):
        return struct.pack("<IB", BOOL, content)
    if isinstance(content, int):
        return struct.pack("<II", UINT32, content)
    if isinstance(content, float):
        return struct.pack("<If", FLOAT32, content)
    if isinstance(content, str):
        return struct.pack("<I", STRING) + string(content)
    if isinstance(content[0], str):
        return struct.pack("<IIQ", ARRAY, STRING, len(content)) + b"".join(map(string, content))
    kind, form = (FLOAT32, "f") if isinstance(content[0], float) else (INT32, "i")
    return struct.pack(f"<IIQ{len(content)}{form}", ARRAY, kind, len(content), *content)


def described(name: str, sizes, kind: int, offset: int) -> bytes:
    """sizes: the last axis first."""
    return string(name) + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, kind, offset)


def file_bytes(metadata: dict, tensors: dict[str, np.ndarray], kinds: dict[str, int] | None = None) -> bytes:
    """A file of float32 tensors. kinds: {name: type} of those whose rows are bytes of blocks of 32 numbers instead."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    head += b"".join(string(name) + value(content) for name, content in metadata.items())
    data = b""
    for name, x in tensors.items():
        kind = (kinds or {}).get(name, 0)
        head += described(name, (x.shape[1] // SIZES[kind] * 32, x.shape[0]) if kind else x.shape[::-1], kind, len(data))
        data += x.tobytes() if kind else x.astype("<f4").tobytes()
        data += bytes(-len(data) % 32)
    return head + bytes(-len(head) % 32) + data


def llama_parts(seed: int = 0) -> tuple[dict, dict[str, np.ndarray]]:
    """Metadata and tensors of a Llama with one block, width 8, and two heads."""
    random = np.random.default_rng(seed)
    sizes = {"embedding_length": 8, "block_count": 1, "feed_forward_length": 6, "context_length": 16}
    heads = {"attention.head_count": 2, "attention.head_count_kv": 1, "attention.layer_norm_rms_epsilon": 1e-5}
    tokens = {"model": "gpt2", "pre": "gpt-2", "tokens": WORDS, "token_type": [2, 3, 3, 1, 1, 1, 1, 1]}
    tokens |= {"merges": ["a b", "Ġ ab"], "bos_token_id": 1, "eos_token_id": 2, "add_bos_token": True}
    metadata = {"general.architecture": "llama"} | {f"llama.{name}": one for name, one in (sizes | heads).items()}
    metadata |= {f"tokenizer.ggml.{name}": one for name, one in tokens.items()}
    shapes = {"token_embd": (8, 8), "output_norm": (8,), "output": (8, 8)}
    block = {"attn_norm": (8,), "attn_q": (8, 8), "attn_k": (4, 8), "attn_v": (4, 8), "attn_output": (8, 8), "ffn_norm": (8,)}
    block |= {"ffn_gate": (6, 8), "ffn_up": (6, 8), "ffn_down": (8, 6)}
    shapes |= {f"blk.0.{name}": shape for name, shape in block.items()}
    return metadata, {f"{name}.weight": random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def written(folder: Path, content: bytes) -> Path:
    file = folder / "model.gguf"
    file.write_bytes(content)
    return file
