"""Text preprocessing of published encoders: the tokenizer beside their weights."""

import re
import string
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.pretrained.files import WeightsError
from mmjax.pretrained.source import Settings, Source
from mmjax.types import Padded


@dataclass(frozen=True)
class TextPreprocessing:
    """Texts -> token ids by a tokenizer of the `tokenizers` library, special tokens included.

    file: tokenizer.json. max_tokens: longer texts are truncated to it; special tokens count and are kept. padding: the id of
    padding. lower: whether text is lowercased first, character by character, so that a final sigma is not special. removed:
    characters that are then removed; if there are any, spaces around the text are removed and runs of spaces become one.
    end: the id of the token that ends a text where it first occurs, as in CLIP's pooling; None for the last token.
    attend_to_padding: whether every text is padded to `max_tokens` and the encoder attends to the padding, as in SigLIP.
    """

    file: Path
    max_tokens: int
    padding: int = 0
    lower: bool = False
    removed: str = ""
    end: int | None = None
    attend_to_padding: bool = False

    @staticmethod
    def of(
        source: Source, max_tokens: int, end: int | None = None, attend_to_padding: bool = False
    ) -> "TextPreprocessing | None":
        """The tokenizer of a folder of weights, None without a tokenizer.json.

        max_tokens: the limit of the encoder; sentence_bert_config.json and tokenizer_config.json may lower it.
        """
        file = source.folder / "tokenizer.json" if source.folder else None
        if file is None or not file.is_file():
            return None
        sentences, settings = source.settings("sentence_bert_config.json"), source.settings("tokenizer_config.json")
        sentences.require("do_lower_case", False, None)
        if attend_to_padding:
            settings.require("padding_side", "right")
        limits = sentences.integer("max_seq_length", max_tokens), settings.integer("model_max_length", max_tokens)
        # The original tokenizer classes lowercase and remove punctuation in code; their files need not say so.
        kind = settings.string("tokenizer_class", "")
        lower = kind == "Siglip2Tokenizer" or (kind == "SiglipTokenizer" and settings.flag("do_lower_case", True))
        removed = string.punctuation if kind == "SiglipTokenizer" else ""
        padding = _padding(source, file, settings)
        return TextPreprocessing(file, min(max_tokens, *limits), padding, lower, removed, end, attend_to_padding)

    @property
    def library(self) -> Any:
        """The tokenizer of the `tokenizers` library, read once for each version of the file."""
        status = self.file.stat()
        return _opened(self.file, self.max_tokens, self.lower, self.removed, (status.st_mtime_ns, status.st_size))

    def read(self, text: str) -> Padded:
        """One text -> x int32 [max_tokens], length int32 []."""
        return self._padded(self.library.encode(text).ids, self.max_tokens)

    def _padded(self, ids: list[int], size: int) -> Padded:
        x = np.full(size, self.padding, np.int32)
        x[: len(ids)] = ids
        length = ids.index(self.end) + 1 if self.end in ids else len(ids)
        return Padded(x, np.int32(self.max_tokens if self.attend_to_padding else length))

    def batch(self, texts: Iterable[str]) -> Padded:
        """Texts -> x int32 [b n], length int32 [b], padded to the longest of them."""
        encoded = [encoding.ids for encoding in self.library.encode_batch(list(texts))]
        size = self.max_tokens if self.attend_to_padding else max(map(len, encoded), default=0)
        rows = [self._padded(ids, size) for ids in encoded]
        x = np.array([row.x for row in rows], np.int32).reshape(len(rows), size)
        return Padded(x, np.array([row.length for row in rows], np.int32))

    def finish(self, batch: Padded) -> Padded:
        """The identity: token ids are the encoder's input."""
        return batch


@lru_cache(maxsize=16)
def _opened(file: Path, max_tokens: int, lower: bool, removed: str, version: tuple[int, int]) -> Any:
    """The tokenizer of a file, cached. version: changes when the file is written again."""
    library = _read(file)
    library.no_padding()
    library.enable_truncation(max_tokens)
    if lower or removed:
        library.normalizer = _normaliser(lower, removed, library.normalizer)
    return library


def _normaliser(lower: bool, removed: str, own: Any) -> Any:
    """Lowercasing, then removal of characters, then the file's own normaliser."""
    from tokenizers import Regex, normalizers

    steps = [normalizers.Lowercase()] if lower else []
    if removed:
        patterns = (f"[{re.escape(removed)}]", ""), (r"\s+", " ")
        steps += [*(normalizers.Replace(Regex(pattern), to) for pattern, to in patterns), normalizers.Strip()]
    return normalizers.Sequence([*steps, *([own] if own else [])])


def _read(file: Path) -> Any:
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise ImportError("published tokenizers need the tokenizers library: pip install 'mmjax[text]'") from error
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises plain Exceptions
        raise WeightsError(f"{file}: not a tokenizer: {error}") from error


def _padding(source: Source, file: Path, settings: Settings) -> int:
    """The id of padding: that of pad_token in tokenizer_config.json; without it, of tokenizer.json, or of config.json."""
    if isinstance(settings.config.get("pad_token"), dict):  # the token with its own splitting rules
        token = settings.section("pad_token").string("content")
    else:
        token = settings.string("pad_token", "")
    if not token:
        default = source.integer("pad_token_id", 0, minimum=0)
        return source.settings(file.name).section("padding", {}).integer("pad_id", default, minimum=0)
    number = _read(file).token_to_id(token)
    if number is None:
        raise WeightsError(f"{source.where}: tokenizer_config.json has pad_token = {token!r}, which {file.name} lacks")
    return number
