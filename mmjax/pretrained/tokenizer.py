"""The tokenizer of published weights, as a trainer for `mmjax.data`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

import numpy as np
from jaxtyping import Int

from mmjax.data.decode import DataError
from mmjax.pretrained import load_encoder
from mmjax.pretrained.texts import TextPreprocessing
from mmjax.types import Padded

__all__ = ["Published", "PublishedTokenizer"]


@dataclass(frozen=True)
class Published:
    """The tokenizer beside published weights, special tokens included; it learns nothing from the data.

    source: as in `mmjax.pretrained.load`.
    """

    source: str = "minilm"

    def train(self, texts: Iterable[str]) -> "PublishedTokenizer":
        """The texts are not used. Raises DataError if the weights come without a tokenizer."""
        del texts
        preprocessing = load_encoder(self.source).preprocessing
        if not isinstance(preprocessing, TextPreprocessing):
            raise DataError(f"Published.source: {self.source} comes without a tokenizer")
        return PublishedTokenizer(preprocessing)


@dataclass(frozen=True)
class PublishedTokenizer:
    """A `mmjax.data.text.Tokenizer` around the text preprocessing of published weights."""

    preprocessing: TextPreprocessing

    @property
    def library(self) -> Any:
        return self.preprocessing.library

    @property
    def vocabulary(self) -> int:
        return self.library.get_vocab_size()

    @property
    def end(self) -> int:
        """The id of padding."""
        return self.preprocessing.padding

    def ids(self, text: str) -> list[int]:
        """All token ids with the special ones; [] if the text has none of its own."""
        own = self.library.encode(text, add_special_tokens=False).ids
        return self.library.encode(text).ids if own else []

    def encode(self, text: str, max_tokens: int) -> Padded:
        """As `Tokenizer.encode`; a truncated text keeps its special tokens."""
        if max_tokens > self.preprocessing.max_tokens:
            limit = self.preprocessing.max_tokens
            raise DataError(f"max_tokens is {max_tokens}, but the published tokenizer truncates texts to {limit}")
        return replace(self.preprocessing, max_tokens=max_tokens).read(text)

    def text(self, ids: Sequence[int] | Int[np.ndarray, " n"]) -> str:
        """As `Tokenizer.text`, without special tokens."""
        return self.library.decode([int(token) for token in takewhile(lambda token: token >= 0, ids)])
