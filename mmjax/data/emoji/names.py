"""Emoji and their names in many languages, for retrieval: concepts and an artist are held out, and languages if wanted."""

import dataclasses
import hashlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.data.dataset import Dataset, Rows, identity
from mmjax.data.emoji.fields import check_fields
from mmjax.data.emoji.table import Drawings, EmojiTable, Texts, column, emoji_table
from mmjax.data.image import to_unit
from mmjax.data.inputs import ImageInput, TextInput
from mmjax.data.scale import MAX_ITEMS, standardized
from mmjax.data.splits import grouped_folds, train_validation_test
from mmjax.data.text import BPE, TokenizerTrainer

__all__ = ["EmojiNames"]


@dataclasses.dataclass(frozen=True)
class EmojiNames:
    """Modalities "image" and "text": a row is an emoji in one artist's drawing with its name in one language.

    Target: "item", Int[n], the number of the emoji, for losses with several positives. Metadata: "id", the emoji's code, which
    rows of one emoji share; "text"; "keywords", the English keywords of CLDR; "language"; "style"; "category". Flags and emoji
    without an English name are left out.

    image_size: pixels per side. styles, languages: of the training and validation rows. test_styles, test_languages: of the
    test rows. tokenizer: trained on the training names. max_tokens: longer names are truncated. folds, fold, split_seed:
    grouped, stratified k-fold over the emoji by category; fold `fold` is the test split, the next one validation. A group has
    the variants of one concept (`mmjax.data.emoji.groups`). root: a folder with the five packages; None: fetched.
    Raises DataError, naming the field, for an invalid value.
    """

    image_size: int = 40
    styles: tuple[str, ...] = ("google", "twitter")
    test_styles: tuple[str, ...] = ("openmoji",)
    languages: tuple[str, ...] = ("de", "en", "es", "fr", "it", "nl", "pl", "pt", "ru", "zh")
    test_languages: tuple[str, ...] = ("de", "en", "es", "fr", "it", "ja", "nl", "pl", "pt", "ru", "tr", "zh")
    tokenizer: TokenizerTrainer = BPE(4000)
    max_tokens: int = 16
    folds: int = 5
    fold: int = 0
    split_seed: int = 0
    root: Path | None = None

    def __post_init__(self):
        check_fields(self, {"image_size": (1, 1024), "max_tokens": (1, 1024)})

    def at_fold(self, fold: int) -> "EmojiNames":
        """The same data with this test fold. Ids and groups do not depend on it."""
        return dataclasses.replace(self, fold=fold)

    def load(self) -> Dataset:
        """Reads the packages, makes the splits, and fits tokenizer and z-scores on the training split."""
        table = emoji_table(self.root)
        english = table.names("en")
        used = np.array([i for i, one in enumerate(table.emoji) if english[i].name and one.category != "Flags"])
        category = np.unique([table.emoji[i].category for i in used], return_inverse=True)[1]
        folds = grouped_folds(table.group[used], category, self.folds, self.split_seed)
        items = {split: used[at] for split, at in train_validation_test(folds, self.fold).items()}
        texts = Texts(table, used, self.languages + self.test_languages, False)
        drawings = Drawings(table, used, self.styles + self.test_styles)
        rows, metadata = {}, {}
        for split, at in items.items():
            rows[split], metadata[split] = self._rows(table, texts, drawings, at, split == "test")
        tokenizer = self.tokenizer.train(metadata["train"]["text"].tolist())
        image, text = ImageInput(self.image_size), TextInput(tokenizer, self.max_tokens)
        columns = {
            "image": column(drawings, image, to_unit, _digest(table, ["image", *drawings.styles, *map(str, used)])),
            "text": column(texts, text, identity, _digest(table, ["text", *texts.all])),
        }
        columns["image"] = standardized(columns["image"], rows["train"].pointer["image"], MAX_ITEMS)
        long = sum(len(tokenizer.ids(one)) > self.max_tokens for one in texts.all)
        return Dataset(
            columns=columns,
            splits=rows,
            metadata=metadata,
            fingerprint=_digest(table, [repr(dataclasses.replace(self, root=None)), tokenizer.library.to_str()]),
            sizes={
                "image": {"size": self.image_size, "channels": 4},
                "text": {"vocabulary": tokenizer.vocabulary, "length": self.max_tokens},
            },
            dropped={
                "flags and emoji without an English name": len(table.emoji) - len(used),
                f"names truncated to {self.max_tokens} tokens": long,
            },
            media=partial(_media, table, metadata["test"]),
            source="the packages of mmjax.data.emoji.files",
        )

    def _rows(
        self, table: EmojiTable, texts: Texts, drawings: Drawings, at: np.ndarray, test: bool
    ) -> tuple[Rows, dict[str, np.ndarray]]:
        """A row for each emoji, style and language in which it has a name."""
        styles, languages = (self.test_styles, self.test_languages) if test else (self.styles, self.languages)
        keys = [(int(i), style, language) for i in at for style in styles for language in languages]
        keys = [key for key in keys if texts.all[texts.item(key[0], key[2])]]
        number = np.array([i for i, _, _ in keys], np.int32)
        item = np.array([texts.item(i, language) for i, _, language in keys], np.int32)
        pointer = {"image": np.array([drawings.item(i, style) for i, style, _ in keys], np.int32), "text": item}
        english = table.names("en")
        metadata = {
            "id": np.array([table.emoji[i].code for i in number]),
            "group": table.group[number],
            "text": np.array([texts.all[place] for place in item]),
            "keywords": np.array([" ".join(english[i].keywords) for i in number]),
            "language": np.array([language for _, _, language in keys]),
            "style": np.array([style for _, style, _ in keys]),
            "category": np.array([table.emoji[i].category for i in number]),
        }
        return Rows(pointer, {"item": number}, np.full(len(keys), 1 / len(languages), np.float32)), metadata


def _digest(table: EmojiTable, parts: list[str]) -> str:
    return hashlib.sha256("\n".join([table.fingerprint, *parts]).encode()).hexdigest()


def _media(table: EmojiTable, metadata: Mapping[str, np.ndarray], row: int) -> dict[str, Any]:
    """{id, caption, language, image: PNG} of a test row."""
    code, style, text, language = (str(metadata[name][row]) for name in ("id", "style", "text", "language"))
    number = next(i for i, one in enumerate(table.emoji) if one.code == code)
    return {"id": code, "caption": text, "language": language, "image": table.drawing(style, number)}
