"""Texts -> the numbers of a published tokeniser, as it comes with weights."""

import re
import string
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.pretrained.files import WeightsError
from mmjax.pretrained.source import Fields, Source
from mmjax.types import Padded


@dataclass(frozen=True)
class Texts:
    """A tokeniser of the `tokenizers` library, special tokens included.

    file: tokenizer.json. most: tokens of each text that are kept, the special ones among them; the library cuts the others.
    padding: number that stands beyond a text's length. lower: whether letters are made small before all else, each by itself:
    the last sigma of a word is like all others. without: characters that are left out then, where there are any; spaces around
    the text go too, and of several one stays.
    end: number of the token with which a text ends where it first occurs, as CLIP's pooling has it; None for its last token.
    whole: every text is `most` tokens long, the padding counts as text, and the encoder attends to it, as SigLIP was trained.
    """

    file: Path
    most: int
    padding: int = 0
    lower: bool = False
    without: str = ""
    end: int | None = None
    whole: bool = False

    @staticmethod
    def of(source: Source, most: int, end: int | None = None, whole: bool = False) -> "Texts | None":
        """The tokeniser of a folder of weights, None where there is no tokenizer.json. most: tokens that the encoder can take;
        sentence_bert_config.json and tokenizer_config.json may say less."""
        file = source.folder / "tokenizer.json" if source.folder else None
        if file is None or not file.is_file():
            return None
        sentences, settings = source.settings("sentence_bert_config.json"), source.settings("tokenizer_config.json")
        sentences.must("do_lower_case", False, None)
        if whole:
            settings.must("padding_side", "right")
        most = min(most, sentences.size("max_seq_length", most), settings.size("model_max_length", most))
        # what the original's classes do and their files need not say
        kind = settings.text("tokenizer_class", "")
        lower = kind == "Siglip2Tokenizer" or (kind == "SiglipTokenizer" and settings.flag("do_lower_case", True))
        without = string.punctuation if kind == "SiglipTokenizer" else ""
        padding = _padding(source, file, settings)
        return Texts(file, most, padding, lower, without, end, whole)

    @property
    def library(self) -> Any:
        """The library's tokeniser, read once."""
        about = self.file.stat()
        return _opened(self.file, self.most, self.lower, self.without, (about.st_mtime_ns, about.st_size))

    def read(self, text: str) -> Padded:
        """One text -> Padded without the batch dimension: x int32 [most], length int32 []."""
        return self._padded(self.library.encode(text).ids, self.most)

    def _padded(self, numbers: list[int], size: int) -> Padded:
        x = np.full(size, self.padding, np.int32)
        x[: len(numbers)] = numbers
        length = numbers.index(self.end) + 1 if self.end in numbers else len(numbers)
        return Padded(x, np.int32(self.most if self.whole else length))

    def batch(self, texts: Iterable[str]) -> Padded:
        """Texts -> Padded x int32 [b n], length int32 [b], padded to the longest of them."""
        numbers = [encoding.ids for encoding in self.library.encode_batch(list(texts))]
        size = self.most if self.whole else max(map(len, numbers), default=0)
        rows = [self._padded(ids, size) for ids in numbers]
        x = np.array([row.x for row in rows], np.int32).reshape(len(rows), size)
        return Padded(x, np.array([row.length for row in rows], np.int32))

    def finish(self, batch: Padded) -> Padded:
        """What the encoder takes: the numbers as they are."""
        return batch


@lru_cache(maxsize=16)
def _opened(file: Path, most: int, lower: bool, without: str, about: tuple[int, int]) -> Any:
    """about: what changes when the file is written anew."""
    library = _read(file)
    library.no_padding()
    library.enable_truncation(most)
    if lower or without:
        library.normalizer = _normaliser(lower, without, library.normalizer)
    return library


def _normaliser(lower: bool, without: str, after: Any) -> Any:
    """Small letters, characters left out, and then what the file has."""
    from tokenizers import Regex, normalizers

    steps = [normalizers.Lowercase()] if lower else []
    if without:
        patterns = (f"[{re.escape(without)}]", ""), (r"\s+", " ")
        steps += [*(normalizers.Replace(Regex(pattern), to) for pattern, to in patterns), normalizers.Strip()]
    return normalizers.Sequence([*steps, *([after] if after else [])])


def _read(file: Path) -> Any:
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise ImportError("published tokenisers need the tokenizers library: pip install 'mmjax[text]'") from error
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the library knows no other class
        raise WeightsError(f"{file}: not a tokeniser: {error}") from error


def _padding(source: Source, file: Path, settings: Fields) -> int:
    """The number of the padding: of tokenizer_config.json's pad_token, else what tokenizer.json or config.json say."""
    if isinstance(settings.config.get("pad_token"), dict):  # a token with how it is split from what is around it
        token = settings.part("pad_token").text("content")
    else:
        token = settings.text("pad_token", "")
    if not token:
        return source.settings(file.name).part("padding", {}).size("pad_id", source.size("pad_token_id", 0, least=0), least=0)
    number = _read(file).token_to_id(token)
    if number is None:
        raise WeightsError(f"{source.where}: tokenizer_config.json has pad_token = {token!r}, which {file.name} does not know")
    return number
