"""Decoders: (token ids, Tokens) -> next-token logits, with an explicit cache value."""

from mmjax.decoders.attention_lstm import AttentionLSTM, AttentionLSTMCache
from mmjax.decoders.transformer import Cache, Decoder
from mmjax.decoders.whisper import Whisper, whisper_base_decoder, whisper_prompt

__all__ = ["AttentionLSTM", "AttentionLSTMCache", "Cache", "Decoder", "Whisper", "whisper_base_decoder", "whisper_prompt"]
