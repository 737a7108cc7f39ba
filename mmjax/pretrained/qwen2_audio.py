"""Qwen2-Audio (Chu et al., 2024): Whisper's encoder before a language model. transformers' type "qwen2_audio"."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Int

from mmjax.decoders.interleaved import Interleaved
from mmjax.encoders.qwen_audio import QwenAudio, Recordings
from mmjax.encoders.whisper import WhisperEncoder
from mmjax.fusion.connectors import llava_linear
from mmjax.model import Multimodal
from mmjax.pretrained.audio import WhisperPreprocessing
from mmjax.pretrained.convert import Architecture, example_array
from mmjax.pretrained.image_prompts import Prompts, check_places, encoded, named_vectors, written_out
from mmjax.pretrained.layout import dense
from mmjax.pretrained.source import Source
from mmjax.pretrained.texts import TextPreprocessing
from mmjax.pretrained.vision_language import NamedModule, architecture, prefixes, text_part
from mmjax.pretrained.whisper import encoder_names
from mmjax.types import Batch, Padded

__all__ = ["DEFAULTS", "MARKER", "AudioPrompts", "qwen2_audio", "vectors_of"]

MARKER = "<|AUDIO|>"
DEFAULTS = {
    "num_mel_bins": 128, "encoder_layers": 32, "encoder_attention_heads": 20, "encoder_ffn_dim": 5120, "d_model": 1280,
    "max_source_positions": 1500, "activation_function": "gelu",
}  # fmt: skip
"""transformers' defaults of fields that published files may omit."""


def vectors_of(frames: int) -> int:
    """The number of vectors of a recording."""
    return (frames + 1) // 2 // 2


@dataclass(frozen=True)
class AudioPrompts:
    """{"text": a prompt with "<|AUDIO|>" for each recording, "audio": [(samples, Hz), ...]} -> ids and log-mel frames.

    placeholder: the token id of each vector. vocabulary: of the language model. slots: vectors of the longest recording. audio:
    recording -> frames. texts: the tokenizer; None if the weights came without.
    """

    placeholder: int
    vocabulary: int
    slots: int
    audio: WhisperPreprocessing
    texts: TextPreprocessing | None
    marker: str = MARKER

    def read(self, example: Mapping[str, Any]) -> tuple[list[Padded], Int[np.ndarray, " n"]]:
        """The waveforms and the token ids of one example. ValueError if markers and recordings differ in number, if the prompt
        is longer than the model's limit, or if the weights came without a tokenizer."""
        text, waves = example["text"], [self.audio.read(recording) for recording in example.get("audio", ())]
        check_places(text, self.marker, waves, "audio")
        counts = [vectors_of(-(-int(wave.length) // 160)) for wave in waves]
        vectors = [k * self.slots + number for k, count in enumerate(counts) for number in range(count)]
        written = written_out(text, self.marker, [self.marker * count for count in counts])
        return waves, named_vectors(encoded(self.texts, written), self.placeholder, vectors, self.vocabulary)

    def batch(self, examples: Iterable[Mapping[str, Any]]) -> Prompts:
        """Examples, each with any number of recordings -> the model's input, padded at the end."""
        waves, tokens = zip(*(self.read(example) for example in examples), strict=True)
        lengths = np.array([len(row) for row in tokens], np.int32)
        count = max(1, *map(len, waves))
        ids = np.zeros((len(tokens), max(lengths)), np.int32)
        x = np.zeros((len(tokens), count, 4 * self.slots, self.audio.bands), np.float32)
        frames = np.zeros((len(tokens), count), np.int32)
        for row, (own, words) in enumerate(zip(waves, tokens)):
            ids[row, : len(words)] = words
            for k, wave in enumerate(own):
                found = self.audio.finish(Padded(wave.x[None], wave.length[None]))
                x[row, k], frames[row, k] = found.x[0], found.length[0]
        present = {"audio": (frames > 0).any(axis=1)}
        batch = Batch({"audio": Recordings(x, frames)}, present, {}, np.ones(len(tokens), np.float32))
        return Prompts(batch, Padded(ids, lengths))


def qwen2_audio(source: Source) -> Architecture:
    """The vectors of a recording, one per 40 ms, stand in the text."""
    where = prefixes(source)
    text, texts = text_part(source, where)
    config = source.section("audio_config").with_defaults(DEFAULTS)
    config.require("scale_embedding", False)
    whisper = WhisperEncoder(
        positions=config.integer("max_source_positions"),
        width=config.integer("d_model"),
        depth=config.layers("encoder_layers"),
        heads=config.integer("encoder_attention_heads"),
        hidden=config.integer("encoder_ffn_dim"),
        activation=config.activation("activation_function"),
    )
    tower = "model.audio_tower" if "model.audio_tower.conv1.weight" in source.tensors else "audio_tower"
    parts = {
        "encoders_audio": NamedModule(QwenAudio(whisper), encoder_names(whisper, tower)),
        "fusion": NamedModule(llava_linear(text.module.width), dense("audio_dense0", f"{where.connector}linear")),
        "decoders_text": text,
    }
    language = Interleaved(text.module, text.module.prompt)
    encoder, connector = parts["encoders_audio"].module, parts["fusion"].module
    module = Multimodal({"audio": encoder}, connector, decoders={"text": language})
    bands = config.integer("num_mel_bins", maximum=1024)
    frames = 2 * whisper.positions
    if frames % 4:
        raise config.error("max_source_positions", "an even number")
    inputs = {"audio": Recordings(example_array(1, 1, frames, bands), np.full((1, 1), frames, np.int32))}
    sound = WhisperPreprocessing.of(replace(source, config={"num_mel_bins": bands}))
    sound = replace(sound, seconds=frames / 100, attend_to_padding=False)
    placeholder = source.integer("audio_token_index", 151_646)
    prompts = AudioPrompts(placeholder, text.module.vocabulary, frames // 4, sound, texts)
    return architecture(module, parts, inputs, prompts)
