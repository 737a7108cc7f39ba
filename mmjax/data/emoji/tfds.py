"""All emoji as a TFDS set in array_record, written without TensorFlow."""

import json
from pathlib import Path

from mmjax.data.build.write_tfds import write_tfds
from mmjax.data.emoji.dataset import labels_of
from mmjax.data.emoji.drawings import STYLES
from mmjax.data.emoji.files import COUNTS
from mmjax.data.emoji.table import LANGUAGES, emoji_table
from mmjax.data.splits import grouped_folds, train_validation_test

__all__ = ["LICENCE", "NAME", "build_tfds"]

NAME = "emoji"
LICENCE = "CC-BY-SA-4.0 (OpenMoji, sentiment), CC-BY-4.0 (Twemoji), Apache-2.0 (Noto Emoji), Unicode-3.0 (names)"


def build_tfds(folder: Path, root: Path | None = None) -> Path:
    """Writes folder/tfds/emoji/<version>, one example per emoji in the splits of `EmojiSentiment()`; returns it.

    An example has "id", "category", "subcategory" (texts), "group" (int), a PNG for each style, "counts" (JSON: labels by
    sentiment) and "names" (JSON: {language: {"name", "keywords"}}). root: as in `EmojiSentiment`. Raises FileExistsError if the
    folder has such a set, and DataError.
    """
    table = emoji_table(root)
    parts = train_validation_test(grouped_folds(table.group, labels_of(table.counts), 5, 0), 0)
    (folder / "media").mkdir(parents=True)
    rows = []
    for split, numbers in parts.items():
        for number in numbers.tolist():
            one = table.emoji[number]
            names = {language: table.names(language)[number]._asdict() for language in LANGUAGES}
            row = {"id": one.code, "split": split, "group": int(table.group[number])}
            row |= {"category": one.category, "subcategory": one.subcategory}
            row["counts"] = json.dumps(dict(zip(map(str.lower, COUNTS), table.counts[number].tolist())))
            row["names"] = json.dumps(names, ensure_ascii=False)
            for style in STYLES:
                row[style] = f"media/{one.code}-{style}.png"
                (folder / row[style]).write_bytes(table.drawing(style, number))
            rows.append(row)
    return write_tfds(folder, NAME, rows, dict.fromkeys(STYLES, "image"), LICENCE)
