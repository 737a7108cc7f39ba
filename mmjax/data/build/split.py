"""Splits and folds of items by leak-free group, held-out values, and a check for leaks."""

from collections.abc import Sequence

import numpy as np

from mmjax.data.build.items import Item, sha256
from mmjax.data.decode import DataError
from mmjax.data.splits import grouped_folds, train_validation_test

__all__ = ["LEFT_OUT", "SPLITS", "are_numbers", "check_leaks", "hold_out", "split_by_group", "strata"]

SPLITS = ("train", "validation", "test")
LEFT_OUT = ""  # the split of an item that shares a group with a held-out one


def strata(labels: Sequence[str]) -> np.ndarray:
    """Int64[n]: numbers of classes; for more than 20 different numbers, of quintiles."""
    values = sorted(set(labels))
    if not are_numbers(labels):
        return np.array([values.index(label) for label in labels], np.int64)
    numbers = np.array([float(label) for label in labels])
    return np.searchsorted(np.quantile(numbers, [0.2, 0.4, 0.6, 0.8]), numbers).astype(np.int64)


def are_numbers(labels: Sequence[str]) -> bool:
    """Whether labels are values of a regression: more than 20 different numbers."""
    try:
        return len({float(label) for label in labels}) > 20
    except ValueError:
        return False


def split_by_group(groups: np.ndarray, labels: Sequence[str], folds: int, fold: int, seed: int) -> tuple[list[str], np.ndarray]:
    """(split of each item, fold of each item Int64[n]): stratified, grouped k-fold; fold `fold` is the test split and the next
    one validation. Raises DataError if there are fewer groups than folds."""
    of = grouped_folds(groups, strata(labels), folds, seed)
    return _names(train_validation_test(of, fold), len(of)), of


def hold_out(
    values: Sequence[str], held: Sequence[str], groups: np.ndarray, labels: Sequence[str], folds: int, seed: int
) -> list[str]:
    """The split of each item if some values of a column, such as speakers or sources, are the test split.

    The other items are divided into training and validation (one of `folds` folds). Of these, items that share a leak-free
    group with a held-out item are left out. Raises DataError for a value that does not occur, or if too few items remain.
    """
    unknown = sorted(set(held) - set(values))
    if unknown or not held:
        known = ", ".join(sorted(set(values))[:12])
        raise DataError(f"no item has the held-out value {unknown[0] if unknown else ''!r}; the values are {known}")
    test = np.isin(values, list(held))
    leaking = ~test & np.isin(groups, groups[test])
    rest = np.flatnonzero(~test & ~leaking)
    if len(set(groups[rest].tolist())) < 2:
        raise DataError("fewer than two groups remain for training and validation; hold out fewer values")
    of = grouped_folds(groups[rest], strata(np.array(labels)[rest].tolist()), min(folds, len(np.unique(groups[rest]))), seed)
    split = np.where(test, "test", LEFT_OUT).astype(object)
    split[rest] = np.where(of == 0, "validation", "train")
    return split.tolist()


def _names(splits: dict[str, np.ndarray], n: int) -> list[str]:
    names = np.full(n, LEFT_OUT, object)
    for name, rows in splits.items():
        names[rows] = name
    return names.tolist()


def check_leaks(items: Sequence[Item], splits: Sequence[str], groups: np.ndarray, pairs: np.ndarray) -> None:
    """Checks the result independently of how it was made.

    pairs: Int64[p 2], all near-duplicates. Raises DataError if a group, equal bytes of a part, or a pair is in two splits.
    """
    def check(what: str, keys: Sequence[str], rows: Sequence[int]) -> None:
        first: dict[str, int] = {}
        for key, row in zip(keys, rows, strict=True):
            other = first.setdefault(key, row)
            if splits[other] != splits[row]:
                raise DataError(
                    f"leak: {what} of {items[row].id!r} ({splits[row]}) and {items[other].id!r} ({splits[other]}) is the same"
                )

    used = [row for row in range(len(items)) if splits[row] != LEFT_OUT]
    check("the group", [str(groups[row]) for row in used], used)
    parts = [(row, name, part) for row in used for name, part in items[row].parts.items()]
    check("the content", [f"{name} {sha256(part.read())}" for _, name, part in parts], [row for row, _, _ in parts])
    for i, j in pairs.tolist():
        if LEFT_OUT not in (splits[i], splits[j]) and splits[i] != splits[j]:
            raise DataError(f"leak: {items[i].id!r} ({splits[i]}) and {items[j].id!r} ({splits[j]}) are near-duplicates")
