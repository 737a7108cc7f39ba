"""Splits without leaks: a group belongs to one fold, folds have similar label frequencies, and splits are checked."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

from mmjax.data.dataset import Dataset
from mmjax.data.decode import DataError

__all__ = ["CrossValidated", "check_splits", "folds_of", "grouped_folds", "train_validation_test", "with_fold"]


@runtime_checkable
class CrossValidated(Protocol):
    """Data with folds, each of which can be the test split, so that every example is a test example once.

    at_fold(k): the same data with fold k as the test split; ids and groups do not change. It also has the attribute
    `folds`, the number of folds.
    """

    def at_fold(self, fold: int) -> Any: ...

    def load(self) -> Dataset: ...


def folds_of(data: Any) -> int:
    """The number of folds of the data in a wrapper. Raises DataError if the data have an official test split."""
    return _cross_validated(data).folds


def with_fold(data: Any, fold: int) -> Any:
    """The data in a wrapper with this test fold. Raises DataError if the data have an official test split."""
    return _cross_validated(data).at_fold(fold)


def _cross_validated(data: Any) -> Any:
    if not isinstance(data, CrossValidated):
        raise DataError(f"{type(data).__name__} has an official test split, so it has no folds for cross-validation")
    return data


def grouped_folds(groups: np.ndarray, labels: np.ndarray, folds: int = 5, seed: int = 0) -> np.ndarray:
    """Stratified, grouped k-fold: assigns whole groups to folds so that every label is spread evenly.

    groups: (n,) integers, equal for examples that must be in one fold. labels: (n,) integers or strings. folds: at least 2.
    seed: determines the order of groups of equal size.
    Returns int64 (n,), the fold of each example in [0, folds). The result depends on the arguments alone.
    Greedy, largest group first: a group goes to the fold where its labels are rarest; of several, to the smallest fold.
    Raises DataError, naming the argument, for other shapes, a negative seed, or more folds than groups.
    """
    groups, labels = np.asarray(groups), np.asarray(labels)
    if groups.ndim != 1 or labels.shape != groups.shape:
        raise DataError(f"groups {groups.shape} and labels {labels.shape} must have one dimension and equal length")
    if seed < 0:
        raise DataError(f"the seed of the split is {seed}; it must be at least 0")
    group_names, group_of = np.unique(groups, return_inverse=True)
    if not 2 <= folds <= len(group_names):
        raise DataError(f"folds is {folds}; it must lie in [2, {len(group_names)}], the number of leak-free groups")
    label_names, label_of = np.unique(labels, return_inverse=True)
    counts_gl = np.zeros((len(group_names), len(label_names)))
    np.add.at(counts_gl, (group_of, label_of), 1)
    weights_l = 1 / counts_gl.sum(axis=0)  # a rare label counts as much as a frequent one

    shuffled = np.random.default_rng(seed).permutation(len(group_names))
    order = shuffled[np.argsort(-counts_gl[shuffled].sum(axis=1), kind="stable")]
    totals_fl = np.zeros((folds, len(label_names)))
    fold_of_group = np.zeros(len(group_names), dtype=np.int64)
    for group in order:
        # The last bits depend on the CPU, and would decide between equal folds.
        overlap_f = np.round(totals_fl @ (weights_l * counts_gl[group]), 9)
        fold = np.lexsort((totals_fl.sum(axis=1), overlap_f))[0]
        totals_fl[fold] += counts_gl[group]
        fold_of_group[group] = fold
    return fold_of_group[group_of]


def train_validation_test(folds_of: np.ndarray, fold: int) -> dict[str, np.ndarray]:
    """Fold `fold` is the test split, the next one (cyclically) validation, and the rest training.

    folds_of: integers (n,), the fold of each example as returned by `grouped_folds`; at least three folds.
    Returns {split: int64 indices of its examples, ascending}; every example is in one split.
    Raises DataError for fewer than three folds, or for a fold that does not exist.
    """
    folds_of = np.asarray(folds_of)
    if folds_of.ndim != 1 or len(folds_of) == 0:
        raise DataError(f"folds_of has shape {folds_of.shape}; it must be one fold number per example")
    folds = int(folds_of.max()) + 1
    if folds < 3:
        raise DataError(f"folds_of has {folds} folds; training, validation and test need 3")
    if not 0 <= fold < folds:
        raise DataError(f"fold is {fold}; it must lie in [0, {folds})")
    test, validation = folds_of == fold, folds_of == (fold + 1) % folds
    masks = {"train": ~test & ~validation, "validation": validation, "test": test}
    return {split: np.flatnonzero(mask) for split, mask in masks.items()}


def check_splits(dataset: Dataset) -> bool:
    """Whether the splits are known to be leak-free, which is True if the metadata of all of them have groups.

    Raises DataError if an id or a group occurs in two splits, or if the metadata of a split have no ids.
    """
    for split in dataset.splits:
        if "id" not in dataset.metadata.get(split, {}):
            raise DataError(f"the metadata of the {split} split have no 'id' column; each example needs a name")
    _check_disjoint("id", "an example", {split: dataset.metadata[split]["id"] for split in dataset.splits})
    if not all("group" in dataset.metadata[split] for split in dataset.splits):
        return False
    _check_disjoint("group", "a group", {split: dataset.metadata[split]["group"] for split in dataset.splits})
    return True


def _check_disjoint(column: str, noun: str, values: Mapping[str, np.ndarray]) -> None:
    split_of: dict[Any, str] = {}
    for split, array in values.items():
        for value in np.unique(array).tolist():
            other = split_of.setdefault(value, split)
            if other != split:
                raise DataError(f"{column} {value!r} is in the splits {other!r} and {split!r}; {noun} belongs to one split")
