"""Scores of a trained cell on changed inputs of some of its test rows."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache, cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.audit.audited import DEVICE_BYTES, ROWS_AT_ONCE, Audited, Make
from mmjax.audit.part import AuditedPart
from mmjax.data import feed
from mmjax.data.dataset import Dataset, Rows
from mmjax.data.few import keep_rows
from mmjax.evaluate.predict import bound_apply, predict_split
from mmjax.evaluate.statistics import Estimate, estimates
from mmjax.types import Batch, Tokens

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

    The tokens of the unchanged inputs are computed once and kept, and each change encodes only the modalities that it changes.

    rows: the largest number of test rows of each fold. seed: of the rows. data: {fold: the data with these rows}. weight,
    group, fold: of the units, as in `estimates`.
    """

    def __init__(self, audited: Audited, rows: int, seed: int = 0):
        self.audited = audited
        parts = {part.fold: part for part in audited.parts}
        some = lambda part: needed(sampled(part.dataset, rows, seed), audited.modalities)
        self.data = {fold: some(part) for fold, part in parts.items()}
        self._fold_of = {id(part.dataset): fold for fold, part in parts.items()}
        self._size = min(ROWS_AT_ONCE, max(len(of.splits["test"]) for of in self.data.values()))
        self._units = {fold: part.task.units(self.data[fold], "test") for fold, part in parts.items()}
        joined = lambda name: np.concatenate([getattr(of, name) for of in self._units.values()])
        self.weight, self.group = joined("weight"), joined("group")
        folds = [np.full(len(of.weight), number) for number, of in enumerate(self._units.values())]
        self.fold = np.concatenate(folds) if len(folds) > 1 else None

    def estimates(self, changes: Sequence[Callable[[Dataset], Dataset]]) -> list[Estimate]:
        """The headline metric after each change: the data of a fold -> data with the same test rows."""
        kept = sum(leaf.nbytes for leaf in jax.tree.leaves(self._kept))
        together = max(1, int(DEVICE_BYTES // kept))  # changes whose tokens are in memory at once
        found = []
        for first in range(0, len(changes), together):
            some = changes[first : first + together]
            changed = {fold: [change(data) for change in some] for fold, data in self.data.items()}
            found += [self._estimate(predicted) for predicted in self._predictions(changed)]
        return found

    def _estimate(self, predicted: Mapping[int | None, Any]) -> Estimate:
        name = self.audited.headline
        outcomes = self.audited.scored(predicted, lambda part: self._units[part.fold])
        return estimates({name: self.audited.metrics[name]}, outcomes, self.weight, self.group, self.fold)[name]

    def _predictions(self, changed: Mapping[int | None, Sequence[Dataset]]) -> list[dict[int | None, Any]]:
        """The task's predictions {fold: tree [s n ...]} after each change. changed: {fold: the data after each change}."""
        tokens = {name: self._tokens(name, changed) for name in self.audited.modalities}
        found: dict[int | None, list[Any]] = {}
        for part in self.audited.parts:
            of_fold, datasets = found.setdefault(part.fold, []), changed[part.fold]
            first = sum(len(jax.tree.leaves(trees)[0]) for trees in of_fold)
            seeds = slice(first, first + len(part.model.seeds))
            own = [{name: of[part.fold][k] for name, of in tokens.items()} for k in range(len(datasets))]
            own = jax.tree.map(lambda leaf, s=seeds: leaf[s], own)
            of_fold.append(self._decoded(part, own, [data.splits["test"] for data in datasets]))
        joined = {fold: jax.tree.map(lambda *leaves: np.concatenate(leaves), *trees) for fold, trees in found.items()}
        return [{fold: trees[k] for fold, trees in joined.items()} for k in range(len(next(iter(joined.values()))))]

    def _decoded(self, part: AuditedPart, tokens: Sequence[Mapping[str, Tokens]], rows: Sequence[Rows]) -> list[Any]:
        """The predictions [s n ...] of a part after each change, from tokens [s n ...] and the test rows."""
        run = self.audited.compiled(_decoder(self.audited.complete), part)
        variables, frozen = jax.device_put((part.model.variables, part.model.frozen))
        swapped = lambda tree: jax.tree.map(lambda leaf: leaf.swapaxes(0, 1), tree)

        def call(batch: Batch) -> Any:
            return run(dict(variables) | {"tokens": swapped(batch.inputs)}, frozen, batch.replace(inputs={}))

        found = []
        for of, test in zip(tokens, rows, strict=True):  # the tokens of a row are its items
            pointer = {name: np.where(np.asarray(test.pointer[name]) >= 0, np.arange(len(test)), -1) for name in of}
            given = feed.DeviceFeed(jax.tree.map(jnp.asarray, swapped(of)), test.replace(pointer=pointer))
            found.append(predict_split(call, given, len(test), axis=1, size=min(self._size, len(test))))
        return found

    def _tokens(self, name: str, changed: Mapping[int | None, Sequence[Dataset]]) -> dict[int | None, list[Tokens]]:
        """{fold: the tokens [s n ...] of a modality after each change}."""
        kept, count = self._kept[name], len(next(iter(changed.values())))
        new = [k for k in range(count) if any(_changes(self.data[fold], of[k], name) for fold, of in changed.items())]
        if not new:
            return {fold: [kept[fold]] * count for fold in changed}
        only = lambda fold, k: _with_modality(self.data[fold], changed[fold][k], name)
        encoded = self._encoded(name, {fold: side_by_side([only(fold, k) for k in new]) for fold in changed})
        at = lambda tokens, k: jax.tree.map(lambda leaf: np.split(leaf, len(new), axis=1)[new.index(k)], tokens)
        return {fold: [at(encoded[fold], k) if k in new else kept[fold] for k in range(count)] for fold in changed}

    @cached_property
    def _kept(self) -> dict[str, dict[int | None, Tokens]]:
        """{modality: {fold: tokens [s n ...]}} of the unchanged inputs."""
        return {name: self._encoded(name, self.data) for name in self.audited.modalities}

    def _encoded(self, name: str, data: Mapping[int | None, Dataset]) -> dict[int | None, Tokens]:
        """{fold: the tokens [s n ...] of a modality of the test rows}, by one program: all calls have batches of equal size."""
        return self.audited.predict(_encoder(name), change=lambda of: data[self._fold_of[id(of)]], size=self._size)


def _changes(old: Dataset, new: Dataset, name: str) -> bool:
    """Whether inputs of a modality differ; those that are only masked do not."""
    before, after = (np.asarray(of.splits["test"].pointer[name]) for of in (old, new))
    return new.columns[name] is not old.columns[name] or bool(((after >= 0) & (after != before)).any())


def _with_modality(dataset: Dataset, other: Dataset, name: str) -> Dataset:
    """The data with the test inputs of one modality of other data."""
    rows = dataset.splits["test"]
    pointer = {**rows.pointer, name: other.splits["test"].pointer[name]}
    columns = {**dataset.columns, name: other.columns[name]}
    return replace(dataset, columns=columns, splits={**dataset.splits, "test": rows.replace(pointer=pointer)})


@cache
def _encoder(name: str) -> Make:
    """A part -> (variables, batch) -> the tokens of one modality. The compiler removes the encoders of the others."""
    return lambda part: lambda variables, batch: part.model.module.apply(variables, batch, method="encode")[name]


@cache
def _decoder(complete: str) -> Make:
    """A part -> (variables and {"tokens": {modality: Tokens}}, batch without inputs) -> the task's predictions [b ...]."""

    def make(part: AuditedPart) -> Callable[[Any, Batch], Any]:
        def decode(variables: Any, batch: Batch) -> Any:
            tokens = variables["tokens"]
            variables = {name: tree for name, tree in variables.items() if name != "tokens"}
            present = {name: of & (name in complete.split("+")) for name, of in batch.present.items()}
            return part.task.predict(bound_apply(part.model.module, variables, batch), tokens, present, batch)

        return decode

    return make
