"""Speech -> text by a Whisper model from `load`.

transcribe = Transcriber(load("whisper-tiny.en"))
(text,) = transcribe([(samples, 16_000)])
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.nn.search import greedy
from mmjax.pretrained import Pretrained, WeightsError
from mmjax.pretrained.audio import Recording, WhisperPreprocessing, at_rate, stack_waves
from mmjax.pretrained.files import read_json
from mmjax.pretrained.source import Settings
from mmjax.pretrained.tokenizer_files import read_tokenizer
from mmjax.types import Padded

__all__ = ["Transcriber"]


@dataclass(frozen=True, eq=False)
class Transcriber:
    """Greedy decoding without timestamps. Longer recordings are cut into chunks that are transcribed independently.

    weights: a Whisper model from a folder with tokenizer.json. language: of the speech, such as "en", for multilingual models.
    seconds: length of a chunk; chunks may end within a word. Whisper was trained on 30 s only. tiny.en transcribes short
    sentences equally well with 10 s, ten times faster, and repeats itself endlessly with 5 s. max_tokens: per chunk.
    batch_size: chunks decoded at once.
    """

    weights: Pretrained
    language: str = "en"
    seconds: float = 30.0
    max_tokens: int = 200
    batch_size: int = 8

    def __call__(self, recordings: Iterable[Recording]) -> list[str]:
        """The text of each recording."""
        recordings, chunks, owner = list(recordings), [], []
        for number, recording in enumerate(recordings):
            wave = at_rate(recording, self.preprocessing.rate)
            for start in range(0, len(wave), self.preprocessing.samples):
                chunks.append(self.preprocessing.read((wave[start:], self.preprocessing.rate)))
                owner.append(number)
        silence = Padded(np.zeros(self.preprocessing.samples, np.float32), np.int32(0))
        texts = [""] * len(recordings)
        for first in range(0, len(chunks), self.batch_size):
            part = chunks[first : first + self.batch_size]
            batch = stack_waves(part + [silence] * (self.batch_size - len(part)))  # a fixed shape, compiled once
            tokens = self._decode(self.weights.variables, batch)
            for number, ids, length in zip(owner[first:], np.asarray(tokens.x), np.asarray(tokens.length)):
                texts[number] += self.tokenizer.decode(ids[:length].tolist())
        return [" ".join(text.split()) for text in texts]

    @cached_property
    def preprocessing(self) -> WhisperPreprocessing:
        return replace(self.weights.preprocessing, seconds=self.seconds)

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer of the `tokenizers` library."""
        file = self.weights.folder / "tokenizer.json" if self.weights.folder else None
        if file is None or not file.is_file():
            raise WeightsError(f"{self.weights.folder}: transcription needs a tokenizer.json")
        return read_tokenizer(file, ())

    def _id(self, token: str) -> int:
        number = self.tokenizer.token_to_id(token)
        if number is None:
            raise WeightsError(f"{self.weights.folder}: tokenizer.json has no {token}")
        return number

    @cached_property
    def prompt(self) -> list[int]:
        """The first token ids of the decoder (figure 1 of the paper). English-only models have no language and no task."""
        multilingual = self.weights.config["vocab_size"] >= 51_865
        task = [f"<|{self.language}|>", "<|transcribe|>"] if multilingual else []
        return [self._id(token) for token in ("<|startoftranscript|>", *task, "<|notimestamps|>")]

    def _setting(self, name: str) -> list[int]:
        """A list of token ids from generation_config.json, or from config.json in older files."""
        where = str(self.weights.folder)
        newer = Settings(where, read_json(self.weights.folder / "generation_config.json"), file="generation_config.json")
        older = Settings(where, self.weights.config)
        found = [settings for settings in (newer, older) if settings.config.get(name) not in (None, [])]
        return list(found[0].integers(name, minimum=0)) if found else []

    @cached_property
    def _decode(self) -> Any:
        module, prompt, end = self.weights.module, self.prompt, self._id("<|endoftext|>")
        max_tokens = min(self.max_tokens, self.weights.config["max_target_positions"] - len(prompt))
        ids = np.arange(self.weights.config["vocab_size"])
        never = np.isin(ids, self._setting("suppress_tokens")) | (ids > end)  # ids beyond the end are marks and timestamps
        not_first = never | np.isin(ids, self._setting("begin_suppress_tokens"))

        def rule(logits, generated, count):
            del generated
            return jnp.where(jnp.where(count == 0, not_first, never)[None], -jnp.inf, logits)

        @jax.jit
        def decode(variables, batch):
            memory = module.apply(variables, self.preprocessing.finish(batch), method="encode")
            cache = module.apply(variables, memory, len(prompt) + max_tokens, method="init_cache")
            start = jnp.tile(jnp.array(prompt, jnp.int32)[None], (batch.x.shape[0], 1))
            step = lambda tokens, cache: module.apply(variables, tokens, cache, method="step")
            return greedy(step, cache, start, max_tokens, end, rule)

        return decode
