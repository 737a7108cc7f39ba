"""Generalisation to a value of a metadata column that training has not seen: another language, speaker or artist."""

import dataclasses
import hashlib
from typing import Annotated, Any

import numpy as np
import tyro

from mmjax.data.dataset import Dataset
from mmjax.data.decode import DataError
from mmjax.data.few import keep_rows, load_once

__all__ = ["HeldOut"]


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """The same data with a test split of one value of a metadata column, which training and validation lack.

    The values are the folds: with `--folds all`, each one is held out in turn, and the test predictions are joined. The splits
    of the data remain, so no group is in two of them; rows of the test split with other values are left out. With
    `groups=("language",)` in the experiment, the results have a score for each value.

    data: any value with `load() -> Dataset`. column: of its metadata. values: those that are held out in turn. unseen: False
    trains with all values and tests on the same rows, to compare with. fold: the number of the value.
    """

    data: Annotated[Any, tyro.conf.arg(name="")]
    column: str
    values: tuple[str, ...]
    unseen: bool = True
    fold: int = 0

    def __post_init__(self):
        if not self.values or not 0 <= self.fold < len(self.values):
            raise DataError(f"HeldOut.fold is {self.fold}; there are {len(self.values)} values, numbered from 0")

    @property
    def folds(self) -> int:
        return len(self.values)

    def at_fold(self, fold: int) -> "HeldOut":
        """The data with another value held out."""
        return dataclasses.replace(self, fold=fold)

    def load(self) -> Dataset:
        """DataError, with the known values, if the column or the value is missing, or if nothing is left of a split."""
        dataset, value = load_once(self.data), self.values[self.fold]
        for split, metadata in dataset.metadata.items():
            if self.column not in metadata or len(metadata[self.column]) != len(dataset.splits[split]):
                known = ", ".join(sorted(metadata))
                raise DataError(f"HeldOut.column is {self.column!r}; it must have a value for each row, and one of {known}")
        has = {split: np.asarray(of[self.column]).astype(str) == value for split, of in dataset.metadata.items()}
        learnt = lambda of: ~of if self.unseen else np.ones_like(of)
        kept = {split: np.flatnonzero(of if split == "test" else learnt(of)) for split, of in has.items()}
        for split, rows in kept.items():
            if not len(rows):
                known = np.unique(np.asarray(dataset.metadata[split][self.column]).astype(str)).tolist()
                shown = ", ".join(known[:20])
                raise DataError(f"HeldOut.values has {value!r}; the {split} split has {shown}, so nothing is left of it")
        parts = f"{dataset.fingerprint} held out {self.column} {value} {self.unseen}"
        return dataclasses.replace(keep_rows(dataset, kept), fingerprint=hashlib.sha256(parts.encode()).hexdigest())
