"""Scores of a trained cell on changed inputs of some of its test rows."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import numpy as np

from mmjax.audit.audited import Audited
from mmjax.data import feed
from mmjax.data.dataset import Dataset, Rows
from mmjax.data.few import keep_rows
from mmjax.evaluate.statistics import Estimate, estimates

__all__ = ["Changed", "needed", "sampled", "side_by_side", "unchanged"]


def unchanged(dataset: Dataset) -> Dataset:
    """The data as they are."""
    return dataset


def sampled(dataset: Dataset, rows: int, seed: int = 0) -> Dataset:
    """The data with at most this number of random test rows, in their order.

    All rows if the metadata have an entry for each labelled step instead of each row.
    """
    count, metadata = len(dataset.splits["test"]), dataset.metadata["test"]
    if count <= rows or any(len(column) != count for column in metadata.values()):
        return dataset
    kept = {split: np.arange(len(of)) for split, of in dataset.splits.items()}
    kept["test"] = np.sort(np.random.default_rng(seed).permutation(count)[:rows])
    return keep_rows(dataset, kept)


def needed(dataset: Dataset, modalities: Iterable[str]) -> Dataset:
    """The data with the columns of these modalities, and with the items of test rows alone, in memory; other splits must not be
    used.

    Columns are as long as a multiple of `feed.CHUNK`, so that those of all folds have equal shapes, and one compiled program.
    """
    rows, columns, pointer = dataset.splits["test"], {}, {}
    for name in sorted(modalities):
        column, old = dataset.columns[name], np.asarray(rows.pointer[name])
        used = np.unique(old[old >= 0])
        used = used if len(used) else np.zeros(1, int)  # an absent modality still has a shape
        pointer[name] = np.where(old >= 0, np.searchsorted(used, old), -1).astype(old.dtype)
        original = None if column.original is None else partial(_nth, column.original, used)
        items = [column.read(int(number)) for number in used]  # once, for all changes
        read = partial(_read_of, [items.__getitem__], [len(used)])
        columns[name] = replace(column, count=_rounded(len(used)), read=read, original=original)
    return replace(dataset, columns=columns, splits={**dataset.splits, "test": rows.replace(pointer=pointer)})


def side_by_side(datasets: Sequence[Dataset]) -> Dataset:
    """One data set whose test rows are those of several ones after each other; other splits must not be used.

    datasets: with equal modalities and targets. A column that several of them share occurs once.
    """
    first, columns, pointer = datasets[0], {}, {}
    for name in first.columns:
        used = [dataset.columns[name] for dataset in datasets]
        own = list({id(column): column for column in used}.values())
        ends = np.cumsum([column.count for column in own])
        start = {id(column): int(end) - column.count for column, end in zip(own, ends)}
        old = [np.asarray(dataset.splits["test"].pointer[name]) for dataset in datasets]
        moved = [np.where(of >= 0, of + start[id(column)], -1).astype(of.dtype) for of, column in zip(old, used)]
        pointer[name] = np.concatenate(moved)
        if len(own) > 1:
            read = partial(_read_of, [column.read for column in own], ends.tolist())
            columns[name] = replace(own[0], count=_rounded(int(ends[-1])), read=read, original=None)
        else:
            columns[name] = own[0]
    rows = [dataset.splits["test"] for dataset in datasets]
    joined = lambda *leaves: np.concatenate([np.asarray(leaf) for leaf in leaves])
    targets, weight = jax.tree.map(joined, *((of.targets, of.weight) for of in rows))
    return replace(first, columns=columns, splits={**first.splits, "test": Rows(pointer, targets, weight)})


def _rounded(count: int) -> int:
    return -(-count // feed.CHUNK) * feed.CHUNK


def _read_of(reads: Sequence[Callable[[int], Any]], ends: Sequence[int], number: int) -> Any:
    """Item `number` of several columns after each other, which end at these numbers; after all of them, the last item."""
    number = min(number, ends[-1] - 1)
    which = bisect_right(ends, number)
    return reads[which](number - (ends[which - 1] if which else 0))


def _nth(read: Callable[[int], Any], numbers: np.ndarray, number: int) -> Any:
    return read(int(numbers[number]))


class Changed:
    """The headline metric of all seeds of a cell with all modalities, on (some of) the test rows with changed inputs.

    rows: the largest number of test rows of each fold. seed: of the rows. data: {fold: the data with these rows}. weight,
    group, fold: of the units, as in `estimates`.
    """

    def __init__(self, audited: Audited, rows: int, seed: int = 0):
        self.audited = audited
        parts = {part.fold: part for part in audited.parts}
        some = lambda part: needed(sampled(part.dataset, rows, seed), audited.modalities)
        self.data = {fold: some(part) for fold, part in parts.items()}
        self._of_whole = {id(part.dataset): self.data[fold] for fold, part in parts.items()}
        self._units = {fold: part.task.units(self.data[fold], "test") for fold, part in parts.items()}
        joined = lambda name: np.concatenate([getattr(of, name) for of in self._units.values()])
        self.weight, self.group = joined("weight"), joined("group")
        folds = [np.full(len(of.weight), number) for number, of in enumerate(self._units.values())]
        self.fold = np.concatenate(folds) if len(folds) > 1 else None

    def estimates(self, changes: Sequence[Callable[[Dataset], Dataset]]) -> list[Estimate]:
        """The headline metric after each change, which are predicted together. A change: the data of a fold -> data with the
        same test rows."""
        whole = lambda dataset: side_by_side([change(self._of_whole[id(dataset)]) for change in changes])
        predicted = self.audited.predictions(change=whole)
        name, found = self.audited.headline, []
        for number in range(len(changes)):
            part = lambda leaf, k=number: np.split(leaf, len(changes), axis=1)[k]
            own = {fold: jax.tree.map(part, tree) for fold, tree in predicted.items()}
            outcomes = self.audited.scored(own, lambda of: self._units[of.fold])
            metric = {name: self.audited.metrics[name]}
            found.append(estimates(metric, outcomes, self.weight, self.group, self.fold)[name])
        return found
