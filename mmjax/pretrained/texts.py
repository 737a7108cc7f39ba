"""Text preprocessing of published encoders: the tokenizer beside their weights."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.pretrained.files import WeightsError
from mmjax.pretrained.source import Source
from mmjax.pretrained.tokenizer_files import (
    TokenizerRules,
    opened,
    read_rules,
    read_tokenizer,
    special_token,
    special_tokens,
    tokenizer_file,
)
from mmjax.types import Padded

__all__ = ["TextPreprocessing"]


@dataclass(frozen=True)
class TextPreprocessing:
    """Texts -> token ids by a tokenizer of the `tokenizers` library, special tokens included.

    file: tokenizer.json or vocab.txt. max_tokens: longer texts are truncated to it; special tokens count and are kept.
    padding: the id of padding. rules: of the original tokenizer. end: the id of the token that ends a text where it first
    occurs, as in CLIP's pooling; None for the last token. attend_to_padding: whether every text is padded to `max_tokens` and
    the encoder attends to the padding, as in SigLIP.
    """

    file: Path
    max_tokens: int
    padding: int = 0
    rules: TokenizerRules = TokenizerRules()
    end: int | None = None
    attend_to_padding: bool = False

    @staticmethod
    def of(
        source: Source, max_tokens: int, end: int | None = None, attend_to_padding: bool = False
    ) -> "TextPreprocessing | None":
        """The tokenizer of a folder of weights, None without a tokenizer.json or vocab.txt.

        max_tokens: the limit of the encoder; sentence_bert_config.json and tokenizer_config.json may lower it.
        """
        file = tokenizer_file(source.folder)
        if file is None:
            return None
        sentences, settings = source.settings("sentence_bert_config.json"), source.settings("tokenizer_config.json")
        sentences.require("do_lower_case", False, None)
        own_limit = sentences.integer("max_seq_length", max_tokens, maximum=inf)
        max_tokens = min(max_tokens, own_limit, settings.integer("model_max_length", max_tokens, maximum=inf))
        special = special_tokens(settings) if file.suffix == ".txt" else ()
        library = read_tokenizer(file, special)
        rules = read_rules(source, file, special, library)
        return TextPreprocessing(file, max_tokens, _padding(source, file, library), rules, end, attend_to_padding)

    @property
    def library(self) -> Any:
        """The tokenizer of the `tokenizers` library, read once for each version of the file."""
        status = self.file.stat()
        return opened(self.file, self.max_tokens, self.rules, (status.st_mtime_ns, status.st_size))

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


def _padding(source: Source, file: Path, library: Any) -> int:
    """The id of padding: that of pad_token in tokenizer_config.json; without it, of tokenizer.json, or of config.json."""
    settings = source.settings("tokenizer_config.json")
    token = special_token(settings, "pad_token", "[PAD]" if file.suffix == ".txt" else "")
    if not token:
        own = library.padding
        if own and own["direction"].lower() != "right":
            raise WeightsError(f"{source.where}: {file.name} pads on the {own['direction'].lower()}; only 'right' is supported")
        return own["pad_id"] if own else source.integer("pad_token_id", 0, minimum=0)
    number = library.token_to_id(token)
    if number is None:
        raise WeightsError(f"{source.where}: tokenizer_config.json has pad_token = {token!r}, which {file.name} lacks")
    return number
