"""The sentiment of an emoji from its drawing and its names, for concepts and artists that training has not seen.

Kralj Novak, Smailović, Sluban and Mozetič, "Sentiment of emojis" (PLoS ONE, 2015): 83 people labelled 1.6 million tweets in 13
European languages as negative, neutral or positive; an emoji has the counts of the labelled tweets that contain it.
"""

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

__all__ = ["CLASSES", "UNRATED", "EmojiSentiment", "labels_of"]

CLASSES = ("negative", "neutral", "positive")
UNRATED = -1


def labels_of(counts: np.ndarray) -> np.ndarray:
    """Int32[n]: the most frequent of CLASSES, of equally frequent ones the most neutral, UNRATED without counts."""
    order = np.array([1, 2, 0])
    return np.where(counts.sum(axis=1) > 0, order[counts[:, order].argmax(axis=1)], UNRATED).astype(np.int32)


@dataclasses.dataclass(frozen=True)
class EmojiSentiment:
    """Modalities "image" and "text", two targets.

    Targets: "score", Float[n], the mean sentiment (positive - negative) / all in [-1, 1]; "sentiment", Int[n], the most
    frequent of negative, neutral and positive. An emoji with n labels has the weight n / (n + prior), divided among its rows:
    the inverse of its variance if `prior` is the ratio of the variance within an emoji to that between emoji, which is 5.4.

    image_size: pixels per side. styles: the artists of the drawings in the training and validation splits. test_styles: those
    in the test split. languages, test_languages: of the names. keywords: adds the keywords of CLDR to the name. tokenizer:
    trained on the texts of the training split. max_tokens: longer texts are truncated. min_count: emoji with fewer labels are
    left out. prior: see above. equal_training_weights: equal weights in the training loss; scores are weighted as above.
    folds, fold, split_seed: grouped, stratified k-fold over all emoji; fold `fold` is the test split, the next one validation.
    A group has the variants of one concept (`mmjax.data.emoji.groups`). root: a folder with the five packages; None: fetched.
    Raises DataError, naming the field, for an invalid value.
    """

    image_size: int = 32
    styles: tuple[str, ...] = ("google", "twitter")
    test_styles: tuple[str, ...] = ("openmoji",)
    languages: tuple[str, ...] = ("en",)
    test_languages: tuple[str, ...] = ("en",)
    keywords: bool = False
    tokenizer: TokenizerTrainer = BPE()
    max_tokens: int = 16
    min_count: int = 5
    prior: float = 5.0
    equal_training_weights: bool = False
    folds: int = 5
    fold: int = 0
    split_seed: int = 0
    root: Path | None = None

    def __post_init__(self):
        check_fields(self, {"image_size": (1, 1024), "max_tokens": (1, 1024), "min_count": (1, 10_000), "prior": (0, 1e6)})

    def at_fold(self, fold: int) -> "EmojiSentiment":
        """The same data with this test fold. Ids and groups do not depend on it."""
        return dataclasses.replace(self, fold=fold)

    def load(self) -> Dataset:
        """Reads the packages, makes the splits, and fits tokenizer and z-scores on the training split."""
        table = emoji_table(self.root)
        labels, total = labels_of(table.counts), table.counts.sum(axis=1)
        items = train_validation_test(grouped_folds(table.group, labels, self.folds, self.split_seed), self.fold)
        items = {split: at[total[at] >= self.min_count] for split, at in items.items()}
        used = np.flatnonzero(total >= self.min_count)
        texts = Texts(table, used, self.languages + self.test_languages, self.keywords)
        drawings = Drawings(table, used, self.styles + self.test_styles)
        rows, metadata = {}, {}
        for split, at in items.items():
            rows[split], metadata[split] = self._rows(table, texts, drawings, labels, at, split == "test")
        tokenizer = self.tokenizer.train(metadata["train"]["text"].tolist())
        image, text = ImageInput(self.image_size), TextInput(tokenizer, self.max_tokens)
        columns = {
            "image": column(drawings, image, to_unit, _digest(table, ["image", *drawings.styles, *map(str, used)])),
            "text": column(texts, text, identity, _digest(table, ["text", *texts.all])),
        }
        columns["image"] = standardized(columns["image"], rows["train"].pointer["image"], MAX_ITEMS)
        equal = np.full(len(rows["train"]), 1 / (len(self.styles) * len(self.languages)), np.float32)
        options = [repr(dataclasses.replace(self, root=None)), tokenizer.library.to_str()]
        return Dataset(
            columns=columns,
            splits=rows,
            metadata=metadata,
            fingerprint=_digest(table, [*options, *(" ".join(m["id"]) for m in metadata.values())]),
            sizes={
                "image": {"size": self.image_size, "channels": 4},
                "text": {"vocabulary": tokenizer.vocabulary, "length": self.max_tokens},
            },
            classes={"sentiment": CLASSES},
            dropped={
                "emoji without sentiment": int((total == 0).sum()),
                f"emoji with fewer than {self.min_count} labels": int(((total > 0) & (total < self.min_count)).sum()),
                "rated symbols without a drawing": table.others,
            },
            media=partial(_media, table, metadata["test"]),
            source="the packages of mmjax.data.emoji.files",
            training_weight=equal if self.equal_training_weights else None,
        )

    def _rows(
        self, table: EmojiTable, texts: Texts, drawings: Drawings, labels: np.ndarray, at: np.ndarray, test: bool
    ) -> tuple[Rows, dict[str, np.ndarray]]:
        """A row for each emoji, style and language."""
        styles, languages = (self.test_styles, self.test_languages) if test else (self.styles, self.languages)
        keys = [(int(i), style, language) for i in at for style in styles for language in languages]
        number = np.array([i for i, _, _ in keys], np.int32)
        counts = table.counts[number]
        total = counts.sum(axis=1)
        text = np.array([texts.all[texts.item(i, language)] for i, _, language in keys])
        item = [texts.item(i, language) if found else -1 for (i, _, language), found in zip(keys, text)]
        weight = total / (total + self.prior) / (len(styles) * len(languages))
        pointer = {
            "image": np.array([drawings.item(i, style) for i, style, _ in keys], np.int32),
            "text": np.array(item, np.int32),
        }
        targets = {
            "score": ((counts[:, 2] - counts[:, 0]) / np.maximum(total, 1)).astype(np.float32), "sentiment": labels[number]
        }  # fmt: skip
        metadata = {
            "id": np.array([table.emoji[i].code for i in number]),
            "group": table.group[number],
            "text": text,
            "style": np.array([style for _, style, _ in keys]),
            "language": np.array([language for _, _, language in keys]),
            "category": np.array([table.emoji[i].category for i in number]),
        }
        return Rows(pointer, targets, weight.astype(np.float32)), metadata


def _digest(table: EmojiTable, parts: list[str]) -> str:
    return hashlib.sha256("\n".join([table.fingerprint, *parts]).encode()).hexdigest()


def _media(table: EmojiTable, metadata: Mapping[str, np.ndarray], row: int) -> dict[str, Any]:
    """{id, caption, language, image: PNG} of a test row."""
    code, style, text, language = (str(metadata[name][row]) for name in ("id", "style", "text", "language"))
    number = next(i for i, one in enumerate(table.emoji) if one.code == code)
    return {"id": code, "caption": text, "language": language, "image": table.drawing(style, number)}
