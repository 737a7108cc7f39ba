"""A wrapper in whose training rows two modalities never occur together."""

import dataclasses
import hashlib
from typing import Annotated

import numpy as np
import tyro

from mmjax.data.dataset import Data, Dataset
from mmjax.data.decode import DataError
from mmjax.data.few import load_once
from mmjax.data.splits import folds_of, with_fold
from mmjax.types import Declared

__all__ = ["NeverTogether"]


@dataclasses.dataclass(frozen=True)
class NeverTogether:
    """The same data, but each training group keeps one of some modalities: images with a text or with a sound, never with both.

    A model that aligns each of them with the images alone can be tested on pairs that it has never seen (ImageBind, Girdhar et
    al., 2023). Validation and test rows keep everything.

    data: any data set. modalities: of which a group keeps one, chosen at random, if its rows have several. draw: the number of
    the random choice. Raises DataError if the data lack one of them or fewer than two are named.
    """

    data: Annotated[Declared[Data], tyro.conf.arg(name="")]
    modalities: tuple[str, ...] = ("audio", "text")
    draw: int = 0

    def __post_init__(self):
        if len(set(self.modalities)) < max(2, len(self.modalities)):
            raise DataError(f"NeverTogether.modalities is {self.modalities}; name at least two, each once")

    @property
    def folds(self) -> int:
        return folds_of(self.data)

    def at_fold(self, fold: int) -> "NeverTogether":
        """The same data with this test fold."""
        return dataclasses.replace(self, data=with_fold(self.data, fold))

    def load(self) -> Dataset:
        data = load_once(self.data)
        unknown = sorted(set(self.modalities) - set(data.columns))
        if unknown:
            known = ", ".join(sorted(data.columns))
            raise DataError(f"NeverTogether.modalities: the data have no modality {unknown[0]!r}; they have {known}")
        rows = data.splits["train"]
        groups, of_row = np.unique(data.metadata["train"]["group"], return_inverse=True)
        pointer = {name: np.asarray(rows.pointer[name]) for name in rows.pointer}
        has = np.stack([_any_of_group(pointer[name] >= 0, of_row, len(groups)) for name in self.modalities])
        # the largest random number among the modalities that the group has
        draws = np.random.default_rng(self.draw).random(has.shape)
        kept = np.where(has, draws, -1).argmax(axis=0)[of_row]
        for number, name in enumerate(self.modalities):
            pointer[name] = np.where(kept == number, pointer[name], -1).astype(pointer[name].dtype)
        empty = ~np.any([values >= 0 for values in pointer.values()], axis=0)
        zeroed = lambda weight: None if weight is None else np.where(empty, 0, weight).astype(np.float32)
        removed = sum(int((rows.pointer[name] >= 0).sum() - (pointer[name] >= 0).sum()) for name in self.modalities)
        parts = f"{data.fingerprint} never together {self.modalities} {self.draw}"
        return dataclasses.replace(
            data,
            splits={**data.splits, "train": rows.replace(pointer=pointer, weight=zeroed(rows.weight))},
            training_weight=zeroed(data.training_weight),
            fingerprint=hashlib.sha256(parts.encode()).hexdigest(),
            dropped={**data.dropped, f"training inputs, so that {' and '.join(self.modalities)} never occur together": removed},
        )


def _any_of_group(present: np.ndarray, of_row: np.ndarray, count: int) -> np.ndarray:
    """Bool[g]: whether one of the rows of each group has the modality."""
    return np.bincount(of_row, present, count) > 0
