"""Does this name belong to this picture? True pairs of the Stamps pack, and wrong ones, at random and hard.

A wrong name is another stamp's of the same split but of another leak-free group, and none that might be true of the picture:
its words are neither all in the picture's own name nor the other way round ("A frog." fits "A green frog.").
A hard one comes from the picture's own folder.
"""

import dataclasses
import re
import unicodedata
from functools import partial
from typing import Annotated, Any

import numpy as np
import tyro

from mmjax.data.dataset import Dataset, Rows
from mmjax.data.decode import DataError
from mmjax.data.stamps.dataset import Stamps
from mmjax.data.stamps.table import Table

KINDS = ("match", "random", "hard")


@dataclasses.dataclass(frozen=True)
class StampsPairs:
    """Picture-caption matching: modalities "image" and "text", target "match" with the classes "no" and "yes".

    stamps: pictures, names, splits and their seed, which is also that of the wrong names; its voices are not used.
    negatives: wrong names of each kind, random and hard, that a picture has in training, from as many other stamps
    where there are so many. As many rows have the true name, so that half of the rows are true and all weigh the same.
    In validation and test a picture has one row of each kind: match with weight 1, random and hard with 1/2 each.
    """

    stamps: Annotated[Stamps, tyro.conf.arg(name="")] = Stamps()
    negatives: int = 4

    def __post_init__(self):
        if self.negatives < 1:
            raise DataError(f"StampsPairs.negatives is {self.negatives}; it must be at least 1")

    def load(self) -> Dataset:
        """Cuts the splits as Stamps does, draws wrong names inside each, fits tokeniser and z-scores on training pairs."""
        table = self.stamps.table()
        words = [frozenset(re.findall(r"\w+", unicodedata.normalize("NFKC", name).casefold())) for name in table.names]
        rng = np.random.default_rng(self.stamps.split_seed)
        parts, lonely = {}, 0
        for part, items in table.split._asdict().items():
            named = [int(item) for item in items if table.lengths[item] > 0 and words[item]]
            drawn = [_drawn(table, words, named, item, self.negatives if part == "train" else 1, rng) for item in named]
            parts[part] = _rows(table, named, drawn, part == "train")
            lonely += sum(not hard for _, hard in drawn)
        splits, about = ({part: pair[i] for part, pair in parts.items()} for i in range(2))
        rows = [" ".join(row) for known in about.values() for row in zip(known["id"], known["named"], known["pair"])]
        choices = dataclasses.replace(self, stamps=dataclasses.replace(self.stamps, root=None))
        return Dataset(
            columns=self.stamps.columns(table, splits["train"]),
            splits=splits,
            classes={"match": ("no", "yes")},
            sizes=self.stamps.sizes(table),
            about=about,
            dropped=table.dropped | {"pictures without a hard wrong name": lonely},
            fingerprint=table.digest(choices, rows),
            media=partial(_media, table, about["test"]),
            source=table.kind,
        )


def _drawn(
    table: Table, words: list[frozenset[str]], named: list[int], item: int, count: int, rng: np.random.Generator
) -> tuple[list[int], list[int]]:
    """Whose names this item gets: `count` at random and `count` hard ones, in turn where there are fewer; [] without any."""
    wrong = [
        other
        for other in named
        if table.group[other] != table.group[item] and not (words[other] <= words[item] or words[item] <= words[other])
    ]
    if not wrong:
        raise DataError(f"StampsPairs: no other name of its split can be wrong for {table.records[item]['id']}")
    hard = [other for other in wrong if table.label[other] == table.label[item]]
    return tuple([int(other) for other in np.resize(rng.permutation(part), count if part else 0)] for part in (wrong, hard))


def _rows(
    table: Table, named: list[int], drawn: list[tuple[list[int], list[int]]], repeat: bool
) -> tuple[Rows, dict[str, np.ndarray]]:
    """Rows of these items with the names drawn for each, and what is known about each row: of its picture, the text given,
    whose name that is ("named"), and which of KINDS the pair is.

    A picture's true rows weigh 1 together, and so do its wrong ones, half for each kind if it has both.
    repeat: as many true rows as wrong ones, else one.
    """
    image, text, pair, weight = [], [], [], []
    for item, (random, hard) in zip(named, drawn):
        wrong = len(random) + len(hard)
        true = wrong if repeat else 1
        image += [item] * (true + wrong)
        text += [item] * true + random + hard
        pair += [kind for kind, count in zip(KINDS, (true, len(random), len(hard))) for _ in range(count)]
        weight += [1 / true] * true + [1 / wrong] * wrong
    image, text, pair = np.array(image, np.int32), np.array(text, np.int32), np.array(pair)
    about = table.known(image) | {
        "text": np.array([table.names[item] for item in text]),
        "named": np.array([table.records[item]["id"] for item in text]),
        "pair": pair,
    }
    targets = {"match": (pair == "match").astype(np.int32)}
    return Rows({"image": image, "text": text}, targets, np.array(weight, np.float32)), about


def _media(table: Table, about: dict[str, np.ndarray], row: int) -> dict[str, Any]:
    """{image: PNG, caption: the name given, true or not, id: of the picture} of a row."""
    name = str(about["id"][row])
    image = table.source.image_bytes(table.kept[table.item(name)])
    return {"id": name, "caption": str(about["text"][row]), "image": image}
