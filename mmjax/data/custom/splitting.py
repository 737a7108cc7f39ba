"""How a user's rows are split: k folds of whole groups, an official split, or groups that are held out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from mmjax.data.custom.table import Table, is_missing
from mmjax.data.decode import DataError
from mmjax.data.splits import grouped_folds, train_validation_test

__all__ = ["NAMES", "HeldOut", "KFold", "RowGroups", "SplitColumn", "Splitting", "splitting_of", "with_validation"]

NAMES = {
    **dict.fromkeys(("train", "training", "tr"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "development"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
"""Accepted names of splits, in lower case -> our names."""


@dataclass(frozen=True, eq=False)
class RowGroups:
    """What a split depends on.

    group: Int[n]. names: the group names as str[n]. strata: [n], spread evenly over the folds. given: whether the user has
    named the groups, so that one in two splits is an error.
    """

    group: np.ndarray
    names: np.ndarray
    strata: np.ndarray
    given: bool = True


@runtime_checkable
class Splitting(Protocol):
    """(table, groups of its rows) -> str[n], the split of each row: "train", "validation" or "test"; a frozen dataclass."""

    def split_of(self, table: Table, rows: RowGroups) -> np.ndarray: ...


@dataclass(frozen=True)
class KFold:
    """Grouped, stratified k-fold.

    folds: their number, at least 3. fold: the test split; the next one is validation, and the rest are training. seed: the
    order of groups of equal size.
    """

    folds: int = 5
    fold: int = 0
    seed: int = 0

    def __post_init__(self):
        if self.folds < 3 or not 0 <= self.fold < self.folds:
            raise DataError(
                f"KFold.fold is {self.fold} of {self.folds} folds; folds must be at least 3 (training, validation and test), "
                "and fold at least 0 and below folds"
            )

    def split_of(self, table: Table, rows: RowGroups) -> np.ndarray:
        count = len(np.unique(rows.group))
        if count < self.folds:
            raise DataError(f"{table.name}: the number of groups is {count}, too few for {self.folds} folds; use fewer folds")
        split = np.full(len(rows.group), "train", "U10")
        folds = grouped_folds(rows.group, rows.strata, self.folds, self.seed)
        for name, at in train_validation_test(folds, self.fold).items():
            split[at] = name
        return split


@dataclass(frozen=True)
class SplitColumn:
    """The split of each row is in a column. Without validation rows, one of `folds` parts of the training groups is validation.

    column: its name. folds, seed: of that division.
    """

    column: str = "split"
    folds: int = 5
    seed: int = 0

    def split_of(self, table: Table, rows: RowGroups) -> np.ndarray:
        split = np.full(len(table), "train", "U10")
        for row, cell in enumerate(table.column(self.column, "the split")):
            name = None if is_missing(cell) else NAMES.get(str(cell).strip().lower())
            if name is None:
                where = table.where(row, self.column)
                raise DataError(f"{where}: {cell!r} is not a split; it must be train, validation or test")
            split[row] = name
        return with_validation(table, rows, split, self.folds, self.seed)


@dataclass(frozen=True)
class HeldOut:
    """Named groups are held out, such as speakers; all other groups are training.

    test, validation: names of groups. Without validation groups, one of `folds` parts of the training groups is validation.
    folds, seed: of that division.
    """

    test: tuple[str, ...]
    validation: tuple[str, ...] = ()
    folds: int = 5
    seed: int = 0

    def split_of(self, table: Table, rows: RowGroups) -> np.ndarray:
        split = np.full(len(table), "train", "U10")
        for name, groups in (("validation", self.validation), ("test", self.test)):
            for group in groups:
                at = rows.names == str(group)
                if not at.any():
                    known = ", ".join(sorted(set(rows.names.tolist()))[:20])
                    raise DataError(f"{table.name}: the group {group!r} of the {name} split does not occur; there are {known}")
                if (split[at] != "train").any():
                    raise DataError(f"{table.name}: the group {group!r} is in the test split and in the validation split")
                split[at] = name
        return with_validation(table, rows, split, self.folds, self.seed)


def with_validation(table: Table, rows: RowGroups, split: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """The split with validation rows. Raises DataError if a split is empty, or if a given group is in two of them."""
    for name in ("train", "test"):
        if not (split == name).any():
            raise DataError(f"{table.name}: no row is in the {name} split; it needs at least one")
    if not (split == "validation").any():
        train = np.flatnonzero(split == "train")
        count = len(np.unique(rows.group[train]))
        if count < 2:
            raise DataError(f"{table.name}: the training split has one group, so none is left for validation; name its rows")
        fold = grouped_folds(rows.group[train], rows.strata[train], min(folds, count), seed)
        split = split.copy()
        split[train[fold == 0]] = "validation"
    first: dict[int, int] = {}
    if not rows.given:
        return split
    for row, group in enumerate(rows.group.tolist()):
        other = first.setdefault(group, row)
        if split[other] != split[row]:
            raise DataError(
                f"{table.name}: rows {other + 1} and {row + 1} are of the group {str(rows.names[row])!r}, but in the splits "
                f"{split[other]} and {split[row]}; a group belongs to one split"
            )
    return split


def splitting_of(split: "str | Mapping[str, object] | Splitting | None") -> Splitting:
    """The value of a `split` argument: None, a column's name, {"test": groups, "validation": groups}, or a `Splitting`."""
    if split is None:
        return KFold()
    if isinstance(split, str):
        return SplitColumn(split)
    if isinstance(split, Mapping):
        unknown = sorted(set(map(str, split)) - {"test", "validation"})
        if unknown or "test" not in split:
            given = f"{unknown[0]!r} is not a split that can be held out" if unknown else "there is no 'test'"
            raise DataError(f'split: {given}; write {{"test": groups, "validation": groups}}')
        return HeldOut(**{name: _names(groups) for name, groups in split.items()})
    if isinstance(split, Splitting):
        return split
    raise DataError(f"split is {type(split).__name__}; it must be a column, {{'test': groups}}, or a value such as KFold()")


def _names(groups: object) -> tuple[str, ...]:
    return (groups,) if isinstance(groups, str) else tuple(map(str, groups))
