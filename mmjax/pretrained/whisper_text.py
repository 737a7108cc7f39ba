"""Texts as Whisper's token ids: targets for a Whisper decoder in an experiment.

    data = TextTarget(Fillets(), target="transcript", target_tokenizer=WhisperText())
    decoders = {"transcript": whisper_base_decoder("cs")}                    # its prompt holds language and task
    weights = {"encoders_speech": "whisper-base", "decoders_transcript": "whisper-base"}
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from typing import Any

import numpy as np
from jaxtyping import Int

from mmjax.data.decode import DataError
from mmjax.pretrained.tokenizer_files import read_tokenizer
from mmjax.types import Padded

__all__ = ["WhisperText", "WhisperTokenizer"]


@dataclass(frozen=True)
class WhisperText:
    """The tokenizer of a Whisper model; it learns nothing from the data.

    source: as in `mmjax.pretrained.load`.
    """

    source: str = "whisper-base"

    def train(self, texts: Iterable[str]) -> "WhisperTokenizer":
        """The texts are not used. Raises DataError if the weights are not Whisper's or come without a tokenizer.json."""
        del texts
        from mmjax.decoders.whisper import Whisper
        from mmjax.pretrained import load

        weights = load(self.source)
        file = weights.folder / "tokenizer.json" if weights.folder else None
        if not isinstance(weights.module, Whisper) or file is None or not file.is_file():
            raise DataError(f"WhisperText.source: {self.source} is not a Whisper model with a tokenizer.json")
        return WhisperTokenizer(read_tokenizer(file, ()).to_str(), weights.module.decoder.vocabulary)


@dataclass(frozen=True)
class WhisperTokenizer:
    """A `mmjax.data.text.Tokenizer`: a space before the text, as in Whisper's training, and no special tokens.

    definition: the JSON of the tokenizer. vocabulary: number of token ids of the model, special tokens and timestamps included.
    """

    definition: str
    vocabulary: int

    @cached_property
    def library(self) -> Any:
        """The `tokenizers.Tokenizer`."""
        from tokenizers import Tokenizer

        return Tokenizer.from_str(self.definition)

    @cached_property
    def end(self) -> int:
        """The id of <|endoftext|>."""
        return self.library.token_to_id("<|endoftext|>")

    def ids(self, text: str) -> list[int]:
        """As `Tokenizer.ids`."""
        text = text.strip()
        return self.library.encode(f" {text}", add_special_tokens=False).ids if text else []

    def encode(self, text: str, max_tokens: int) -> Padded:
        """As `Tokenizer.encode`; padded with the end token."""
        ids = self.ids(text)[:max_tokens]
        x = np.full(max_tokens, self.end, np.int32)
        x[: len(ids)] = ids
        return Padded(x, np.int32(len(ids)))

    def text(self, ids: Sequence[int] | Int[np.ndarray, " n"]) -> str:
        """As `Tokenizer.text`, without special tokens and timestamps."""
        kept = [int(number) for number in takewhile(lambda number: number >= 0, ids) if number < self.end]
        return self.library.decode(kept).strip()
