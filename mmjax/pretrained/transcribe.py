"""Speech -> text, by a Whisper that `load` gave.

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
from mmjax.pretrained.files import read_json
from mmjax.pretrained.sounds import Sound, WhisperSound, at_rate, stacked
from mmjax.pretrained.source import Fields
from mmjax.types import Padded


@dataclass(frozen=True, eq=False)
class Transcriber:
    """Greedy decoding without timestamps; a longer sound is cut into pieces, each transcribed by itself, even within a word.

    weights: a Whisper's, loaded from a folder with tokenizer.json. language: spoken, such as "en", for models of many
    languages. seconds: of a piece. Whisper was trained on 30 alone; tiny.en hears short sentences as well in 10, at a tenth of
    the time, and repeats itself without end in 5. most: tokens of a piece's text. together: pieces decoded at once.
    """

    weights: Pretrained
    language: str = "en"
    seconds: float = 30.0
    most: int = 200
    together: int = 8

    def __call__(self, sounds: Iterable[Sound]) -> list[str]:
        """The text of each sound."""
        sounds, pieces, owner = list(sounds), [], []
        for number, sound in enumerate(sounds):
            wave = at_rate(sound, self.preprocessing.rate)
            for start in range(0, len(wave), self.preprocessing.samples):
                pieces.append(self.preprocessing.read((wave[start:], self.preprocessing.rate)))
                owner.append(number)
        silence = Padded(np.zeros(self.preprocessing.samples, np.float32), np.int32(0))
        texts = [""] * len(sounds)
        for first in range(0, len(pieces), self.together):
            some = pieces[first : first + self.together]
            batch = stacked(some + [silence] * (self.together - len(some)))  # one size, compiled once
            words = self._decode(self.weights.variables, batch)
            for number, numbers, length in zip(owner[first:], np.asarray(words.x), np.asarray(words.length)):
                texts[number] += self.tokeniser.decode(numbers[:length].tolist())
        return [" ".join(text.split()) for text in texts]

    @cached_property
    def preprocessing(self) -> WhisperSound:
        return replace(self.weights.preprocessing, seconds=self.seconds)

    @cached_property
    def tokeniser(self) -> Any:
        """Of the `tokenizers` library."""
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise ImportError("transcribing needs the tokenizers library: pip install 'mmjax[text]'") from error
        file = self.weights.folder / "tokenizer.json" if self.weights.folder else None
        if file is None or not file.is_file():
            raise WeightsError(f"{self.weights.folder}: no tokenizer.json; without it there is no text")
        try:
            return Tokenizer.from_file(str(file))
        except Exception as error:  # the library knows no other class
            raise WeightsError(f"{file}: not a tokeniser: {error}") from error

    def _number(self, token: str) -> int:
        number = self.tokeniser.token_to_id(token)
        if number is None:
            raise WeightsError(f"{self.weights.folder}: tokenizer.json has no {token}")
        return number

    @cached_property
    def prompt(self) -> list[int]:
        """What the decoder is given first (figure 1 of the paper); models of English alone know no language and no task."""
        many = self.weights.config["vocab_size"] >= 51_865
        task = [f"<|{self.language}|>", "<|transcribe|>"] if many else []
        return [self._number(token) for token in ("<|startoftranscript|>", *task, "<|notimestamps|>")]

    def _setting(self, name: str) -> list[int]:
        """Of generation_config.json, or of config.json, where earlier weights have it."""
        where = str(self.weights.folder)
        late = Fields(where, read_json(self.weights.folder / "generation_config.json"), file="generation_config.json")
        early = Fields(where, self.weights.config)
        given = [fields for fields in (late, early) if fields.config.get(name) not in (None, [])]
        return list(given[0].sizes(name, least=0)) if given else []

    @cached_property
    def _decode(self) -> Any:
        module, prompt, end = self.weights.module, self.prompt, self._number("<|endoftext|>")
        most = min(self.most, self.weights.config["max_target_positions"] - len(prompt))
        vocabulary = np.arange(self.weights.config["vocab_size"])
        never = np.isin(vocabulary, self._setting("suppress_tokens")) | (vocabulary > end)  # beyond it are marks and times
        at_first = never | np.isin(vocabulary, self._setting("begin_suppress_tokens"))

        def rule(logits, count):
            return jnp.where(jnp.where(count == 0, at_first, never)[None], -jnp.inf, logits)

        @jax.jit
        def decode(variables, batch):
            memory = module.apply(variables, self.preprocessing.finish(batch), method="encode")
            cache = module.apply(variables, memory, len(prompt) + most, method="begin")
            begun = jnp.tile(jnp.array(prompt, jnp.int32)[None], (batch.x.shape[0], 1))
            step = lambda words, cache: module.apply(variables, words, cache, method="step")
            return greedy(step, cache, begun, most, end, rule)

        return decode
