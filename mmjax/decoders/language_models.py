"""Published language models by size, without their weights. Each takes any other field of its module."""

import math
from typing import Any

from mmjax.decoders.gpt2 import GPT2
from mmjax.decoders.language_block import POST_NORMS, PRE_NORMS, QK_NORMS
from mmjax.decoders.language_model import LanguageModel
from mmjax.nn.attention import gelu_tanh
from mmjax.nn.rotary import Llama3Scaling, Rope

__all__ = [
    "gemma2_2b", "gemma3_1b", "gemma3_270m", "gpt2_small", "llama2_7b", "llama3_1_8b", "llama3_2_1b", "mistral_7b", "phi3_mini",
    "qwen2_0_5b", "qwen3_0_6b", "qwen3_32b", "smollm2_135m", "smollm2_360m",
]  # fmt: skip


def _model(values: dict[str, Any], fields: dict[str, Any]) -> LanguageModel:
    return LanguageModel(**{**values, **fields})


def smollm2_135m(**fields: Any) -> LanguageModel:
    """SmolLM2-135M (Ben Allal et al., 2025): 134.5 million parameters. Its weights are those of "smollm2-135m-instruct"."""
    sizes = {"vocabulary": 49_152, "width": 576, "depth": 30, "heads": 9, "kv_heads": 3, "hidden": 1536}
    return _model({**sizes, "rope": Rope(100_000.0), "positions": 8192, "prompt": (1,), "end": 2}, fields)


def smollm2_360m(**fields: Any) -> LanguageModel:
    """SmolLM2-360M (Ben Allal et al., 2025): 361.8 million parameters."""
    return smollm2_135m(**{"width": 960, "depth": 32, "heads": 15, "kv_heads": 5, "hidden": 2560, **fields})


def llama2_7b(**fields: Any) -> LanguageModel:
    """Llama 2 7B (Touvron et al., 2023): 6.74 billion parameters."""
    sizes = {"vocabulary": 32_000, "width": 4096, "depth": 32, "heads": 32, "kv_heads": 32, "hidden": 11_008, "tied": False}
    return _model({**sizes, "positions": 4096, "prompt": (1,), "end": 2}, fields)


def llama3_1_8b(**fields: Any) -> LanguageModel:
    """Llama 3.1 8B (Grattafiori et al., 2024): 8.03 billion parameters."""
    sizes = {"vocabulary": 128_256, "width": 4096, "depth": 32, "heads": 32, "kv_heads": 8, "hidden": 14_336, "tied": False}
    rope = Rope(500_000.0, scaling=Llama3Scaling(factor=8.0))
    return _model({**sizes, "rope": rope, "positions": 131_072, "prompt": (128_000,), "end": 128_001}, fields)


def llama3_2_1b(**fields: Any) -> LanguageModel:
    """Llama 3.2 1B: 1.24 billion parameters."""
    sizes = {"width": 2048, "depth": 16, "hidden": 8192, "tied": True}
    return llama3_1_8b(**{**sizes, "rope": Rope(500_000.0, scaling=Llama3Scaling(factor=32.0)), **fields})


def qwen2_0_5b(**fields: Any) -> LanguageModel:
    """Qwen2 0.5B and Qwen2.5 0.5B (Yang et al., 2024): 494 million parameters; biases of queries, keys and values."""
    sizes = {"vocabulary": 151_936, "width": 896, "depth": 24, "heads": 14, "kv_heads": 2, "hidden": 4864}
    values = {"rope": Rope(1e6), "biases": ("query", "key", "value"), "epsilon": 1e-6, "positions": 32_768}
    return _model({**sizes, **values, "prompt": (151_643,), "end": 151_643}, fields)


