"""Kinds of targets: how the cells of one target become an array. A kind is a frozen dataclass."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from mmjax.data.custom.input_kinds import MAX_TOKENS, fit_tokenizer, number_array, text_of
from mmjax.data.custom.table import Cells, is_missing
from mmjax.data.decode import DataError
from mmjax.data.text import Subwords, TokenizerTrainer, text_targets

__all__ = ["Captions", "Labels", "Scores", "TagSets", "TargetArray", "TargetKind", "class_name", "sorted_names"]


@dataclass(frozen=True)
class TargetArray:
    """values: [n ...] as in `Rows.targets`. classes: names, () for targets without. sizes, dropped: as in `Dataset`. tokenizer:
    of texts, None for other targets."""

    values: np.ndarray
    classes: tuple[str, ...] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    tokenizer: Any = None


@runtime_checkable
class TargetKind(Protocol):
    """A kind of target. cells: n of them. train: Bool[n]. where: row -> the place of its cell, for errors."""

    def array(self, cells: Cells, train: np.ndarray, where: Callable[[int], str]) -> TargetArray: ...


@dataclass(frozen=True)
class Labels:
    """Names or integers -> Int[n], one of several classes; -1 if missing.

    classes: their names in order; (): all that occur, sorted.
    """

    classes: tuple[str, ...] = ()

    def array(self, cells: Cells, train: np.ndarray, where: Callable[[int], str]) -> TargetArray:
        del train
        names = [None if is_missing(cell) else class_name(cell, where(row)) for row, cell in enumerate(cells)]
        found = {name for name in names if name is not None}
        classes = self.classes or sorted_names(found)
        _check_classes("Labels", classes, where(0))
        numbers = {name: number for number, name in enumerate(classes)}
        values = np.full(len(names), -1, np.int32)
        for row, name in enumerate(names):
            if name is not None:
                values[row] = _number_of(name, numbers, where(row))
        return TargetArray(values, tuple(classes))


@dataclass(frozen=True)
class Scores:
    """Numbers, or arrays [k] of them -> Float[n] or Float[n k]; NaN if missing."""

    def array(self, cells: Cells, train: np.ndarray, where: Callable[[int], str]) -> TargetArray:
        del train
        arrays = [None if is_missing(cell) else _score(cell, where(row)) for row, cell in enumerate(cells)]
        shape = next((array.shape for array in arrays if array is not None), None)
        if shape is None:
            raise DataError(f"{where(0)} and all other rows are empty; leave the target out")
        values = np.full((len(arrays), *shape), np.nan, np.float32)
        for row, array in enumerate(arrays):
            if array is not None and array.shape != shape:
                raise DataError(f"{where(row)}: its shape is {list(array.shape)}; other rows have {list(shape)}")
            if array is not None:
                values[row] = array
        return TargetArray(values)


@dataclass(frozen=True)
class TagSets:
    """Sets of tags -> Int[n l], 1 if a tag applies and 0 if not; -1 everywhere if the cell is missing. An empty list or set is
    a row without tags.

    separator: of the tags in a str cell. classes: the tags in order; (): all that occur, sorted. Arrays of 0 and 1 are taken
    as they are.
    """

    separator: str = ";"
    classes: tuple[str, ...] = ()

    def array(self, cells: Cells, train: np.ndarray, where: Callable[[int], str]) -> TargetArray:
        del train
        sets = [None if is_missing(cell) else self._tags(cell, where(row)) for row, cell in enumerate(cells)]
        classes = self.classes or sorted_names({tag for tags in sets if tags for tag in tags})
        _check_classes("TagSets", classes, where(0), 1)
        numbers = {name: number for number, name in enumerate(classes)}
        values = np.full((len(sets), len(classes)), -1, np.int32)
        for row, tags in enumerate(sets):
            if tags is not None:
                values[row] = 0
                for tag in tags:
                    values[row, _number_of(tag, numbers, where(row))] = 1
        return TargetArray(values, tuple(classes))

    def _tags(self, cell: Any, where: str) -> set[str]:
        if isinstance(cell, str):
            return {tag.strip() for tag in cell.split(self.separator) if tag.strip()}
        if isinstance(cell, np.ndarray) and cell.ndim == 1 and cell.dtype.kind in "biu":
            if not np.isin(cell, (0, 1)).all():
                raise DataError(f"{where}: the array has {cell[~np.isin(cell, (0, 1))][0]}; tags are 0 or 1, or a set of names")
            return {str(number) for number in np.flatnonzero(cell)}
        if not isinstance(cell, Collection):
            raise DataError(f"{where}: it is {type(cell).__name__}; tags are a list or set of names")
        return {class_name(tag, where) for tag in cell}


@dataclass(frozen=True)
class Captions:
    """Strings -> token ids, Int[n l], and the end token 0, which a truncated caption lacks; -1 after it and if missing.

    The strings are in the metadata.

    tokenizer: trained on the training captions. max_tokens: longer captions are truncated; None: the longest training caption
    and its end token, at most 64.
    """

    tokenizer: TokenizerTrainer = Subwords()
    max_tokens: int | None = None

    def array(self, cells: Cells, train: np.ndarray, where: Callable[[int], str]) -> TargetArray:
        there = [row for row, cell in enumerate(cells) if not is_missing(cell)]
        texts = []
        for row in there:
            try:
                texts.append(text_of(cells[row]))
            except DataError as error:
                raise DataError(f"{where(row)}: {error}") from None
        trained = np.flatnonzero(train[there])
        if not len(trained):
            raise DataError(f"{where(0)} and all other training rows are empty; leave the target out")
        tokenizer, length, _ = fit_tokenizer(self.tokenizer, texts, trained, self.max_tokens)
        length = self.max_tokens or min(length + 1, MAX_TOKENS)
        values, truncated = text_targets(tokenizer, dict(zip(there, texts)), len(cells), length)
        sizes = {"vocabulary": tokenizer.vocabulary, "length": length}
        return TargetArray(values, (), sizes, {f"captions truncated to {length} tokens": truncated}, tokenizer)


def class_name(cell: Any, where: str) -> str:
    """The name of a class. Raises DataError for a cell that cannot be one."""
    if isinstance(cell, (bool, np.bool_)):
        return "yes" if cell else "no"
    if isinstance(cell, str):
        return cell.strip()
    if isinstance(cell, (int, np.integer)):
        return str(int(cell))
    if isinstance(cell, (float, np.floating)) and float(cell).is_integer():
        return str(int(cell))
    raise DataError(f"{where}: it is {type(cell).__name__} {str(cell)[:40]!r}; the name of a class is a str or an integer")


def sorted_names(names: Collection[str]) -> tuple[str, ...]:
    """Sorted by value if all are integers, else by name."""
    integers = all(name.lstrip("-").isdecimal() for name in names)
    return tuple(sorted(names, key=lambda name: (int(name) if integers else 0, name)))  # "1" before "01", in every process


def _check_classes(kind: str, classes: Sequence[str], where: str, least: int = 2) -> None:
    repeated = len(set(classes)) < len(classes)
    if len(classes) < least or repeated:
        given = "one is repeated" if repeated else f"the field has {', '.join(classes) or 'none'}"
        raise DataError(f"{where}: {kind} needs at least {least} different class{'es' * (least > 1)}; {given}")


def _number_of(name: str, numbers: Mapping[str, int], where: str) -> int:
    if name not in numbers:
        raise DataError(f"{where}: {name!r} is not one of the classes {', '.join(numbers)}")
    return numbers[name]


def _score(cell: Any, where: str) -> np.ndarray:
    try:
        array = number_array(cell).astype(np.float32)
    except DataError as error:
        raise DataError(f"{where}: {error}") from None
    if array.ndim > 1 or np.isinf(array).any():
        raise DataError(f"{where}: it is {str(cell)[:40]}; a score is a finite number, or an array [k] of them")
    return array
