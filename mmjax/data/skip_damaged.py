"""A wrapper that leaves out the rows of a table whose files cannot be read. Without it, the first such row stops the run."""

import dataclasses
from functools import lru_cache
from typing import Annotated, Any

import numpy as np
import tyro

from mmjax.data.custom.data import TableData
from mmjax.data.custom.input_kinds import Texts
from mmjax.data.custom.reading import InputKind, TableColumns, raw_items
from mmjax.data.custom.table import Source, Table, content, is_missing
from mmjax.data.dataset import Dataset
from mmjax.data.decode import DataError

__all__ = ["SkipDamaged", "damaged_rows"]


@dataclasses.dataclass(frozen=True)
class SkipDamaged:
    """The same data without the rows that have an image, sound, video, series or vector that cannot be read.

    All files are read once, before anything is split, fitted or trained. So every seed, fold and resume has the same rows, and
    `Dataset.dropped` has their exact number. Other errors of the data still stop the run. The names of rows that have no column
    of ids stay their numbers in the file.

    data: of `from_manifest`, `from_arrays` or `mmjax.data.formats`. Raises DataError if every row is damaged.
    """

    data: Annotated[TableData, tyro.conf.arg(name="")]

    @property
    def folds(self) -> int:
        return self.data.folds

    def at_fold(self, fold: int) -> "SkipDamaged":
        return SkipDamaged(self.data.at_fold(fold))

    def load(self) -> Dataset:
        """Reads the table and all files. Raises DataError for anything else that cannot be used."""
        table, damaged = _checked(self.data.source, self.data.inputs, self.data.kinds)
        if len(damaged) == len(table):
            first = next(iter(next(iter(damaged.values())).values()))
            raise DataError(f"SkipDamaged: no row of {table.name} can be read; the first error is: {first}")
        source, ids = _Kept(self.data.source, tuple(row for row in range(len(table)) if row not in damaged)), self.data.ids
        dataset = dataclasses.replace(self.data, source=source, ids=ids or (None if "id" in table.cells else "id")).load()
        names = [name for found in damaged.values() for name in found]
        counts = {f"rows with a damaged {name}": names.count(name) for name in sorted(set(names))}
        return dataclasses.replace(dataset, dropped={**dataset.dropped, **counts})


@dataclasses.dataclass(frozen=True)
class _Kept:
    """Some rows of a source, named by their numbers in it unless there is a column of that name."""

    source: Any
    rows: tuple[int, ...]

    def read(self) -> Table:
        table = self.source.read()
        names = {} if "id" in table.cells else {"id": [f"{row + 1}" for row in range(len(table))]}
        return dataclasses.replace(table, cells={**table.cells, **names}).at(self.rows)


@lru_cache(maxsize=2)
def _checked(
    source: Source, inputs: tuple[TableColumns, ...], kinds: tuple[tuple[str, Any], ...]
) -> tuple[Table, dict[int, dict[str, str]]]:
    """(the table, its damaged rows); once for all folds."""
    table, data = source.read(), TableData(source, inputs, kinds=kinds)
    known = data.resolved(table)
    return table, damaged_rows(table, inputs, {of.name: known[of.name] for of in inputs})


def damaged_rows(
    table: Table, inputs: tuple[TableColumns, ...], kinds: dict[str, InputKind]
) -> dict[int, dict[str, str]]:
    """{row: {input: the error}} of the rows that have inputs which cannot be read. Texts are always read."""
    found: dict[int, dict[str, str]] = {}
    for of in inputs:
        cells = [table.column(column, f"the input {of.name!r}") for column in of.columns]
        for row in range(len(table)) if not isinstance(kinds[of.name], Texts) else ():
            if any(is_missing(column[row]) for column in cells):
                continue
            try:
                items = raw_items(table.at([row]), of, kinds[of.name])
                kinds[of.name].fit(dataclasses.replace(items, train=np.zeros(1, np.int64))).parse(content(items.raw[0]))
            except DataError as error:
                found.setdefault(row, {})[of.name] = str(error)
    return dict(sorted(found.items()))
