"""Decoders: (token ids, Tokens) -> next-token logits, with an explicit cache value."""

from mmjax.decoders.attention_lstm import AttentionLSTM, AttentionLSTMCache
from mmjax.decoders.flamingo import Flamingo, FlamingoCache, LastImage
from mmjax.decoders.gpt2 import GPT2
from mmjax.decoders.interleaved import Interleaved, InterleavedCache, PrefixLM, both_ways_in_images
from mmjax.decoders.language_model import LanguageModel
from mmjax.decoders.language_models import (
    gemma2_2b,
    gemma3_1b,
    gemma3_270m,
    gpt2_small,
    llama2_7b,
    llama3_1_8b,
    llama3_2_1b,
    mistral_7b,
    phi3_mini,
    qwen2_0_5b,
    qwen3_0_6b,
    qwen3_32b,
    smollm2_135m,
    smollm2_360m,
)
from mmjax.decoders.prefix import LanguageCache, empty_prefix
from mmjax.decoders.transformer import Cache, Decoder
from mmjax.decoders.whisper import Whisper, whisper_base_decoder, whisper_prompt
from mmjax.decoders.wrappers import Factored, PackedDecoder

__all__ = [
    "GPT2", "AttentionLSTM", "AttentionLSTMCache", "Cache", "Decoder", "Factored", "Flamingo", "FlamingoCache",
    "Interleaved", "InterleavedCache", "LanguageCache", "LanguageModel", "LastImage", "PackedDecoder", "PrefixLM", "Whisper",
    "both_ways_in_images", "empty_prefix", "gemma2_2b", "gemma3_1b", "gemma3_270m", "gpt2_small", "llama2_7b", "llama3_1_8b",
    "llama3_2_1b", "mistral_7b", "phi3_mini", "qwen2_0_5b", "qwen3_0_6b", "qwen3_32b", "smollm2_135m", "smollm2_360m",
    "whisper_base_decoder", "whisper_prompt",
]  # fmt: skip
