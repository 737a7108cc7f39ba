"""Whisper (Radford et al., 2023, "Robust speech recognition via large-scale weak supervision"): encoder and decoder."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
from jaxtyping import Array, Float, Int

from mmjax.decoders.transformer import Cache, Decoder
from mmjax.encoders.whisper import WhisperEncoder
from mmjax.types import Padded, Tokens

__all__ = ["LANGUAGES", "Whisper", "whisper_base_decoder", "whisper_prompt"]

LANGUAGES = tuple(
    "en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu ta no th ur hr bg lt la mi ml cy "
    "sk te fa lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw gl mr pa si km sn yo so af oc ka be tg sd gu am yi lo "
    "uz fo ht ps tk nn mt sa lb my bo tl mg as tt haw ln ha ba jw su".split()
)
"""The languages of the multilingual models, in the order of their token ids."""


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


def whisper_prompt(language: str, task: str = "transcribe") -> tuple[int, ...]:
    """The token ids before every text without timestamps: start, language, task, no timestamps; of multilingual models.

    language: a code of `LANGUAGES`. task: "transcribe", or "translate" to English. Raises ValueError for others.
    """
    if language not in LANGUAGES:
        raise ValueError(f"whisper_prompt: language is {language!r}; the languages are {', '.join(LANGUAGES)}")
    if task not in ("transcribe", "translate"):
        raise ValueError(f"whisper_prompt: task is {task!r}; it must be transcribe or translate")
    return (50_258, 50_259 + LANGUAGES.index(language), {"translate": 50_358, "transcribe": 50_359}[task], 50_363)


def whisper_base_decoder(language: str, task: str = "transcribe", **fields: Any) -> Decoder:
    """The decoder of the multilingual base size (table 1): 52.0 million parameters. Its weights are those of "whisper-base".

    language, task: as in `whisper_prompt`. fields: any other field.
    """
    sizes = {"vocabulary": 51_865, "width": 512, "depth": 6, "heads": 8, "hidden": 2048, "positions": 448, "key_bias": False}
    return Decoder(**{**sizes, "prompt": whisper_prompt(language, task), "end": 50_257, **fields})
