"""Texts -> the numbers of a published tokeniser, as it comes with weights."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.pretrained.files import WeightsError
from mmjax.pretrained.source import Source
from mmjax.types import Sequence


@dataclass(frozen=True)
class Texts:
    """A tokeniser of the `tokenizers` library, special tokens included.

    file: tokenizer.json. most: tokens of each text that are kept, the special ones among them; the library cuts the others.
    padding: number that stands beyond a text's length.
    """

    file: Path
    most: int
    padding: int = 0

    @staticmethod
    def of(source: Source, most: int) -> "Texts | None":
        """The tokeniser of a folder of weights, None where there is no tokenizer.json."""
        file = source.folder / "tokenizer.json" if source.folder else None
        if file is None or not file.is_file():
            return None
        return Texts(file, most, source.config.get("pad_token_id") or 0)

    def _library(self) -> Any:
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise ImportError("published tokenisers need the tokenizers library: pip install 'mmjax[text]'") from error
        try:
            library = Tokenizer.from_file(str(self.file))
        except Exception as error:  # the library knows no other class
            raise WeightsError(f"{self.file}: not a tokeniser: {error}") from error
        library.no_padding()
        library.enable_truncation(self.most)
        return library

    def read(self, text: str) -> Sequence:
        """One text -> Sequence without the batch dimension: x int32 [most], length int32 []."""
        return self._padded(self._library().encode(text).ids, self.most)

    def _padded(self, numbers: list[int], size: int) -> Sequence:
        x = np.full(size, self.padding, np.int32)
        x[: len(numbers)] = numbers
        return Sequence(x, np.int32(len(numbers)))

    def batch(self, texts: Iterable[str]) -> Sequence:
        """Texts -> Sequence x int32 [b n], length int32 [b], padded to the longest of them."""
        numbers = [encoding.ids for encoding in self._library().encode_batch(list(texts))]
        rows = [self._padded(ids, max(map(len, numbers))) for ids in numbers]
        return Sequence(np.stack([row.x for row in rows]), np.stack([row.length for row in rows]))

    def finish(self, batch: Sequence) -> Sequence:
        """What the encoder takes: the numbers as they are."""
        return batch
