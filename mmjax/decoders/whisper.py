"""Whisper (Radford et al., 2023, "Robust speech recognition via large-scale weak supervision"): encoder and decoder."""

from collections.abc import Mapping

import flax.linen as nn
from jaxtyping import Array, Float, Int

from mmjax.decoders.transformer import Cache, Decoder
from mmjax.encoders.whisper import WhisperEncoder
from mmjax.types import Padded, Tokens

__all__ = ["Whisper"]


class Whisper(nn.Module):
    """{"frames": Padded [b n bands], "tokens": Padded of ids, x Int[b n]} -> next-token logits, Float[b n vocabulary].

    The parameters of each field are under its name, so the encoder also works alone:
    `whisper.encoder.apply({"params": params["encoder"]}, frames)`. For decoding (`nn.search`, `pretrained.transcribe`), call
    `encode`, then `init_cache`, then `step`; the latter two are those of `Decoder`.
    """

    encoder: WhisperEncoder
    decoder: Decoder

    def encode(self, frames: Padded, *, train: bool = False) -> Tokens:
        return self.encoder(frames, train=train)

    def init_cache(self, memory: Tokens, max_tokens: int, beams: int = 1) -> Cache:
        return self.decoder.init_cache(memory, max_tokens, beams)

    def step(self, ids: Int[Array, "b n"], cache: Cache) -> tuple[Float[Array, "b n vocabulary"], Cache]:
        return self.decoder.step(ids, cache)

    def __call__(self, inputs: Mapping[str, Padded], *, train: bool = False) -> Float[Array, "b n vocabulary"]:
        return self.decoder(inputs["tokens"], self.encoder(inputs["frames"], train=train), train=train)
