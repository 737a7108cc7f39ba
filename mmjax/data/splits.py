"""Splits that leak nothing: whole groups go to one fold, and every fold has about the same mix of labels."""

from typing import NamedTuple

import numpy as np


class Split(NamedTuple):
    """Indices into the examples, each int64 and ascending; together they name every example once."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def grouped_folds(groups: np.ndarray, labels: np.ndarray, folds: int = 5, seed: int = 0) -> np.ndarray:
    """Deals whole groups to folds so that every label is spread evenly: stratified, grouped k-fold.

    groups: (n,) integers, equal for examples that must stay together; labels: (n,) integers or strings;
    folds: number of folds, 2 or more; seed: decides the order among groups of equal size.
    Returns int64 (n,): the fold of each example, in [0, folds). Depends on the arguments alone.
    Greedy, biggest group first: a group goes where its labels are rarest yet, then to the smallest fold.
    Raises ValueError that names the argument at fault.
    """
    groups, labels = np.asarray(groups), np.asarray(labels)
    if groups.ndim != 1 or labels.shape != groups.shape:
        raise ValueError(f"groups {groups.shape} and labels {labels.shape} must have one dimension and equal length")
    if folds < 2:
        raise ValueError(f"folds is {folds}, but must be at least 2")
    group_names, group_of = np.unique(groups, return_inverse=True)
    if len(group_names) < folds:
        raise ValueError(f"groups has {len(group_names)} different values, which cannot fill folds={folds}")
    label_names, label_of = np.unique(labels, return_inverse=True)
    counts_gl = np.zeros((len(group_names), len(label_names)))
    np.add.at(counts_gl, (group_of, label_of), 1)
    weights_l = 1 / counts_gl.sum(axis=0)  # a rare label counts as much as a frequent one

    shuffled = np.random.default_rng(seed).permutation(len(group_names))
    order = shuffled[np.argsort(-counts_gl[shuffled].sum(axis=1), kind="stable")]
    totals_fl = np.zeros((folds, len(label_names)))
    fold_of_group = np.zeros(len(group_names), dtype=np.int64)
    for group in order:
        crowding_f = totals_fl @ (weights_l * counts_gl[group])
        fold = np.lexsort((totals_fl.sum(axis=1), crowding_f))[0]
        totals_fl[fold] += counts_gl[group]
        fold_of_group[group] = fold
    return fold_of_group[group_of]


def train_validation_test(folds_of: np.ndarray, fold: int) -> Split:
    """Test is fold `fold`, validation the next one (around the end), training the rest.

    folds_of: integers (n,), the fold of each example, as grouped_folds returns them, at least three folds.
    Raises ValueError for fewer folds, or for a fold that does not exist.
    """
    folds_of = np.asarray(folds_of)
    if folds_of.ndim != 1 or len(folds_of) == 0:
        raise ValueError(f"folds_of has shape {folds_of.shape}, but must be a list of fold numbers with one dimension")
    folds = int(folds_of.max()) + 1
    if folds < 3:
        raise ValueError(f"folds_of has {folds} folds, but training, validation and test need 3")
    if not 0 <= fold < folds:
        raise ValueError(f"fold is {fold}, but must lie in [0, {folds})")
    test, validation = folds_of == fold, folds_of == (fold + 1) % folds
    return Split(*(np.flatnonzero(mask) for mask in (~test & ~validation, validation, test)))