def qwen3_0_6b(**fields: Any) -> LanguageModel:
    """Qwen3 0.6B (Yang et al., 2025): 596 million parameters; norms of queries and keys instead of biases."""
    sizes = {"width": 1024, "depth": 28, "heads": 16, "kv_heads": 8, "head_width": 128, "hidden": 3072, "positions": 40_960}
    return qwen2_0_5b(**{**sizes, "norms": PRE_NORMS + QK_NORMS, "biases": (), **fields})


def qwen3_32b(**fields: Any) -> LanguageModel:
    """Qwen3 32B (Yang et al., 2025): 32.8 billion parameters."""
    sizes = {"width": 5120, "depth": 64, "heads": 64, "kv_heads": 8, "head_width": 128, "hidden": 25_600, "tied": False}
    return qwen3_0_6b(**{**sizes, **fields})


def mistral_7b(**fields: Any) -> LanguageModel:
    """Mistral 7B v0.1 (Jiang et al., 2023): 7.24 billion parameters; each block attends to the last 4096 tokens."""
    sizes = {"vocabulary": 32_000, "width": 4096, "depth": 32, "heads": 32, "kv_heads": 8, "hidden": 14_336, "tied": False}
    return _model({**sizes, "windows": (4096,), "positions": 32_768, "prompt": (1,), "end": 2}, fields)


def phi3_mini(**fields: Any) -> LanguageModel:
    """Phi-3 mini 4k (Abdin et al., 2024): 3.82 billion parameters."""
    sizes = {"vocabulary": 32_064, "width": 3072, "depth": 32, "heads": 32, "kv_heads": 32, "hidden": 8192, "tied": False}
    return _model({**sizes, "windows": (2047,), "positions": 4096, "prompt": (1,), "end": 32_000}, fields)


def gemma2_2b(**fields: Any) -> LanguageModel:
    """Gemma 2 2B (Gemma Team, 2024): 2.61 billion parameters; local and global blocks by turns, soft-capped logits."""
    sizes = {"vocabulary": 256_000, "width": 2304, "depth": 26, "heads": 8, "kv_heads": 4, "head_width": 256, "hidden": 9216}
    caps = {"attention_cap": 50.0, "logit_cap": 30.0, "query_scale": 1 / 16, "windows": (4096, None), "positions": 8192}
    return _model({**_gemma(2304), **sizes, **caps}, fields)


def gemma3_270m(**fields: Any) -> LanguageModel:
    """Gemma 3 270M (Gemma Team, 2025): 268 million parameters; five local blocks before each global one."""
    sizes = {"vocabulary": 262_144, "width": 640, "depth": 18, "heads": 4, "kv_heads": 1, "head_width": 256, "hidden": 2048}
    return _model({**_gemma(640), **sizes, **_GEMMA3, "positions": 32_768}, fields)


def gemma3_1b(**fields: Any) -> LanguageModel:
    """Gemma 3 1B (Gemma Team, 2025): 1.00 billion parameters."""
    sizes = {"width": 1152, "depth": 26, "hidden": 6912, "embedding_scale": math.sqrt(1152)}
    return gemma3_270m(**{**sizes, **fields})


_GEMMA3 = {
    "norms": PRE_NORMS + POST_NORMS + QK_NORMS,
    "query_scale": 1 / 16,
    "windows": (512,) * 5 + (None,),
    "rope": Rope(1e6),
    "local_rope": Rope(1e4),
}


def _gemma(width: int) -> dict[str, Any]:
    """What all Gemma models have in common."""
    values = {"activation": gelu_tanh, "norms": PRE_NORMS + POST_NORMS, "norm_offset": 1.0, "epsilon": 1e-6}
    return {**values, "embedding_scale": math.sqrt(width), "prompt": (2,), "end": 1}


def gpt2_small(**fields: Any) -> GPT2:
    """GPT-2 small (Radford et al., 2019): 124.4 million parameters."""
    sizes = {"vocabulary": 50_257, "width": 768, "depth": 12, "heads": 12, "positions": 1024}
    return GPT2(**{**sizes, "prompt": (50_256,), "end": 50_256, **fields})
