"""How the items of one modality are read: what a kind of input decides, and the column that follows from it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np

from mmjax.data.custom.table import Table, as_file, content, digest, is_missing
from mmjax.data.dataset import Column
from mmjax.data.decode import DataError

__all__ = [
    "MAX_BYTES", "MAX_CHECKED", "InputKind", "RawItems", "Reading", "TableColumns", "column_of", "named_columns", "raw_items",
    "unscaled", "with_training",
]

MAX_BYTES = 2_000_000_000  # of parsed items that are kept in memory; larger columns are read again when they are needed
MAX_CHECKED = 1000  # items of such a column that are read once before training


@dataclass(frozen=True, eq=False)
class RawItems:
    """The m different raw items of a modality.

    raw: the items. pointer: Int32[n], each row's item, -1 if it is missing. train: Int[k], the items of the training rows, as
    often as they occur. where: the place of each item's first cell, for errors. digests: sha256 of the cells.
    """

    raw: Sequence[Any]
    pointer: np.ndarray
    train: np.ndarray
    where: Sequence[str]
    digests: Sequence[bytes]


@dataclass(frozen=True)
class Reading:
    """How raw items of one modality become inputs.

    parse, preprocess: as in `Column`. scale: (column, training items Int[k]) -> the standardised column. sizes: as in
    `Dataset.sizes`. original: raw -> the decoded item, None if published models do not read this modality. dropped: {reason:
    count}.
    """

    parse: Callable[[Any], Any]
    preprocess: Callable[[Any], Any]
    scale: Callable[[Column, np.ndarray], Column]
    sizes: Mapping[str, int]
    original: Callable[[Any], Any] | None = None
    dropped: Mapping[str, int] = field(default_factory=dict)


@runtime_checkable
class InputKind(Protocol):
    """A kind of input; a frozen dataclass.

    files: endings of str cells that are names of files; "" for all. raw: a cell that is not missing -> what `Reading.parse`
    takes. fit: everything that depends on the training items.
    """

    @property
    def files(self) -> tuple[str, ...]: ...

    def raw(self, cell: Any) -> Any: ...

    def fit(self, items: RawItems) -> Reading: ...


class TableColumns(NamedTuple):
    """A modality or target and the columns of the table that it comes from."""

    name: str
    columns: tuple[str, ...]


def named_columns(columns: Mapping[str, Any] | Iterable[str]) -> list[TableColumns]:
    """Names of columns, or {name: column, or columns} -> the columns of each input or target."""
    if isinstance(columns, str):
        columns = [columns]
    pairs = columns.items() if isinstance(columns, Mapping) else [(name, name) for name in columns]
    return [TableColumns(name, (of,) if isinstance(of, str) else tuple(of)) for name, of in pairs]


def raw_items(table: Table, of: TableColumns, kind: InputKind) -> RawItems:
    """The items of a modality; equal cells share one. Raises DataError, naming row and field, for bad cells.

    If several columns form a vector, it is missing where one of them is.
    """
    cells = [table.column(column, f"the input {of.name!r}") for column in of.columns]
    numbers: dict[bytes, int] = {}
    raw, where, pointer = [], [], np.full(len(table), -1, np.int32)
    for row, parts in enumerate(zip(*cells, strict=True)):
        if any(is_missing(part) for part in parts):
            continue
        place = table.where(row, of.columns[0])
        parts = [as_file(part, table.root, place, kind.files) for part in parts]
        cell = parts[0] if len(parts) == 1 else list(parts)
        value, key = _named(place, kind.raw, cell), _named(place, digest, cell)
        number = numbers.setdefault(key, len(raw))
        if number == len(raw):
            raw.append(value)
            where.append(place)
        pointer[row] = number
    if not raw:
        raise DataError(f"{table.name}: field {of.columns[0]!r} is empty in all rows; leave the input {of.name!r} out")
    return RawItems(raw, pointer, np.arange(len(raw)), where, list(numbers))


def with_training(items: RawItems, train: np.ndarray, table: Table, of: TableColumns) -> RawItems:
    """The items with the numbers of those of training rows. train: Bool[n]. Raises DataError if there is none."""
    used = items.pointer[train & (items.pointer >= 0)]
    if not len(used):
        raise DataError(f"{table.name}: field {of.columns[0]!r} is empty in all training rows; use another split")
    return replace(items, train=used)


def column_of(items: RawItems, reading: Reading, fingerprint: str) -> Column:
    """The column of these items. Small columns are read at once, so that a damaged file is reported before any training."""
    read = partial(_item, items, reading.parse)
    first = read(0)
    size = sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(first)) * len(items.raw)
    if size <= MAX_BYTES:
        with ThreadPoolExecutor(4) as pool:
            read = list(pool.map(read, range(len(items.raw)))).__getitem__
    else:
        for number in np.linspace(0, len(items.raw) - 1, MAX_CHECKED).astype(int).tolist():
            read(number)
    original = reading.original and partial(_item, items, reading.original)
    column = Column(
        len(items.raw), read, reading.preprocess, original, fingerprint if original else "", parse=reading.parse
    )
    return reading.scale(column, items.train)


def _item(items: RawItems, parse: Callable[[Any], Any], number: int) -> Any:
    return _named(items.where[number], parse, content(items.raw[number]))


def _named(place: str, function: Callable[[Any], Any], value: Any) -> Any:
    """function(value); an error names the place of the cell."""
    try:
        return function(value)
    except DataError as error:
        raise DataError(f"{place}: {error}") from None
    except OSError as error:
        raise DataError(f"{place}: the file cannot be read ({error.strerror or error})") from None


def unscaled(column: Column, train: np.ndarray) -> Column:
    """No standardisation."""
    del train
    return column
