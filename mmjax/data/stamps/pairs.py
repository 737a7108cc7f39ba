"""Image-text matching on the Stamps pack: whether a name belongs to an image, with random and hard negatives.

A negative is the name of a stamp of the same split and of another leak-free group. It cannot describe the image: neither name
contains all words of the other ("A frog." fits "A green frog."). A hard negative is a name from the image's own folder.
"""

import dataclasses
import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any

import numpy as np
import tyro

from mmjax.data.dataset import Dataset, Rows
from mmjax.data.decode import DataError
from mmjax.data.stamps.dataset import Stamps
from mmjax.data.stamps.table import StampsTable

__all__ = ["KINDS", "StampsPairs"]

KINDS = ("match", "random", "hard")


@dataclasses.dataclass(frozen=True)
class StampsPairs:
    """Image-text matching: modalities "image" and "text", target "match" with the classes "no" and "yes".

    stamps: images, names and splits; its split_seed also draws the negatives; its speech clips are not used.
    negatives: the number of random negatives, and of hard negatives, of each training image. They come from different stamps if
    there are enough. An equal number of rows have the true name, so half of the training rows are true and all of an image's
    rows have the same weight. In validation and test, an image has one row of each kind: match with weight 1, random and hard
    with weight 1/2.
    Raises DataError for a number outside 1..100.
    """

    stamps: Annotated[Stamps, tyro.conf.arg(name="")] = Stamps()
    negatives: int = 4

    def __post_init__(self):
        if not 1 <= self.negatives <= 100:
            raise DataError(f"StampsPairs.negatives is {self.negatives}; it must be at least 1 and at most 100")

    @property
    def folds(self) -> int:
        return self.stamps.folds

    def at_fold(self, fold: int) -> "StampsPairs":
        """The same data with this test fold."""
        return dataclasses.replace(self, stamps=self.stamps.at_fold(fold))

    def load(self) -> Dataset:
        """Makes the splits of Stamps, draws negatives in each split, and fits tokenizer and z-scores on the training split."""
        table = self.stamps.table()
        words = [frozenset(re.findall(r"\w+", unicodedata.normalize("NFKC", name).casefold())) for name in table.names]
        rng = np.random.default_rng(self.stamps.split_seed)
        splits, metadata, without_hard = {}, {}, 0
        for split, items in table.splits.items():
            named = [int(item) for item in items if table.lengths[item] > 0 and words[item]]
            count = self.negatives if split == "train" else 1
            negatives = [_negatives(table, words, named, item, count, rng) for item in named]
            splits[split], metadata[split] = _rows(table, named, negatives, repeat=split == "train")
            without_hard += sum(not hard for _, hard in negatives)
        rows = [" ".join(row) for columns in metadata.values() for row in zip(columns["id"], columns["named"], columns["pair"])]
        options = dataclasses.replace(self, stamps=dataclasses.replace(self.stamps, root=None))
        return Dataset(
            columns=self.stamps.columns(table, splits["train"]),
            splits=splits,
            metadata=metadata,
            fingerprint=table.digest(options, rows),
            sizes=self.stamps.sizes(table),
            classes={"match": ("no", "yes")},
            dropped={**table.dropped, "images without a hard negative": without_hard},
            media=partial(_media, table, metadata["test"]),
            source=table.reader,
        )


def _negatives(
    table: StampsTable,
    words: Sequence[frozenset[str]],
    named: Sequence[int],
    item: int,
    count: int,
    rng: np.random.Generator,
) -> tuple[list[int], list[int]]:
    """(random, hard): the items whose names are negatives of this item, `count` of each.

    If there are fewer candidates, they are repeated; without any hard candidate the second list is empty.
    """
    candidates = [
        other
        for other in named
        if table.group[other] != table.group[item] and not (words[other] <= words[item] or words[item] <= words[other])
    ]
    if not candidates:
        raise DataError(f"StampsPairs: no name in the split of {table.records[item]['id']} can be a negative for it")
    hard = [other for other in candidates if table.label[other] == table.label[item]]
    random_items, hard_items = (np.resize(rng.permutation(pool), count if pool else 0) for pool in (candidates, hard))
    return [int(other) for other in random_items], [int(other) for other in hard_items]


def _rows(
    table: StampsTable, named: Sequence[int], negatives: Sequence[tuple[list[int], list[int]]], repeat: bool
) -> tuple[Rows, dict[str, np.ndarray]]:
    """The rows of these items and of their negatives, and their metadata: the columns of the image, the name ("text"), the id
    of the stamp that the name belongs to ("named"), and one of KINDS ("pair").

    The true rows of an image have the total weight 1, and so have its negatives, half for each kind if it has both.
    repeat: repeats the true row once per negative.
    """
    image, text, pair, weight = [], [], [], []
    for item, (random, hard) in zip(named, negatives):
        false = len(random) + len(hard)
        true = false if repeat else 1
        image += [item] * (true + false)
        text += [item] * true + random + hard
        pair += [kind for kind, count in zip(KINDS, (true, len(random), len(hard))) for _ in range(count)]
        weight += [1 / true] * true + [1 / false] * false
    image, text, pair = np.array(image, np.int32), np.array(text, np.int32), np.array(pair)
    metadata = table.metadata(image) | {
        "text": np.array([table.names[item] for item in text]),
        "named": np.array([table.records[item]["id"] for item in text]),
        "pair": pair,
    }
    targets = {"match": (pair == "match").astype(np.int32)}
    return Rows({"image": image, "text": text}, targets, np.array(weight, np.float32)), metadata


def _media(table: StampsTable, metadata: Mapping[str, np.ndarray], row: int) -> dict[str, Any]:
    """{id: the id of the image, caption: the name of the pair, image: PNG} of a test row."""
    id = str(metadata["id"][row])
    image = table.source.image_bytes(table.kept[table.item(id)])
    return {"id": id, "caption": str(metadata["text"][row]), "image": image}
