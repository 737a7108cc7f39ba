"""A wrapper that tells a `Gradient` with a state of each training example which rows are in a batch."""

import dataclasses
import hashlib
from typing import Annotated, Any

import numpy as np
import tyro

from mmjax.data.dataset import Dataset
from mmjax.data.decode import DataError
from mmjax.data.splits import folds_of, with_fold

__all__ = ["Numbered"]


@dataclasses.dataclass(frozen=True)
class Numbered:
    """The same data with a further target Int[n], the number of each row in its split, for `train.unimodal_labels`.

    data: any value with `load() -> Dataset`. Wrap it last, since other wrappers may leave out rows. target: the name of the new
    target; DataError if the data have a target of this name.
    """

    data: Annotated[Any, tyro.conf.arg(name="")]
    target: str = "row"

    @property
    def folds(self) -> int:
        return folds_of(self.data)

    def at_fold(self, fold: int) -> "Numbered":
        """The same data with this test fold."""
        return dataclasses.replace(self, data=with_fold(self.data, fold))

    def load(self) -> Dataset:
        """Loads the data."""
        dataset = self.data.load()
        splits = {}
        for split, rows in dataset.splits.items():
            if self.target in rows.targets:
                raise DataError(f"Numbered.target is {self.target!r}, a target that the data have; choose another name")
            splits[split] = rows.replace(targets={**rows.targets, self.target: np.arange(len(rows), dtype=np.int32)})
        fingerprint = hashlib.sha256(f"{dataset.fingerprint} numbered {self.target}".encode()).hexdigest()
        return dataclasses.replace(dataset, splits=splits, fingerprint=fingerprint)
