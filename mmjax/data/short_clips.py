"""A wrapper without long recordings: a truncated recording does not contain the whole of its text."""

import dataclasses
import hashlib
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import numpy as np
import tyro

from mmjax.data.dataset import Column, Data, Dataset
from mmjax.data.decode import DataError
from mmjax.data.few import keep_rows, load_once
from mmjax.data.splits import folds_of, with_fold
from mmjax.types import Declared

__all__ = ["ShortClips"]


@dataclasses.dataclass(frozen=True)
class ShortClips:
    """The same data without the rows whose recording is longer than a limit. Rows without a recording stay.

    data: any data set. clips: the modality of the recordings. max_seconds: the longest recording. Raises DataError if the data
    have no such recordings, or if a split has no rows left.
    """

    data: Annotated[Declared[Data], tyro.conf.arg(name="")]
    clips: str = "audio"
    max_seconds: float = 5.0

    def __post_init__(self):
        if not self.max_seconds > 0:
            raise DataError(f"ShortClips.max_seconds is {self.max_seconds}; it must be above 0")

    @property
    def folds(self) -> int:
        return folds_of(self.data)

    def at_fold(self, fold: int) -> "ShortClips":
        """The same limit for the data with this test fold."""
        return dataclasses.replace(self, data=with_fold(self.data, fold))

    def load(self) -> Dataset:
        """Loads the data and decodes every recording once."""
        data = load_once(self.data)
        column = data.columns.get(self.clips)
        if column is None or column.original is None or not isinstance(column.original(0), tuple):
            known = ", ".join(sorted(data.columns))
            raise DataError(f"ShortClips.clips: the data have no recordings {self.clips!r}; their modalities are {known}")
        short = np.flatnonzero([_seconds(column.original(item)) <= self.max_seconds for item in range(column.count)])
        number = np.full(column.count + 1, -2)  # of a long recording; the last one stands for none
        number[short], number[-1] = np.arange(len(short)), -1
        numbers = {split: number[np.asarray(rows.pointer[self.clips])] for split, rows in data.splits.items()}
        kept = {split: np.flatnonzero(of_rows > -2) for split, of_rows in numbers.items()}
        for split, rows in kept.items():
            if not len(rows):
                raise DataError(
                    f"ShortClips.max_seconds is {self.max_seconds:g}, but all recordings of the {split} split are longer"
                )
        dropped = sum(len(of_rows) for of_rows in numbers.values()) - sum(map(len, kept.values()))
        few = keep_rows(data, kept)
        pointers = {split: {**rows.pointer, self.clips: numbers[split][kept[split]]} for split, rows in few.splits.items()}
        parts = f"{data.fingerprint} {self.clips} of at most {self.max_seconds!r} s"
        return dataclasses.replace(
            few,
            columns={**data.columns, self.clips: _items(column, short)},
            splits={split: rows.replace(pointer=pointers[split]) for split, rows in few.splits.items()},
            fingerprint=hashlib.sha256(parts.encode()).hexdigest(),
            dropped={**data.dropped, f"{self.clips} longer than {self.max_seconds:g} s": dropped},
        )


def _seconds(original: tuple[np.ndarray, int]) -> float:
    samples, rate = original
    return len(samples) / rate


def _items(column: Column, kept: np.ndarray) -> Column:
    """The column of these items."""
    numbers = f"{column.fingerprint} {hashlib.sha256(kept.astype(np.int64).tobytes()).hexdigest()}"
    return dataclasses.replace(
        column,
        count=len(kept),
        read=partial(_at, column.read, kept),
        original=partial(_at, column.original, kept),
        fingerprint=hashlib.sha256(numbers.encode()).hexdigest() if column.fingerprint else "",
    )


def _at(read: Callable[[int], Any], kept: np.ndarray, number: Any) -> Any:
    return read(int(kept[number]))
