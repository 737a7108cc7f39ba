"""Texts as the token ids of a published language model: the tokenizer of `data.documents.Documents`.

    data = Documents(Wesnoth(languages=("en",)), column="english", document_tokenizer=LanguageText("smollm2-135m-instruct"))
    decoders = {"text": LoRA(smollm2_135m())}
    weights = {"decoders_text/base": "smollm2-135m-instruct"}
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from typing import Any

import numpy as np
from jaxtyping import Int

from mmjax.data.decode import DataError
from mmjax.types import Padded

__all__ = ["LanguageText", "LanguageTokenizer"]


@dataclass(frozen=True)
class LanguageText:
    """The tokenizer of a language model; it learns nothing from the data.

    source: as in `mmjax.pretrained.load`.
    """

    source: str = "smollm2-135m-instruct"

    def train(self, texts: Iterable[str]) -> "LanguageTokenizer":
        """The texts are not used. Raises DataError if the weights are not a language model's or come without a tokenizer."""
        del texts
        from mmjax.pretrained import load
        from mmjax.pretrained.texts import TextPreprocessing

        weights = load(self.source)
        module, preprocessing = weights.module, weights.preprocessing
        if not isinstance(preprocessing, TextPreprocessing) or not hasattr(module, "prompt"):
            raise DataError(f"LanguageText.source: {self.source} is not a language model with a tokenizer")
        return LanguageTokenizer(preprocessing.library.to_str(), module.vocabulary, module.end)


@dataclass(frozen=True)
class LanguageTokenizer:
    """A `mmjax.data.text.Tokenizer` without special tokens before or after the text, and without any change of the text.

    definition: the JSON of the tokenizer. vocabulary: number of token ids of the model. end: the id of its end token.
    """

    definition: str
    vocabulary: int
    end: int

    @cached_property
    def library(self) -> Any:
        """The `tokenizers.Tokenizer`."""
        from tokenizers import Tokenizer

        library = Tokenizer.from_str(self.definition)
        library.no_truncation()
        library.no_padding()
        return library

    def ids(self, text: str) -> list[int]:
        """As `Tokenizer.ids`."""
        return self.library.encode(text, add_special_tokens=False).ids

    def encode(self, text: str, max_tokens: int) -> Padded:
        """As `Tokenizer.encode`; padded with the end token."""
        ids = self.ids(text)[:max_tokens]
        x = np.full(max_tokens, self.end, np.int32)
        x[: len(ids)] = ids
        return Padded(x, np.int32(len(ids)))

    def text(self, ids: Sequence[int] | Int[np.ndarray, " n"]) -> str:
        """As `Tokenizer.text`, without special tokens."""
        return self.library.decode([int(number) for number in takewhile(lambda number: number >= 0, ids)])
