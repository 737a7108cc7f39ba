"""Data sets with some of their rows; a wrapper that keeps a share of the training data, for few-shot experiments."""

import dataclasses
import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any

import numpy as np
import tyro

from mmjax.data.dataset import Dataset, Rows
from mmjax.data.decode import DataError
from mmjax.data.splits import folds_of, with_fold

__all__ = ["Few", "RowMedia", "at", "few_groups", "keep_rows", "load_once"]


@dataclasses.dataclass(frozen=True)
class Few:
    """The same data with a random share of the groups of the training split; validation and test are unchanged.

    Wrap it before features are normalised, so that the statistics come from the kept rows: CachedFeatures(Few(Stamps())).

    data: any value with `load() -> Dataset`, such as Stamps(). share: of the groups of each class, rounded, at least one; in
    (0, 1]; 1 for the data themselves. A group has the class of its first row. stratify: the name of a target; unless it has one
    class per row, or if it is "", the share is of all groups alike. draw: the number of the random choice.
    """

    data: Annotated[Any, tyro.conf.arg(name="")]
    share: float = 0.1
    stratify: str = "label"
    draw: int = 0

    def __post_init__(self):
        if not 0 < self.share <= 1:
            raise DataError(f"Few.share is {self.share}; it must be above 0 and at most 1")

    @property
    def folds(self) -> int:
        return folds_of(self.data)

    def at_fold(self, fold: int) -> "Few":
        """The same choice from the data with this test fold."""
        return dataclasses.replace(self, data=with_fold(self.data, fold))

    def load(self) -> Dataset:
        """Loads the data. Raises DataError if the target is missing, or if rows have several labelled steps."""
        dataset = load_once(self.data)
        if self.share == 1:
            return dataset
        rows, metadata = dataset.splits["train"], dataset.metadata["train"]
        if self.stratify and self.stratify not in rows.targets:
            raise DataError(f"Few.stratify is {self.stratify!r}; the targets are {', '.join(sorted(rows.targets))}")
        group = metadata["group"] if "group" in metadata else np.arange(len(rows))
        if len(group) != len(rows):
            raise DataError("Few cannot leave out rows of data whose metadata have an entry for each labelled step")
        target = rows.targets[self.stratify] if self.stratify in dataset.classes else np.zeros(len(rows), int)
        label = target if np.ndim(target) == 1 else np.zeros(len(rows), int)
        keep = np.flatnonzero(np.isin(group, few_groups(group, label, self.share, self.draw)))
        weight = None if dataset.training_weight is None else dataset.training_weight[keep]
        parts = f"{dataset.fingerprint} few {self.share} {self.stratify} {self.draw}"
        return dataclasses.replace(
            dataset,
            splits={**dataset.splits, "train": at(rows, keep)},
            metadata={**dataset.metadata, "train": {name: column[keep] for name, column in metadata.items()}},
            training_weight=weight,
            fingerprint=hashlib.sha256(parts.encode()).hexdigest(),
        )


@lru_cache(maxsize=2)
def load_once(data: Any) -> Dataset:
    """`data.load()`, from memory if this process has loaded equal data last or second to last. data: a frozen dataclass."""
    return data.load()


def at(rows: Rows, index: np.ndarray) -> Rows:
    """The rows with these numbers, as NumPy arrays."""
    pointer = {name: np.asarray(leaf)[index] for name, leaf in rows.pointer.items()}
    targets = {name: np.asarray(leaf)[index] for name, leaf in rows.targets.items()}
    return Rows(pointer, targets, np.asarray(rows.weight)[index])


def keep_rows(data: Dataset, kept: Mapping[str, np.ndarray]) -> Dataset:
    """The data with these rows of each split, {split: Int[k]}. The fingerprint does not change: it is the caller's."""
    weight, train = data.training_weight, kept["train"]
    return dataclasses.replace(
        data,
        splits={split: at(rows, kept[split]) for split, rows in data.splits.items()},
        metadata={
            split: {name: np.asarray(of)[kept[split]] for name, of in columns.items()}
            for split, columns in data.metadata.items()
        },
        media=RowMedia(data.media, kept["test"]),
        training_weight=None if weight is None else weight[train],
    )


@dataclasses.dataclass(frozen=True)
class RowMedia:
    """`Dataset.media` of some of the rows. media: of all rows. kept: Int[k], their numbers."""

    media: Any
    kept: np.ndarray

    def __call__(self, row: int) -> dict[str, Any]:
        return self.media(int(self.kept[row]))


def few_groups(group: np.ndarray, label: np.ndarray, share: float, seed: int) -> np.ndarray:
    """The chosen groups: of each class, `share` of its groups, rounded, at least one.

    group, label: Int[n]. A group has the class of its first row. Without a class (-1) a group is not chosen.
    """
    names, first = np.unique(group, return_index=True)
    of_group, random, chosen = label[first], np.random.default_rng(seed), []
    for number in np.unique(of_group[of_group >= 0]):
        of_class = random.permutation(names[of_group == number])
        chosen.append(of_class[: max(round(share * len(of_class)), 1)])
    return np.concatenate(chosen)
