"""All emoji with their counts and groups, and the columns of a task: images style by style, texts language by language."""

import hashlib
from collections.abc import Callable, Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.data.dataset import Column
from mmjax.data.decode import decode_image
from mmjax.data.emoji.drawings import STYLES, read_drawings
from mmjax.data.emoji.files import Emoji, Names, find_packages, read_counts, read_emoji, read_names
from mmjax.data.emoji.groups import emoji_groups

__all__ = ["LANGUAGES", "Drawings", "EmojiTable", "Texts", "column", "emoji_table"]

LANGUAGES = ("de", "en", "es", "fr", "it", "ja", "nl", "pl", "pt", "ru", "tr", "zh")
"""Languages in which every rated emoji has a name. The package has more; these are read together."""


class EmojiTable:
    """All emoji with their counts and leak-free groups; drawings and names are read on first use.

    packages: {key: file}. emoji: n of them. counts: Int64[n 3]. others: rated symbols without a drawing. fingerprint: sha256.
    """

    def __init__(self, packages: Mapping[str, Path]):
        self.packages = dict(packages)
        self.emoji: list[Emoji] = read_emoji(packages["google"])
        self.counts, self.others = read_counts(packages["sentiment"], self.emoji)
        sums = [hashlib.sha256(packages[key].read_bytes()).hexdigest() for key in sorted(packages)]
        self.fingerprint = hashlib.sha256(" ".join(sums).encode()).hexdigest()
        self._drawings: dict[str, list[bytes]] = {}
        self._names: dict[str, list[Names]] = {}

    def drawing(self, style: str, number: int) -> bytes:
        """The PNG file of an emoji."""
        if style not in self._drawings:
            self._drawings[style] = read_drawings(self.packages[style], style, self.emoji)
        return self._drawings[style][number]

    def image(self, style: str, number: int) -> np.ndarray:
        """uint8 [h w 3] or [h w 4]."""
        return decode_image(self.drawing(style, number), f"{self.packages[style].name}: {self.emoji[number].code}")

    def names(self, language: str) -> list[Names]:
        """The names of all emoji in a language."""
        if language not in self._names:
            wanted = sorted({language, *LANGUAGES} - set(self._names)) if language in LANGUAGES else [language]
            self._names |= read_names(self.packages["names"], wanted, self.emoji)
        return self._names[language]

    @cached_property
    def group(self) -> np.ndarray:
        """Int32[n]: see `emoji_groups`. The drawings of OpenMoji are not compared, since they are only drawn for a test."""
        drawings = [[_rgba(self.image(style, i)) for i in range(len(self.emoji))] for style in STYLES[:2]]
        return emoji_groups(self.emoji, [names.name for names in self.names("en")], drawings)


def _rgba(image: np.ndarray) -> np.ndarray:
    opaque = np.full((*image.shape[:2], 1), 255, np.uint8)
    return image if image.shape[-1] == 4 else np.concatenate([image, opaque], axis=-1)


@lru_cache(maxsize=2)
def emoji_table(root: Path | None = None) -> EmojiTable:
    """The table of the packages in a folder, or of the fetched ones if it is None. Raises DataError."""
    return EmojiTable(find_packages(root))


class Texts:
    """The texts of some emoji, language by language; "" without a name. all: the texts in order.

    used: Int[m], the numbers of the emoji.
    """

    def __init__(self, table: EmojiTable, used: np.ndarray, languages: tuple[str, ...], keywords: bool):
        self.languages, self._position = tuple(dict.fromkeys(languages)), {int(i): k for k, i in enumerate(used)}
        self.all = [_text(table.names(language)[i], keywords) for language in self.languages for i in used]

    def __len__(self) -> int:
        return len(self.all)

    def item(self, emoji: int, language: str) -> int:
        """The number of a text."""
        return self.languages.index(language) * len(self._position) + self._position[emoji]

    def __call__(self, item: int) -> str:
        return self.all[item]


class Drawings:
    """The images of some emoji, style by style. used: Int[m], the numbers of the emoji."""

    def __init__(self, table: EmojiTable, used: np.ndarray, styles: tuple[str, ...]):
        self.styles, self._table, self._used = tuple(dict.fromkeys(styles)), table, used
        self._position = {int(i): k for k, i in enumerate(used)}

    def __len__(self) -> int:
        return len(self._used) * len(self.styles)

    def item(self, emoji: int, style: str) -> int:
        """The number of an image."""
        return self.styles.index(style) * len(self._used) + self._position[emoji]

    def __call__(self, item: int) -> np.ndarray:
        style, position = divmod(item, len(self._used))
        return self._table.image(self.styles[style], int(self._used[position]))


def _text(names: Names, keywords: bool) -> str:
    """The name, with the keywords that are not in it if asked for; "" without a name."""
    if not keywords or not names.name:
        return names.name
    more = [word for word in names.keywords if word.casefold() not in names.name.casefold()]
    return f"{names.name}: {', '.join(more)}" if more else names.name


def column(items: Any, parse: Callable[[Any], Any], preprocess: Callable[[Any], Any], fingerprint: str) -> Column:
    """A column whose items are the parsed originals `items(number)`. fingerprint: of the originals."""
    return Column(len(items), lambda number: parse(items(number)), preprocess, items, fingerprint, parse)
