"""A user's own data as the value of `Experiment.data`, from any source that is a table."""

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from mmjax.data.custom.infer import input_kind, target_kind
from mmjax.data.custom.input_kinds import Images, Sounds, Texts, TimeSeries, Videos
from mmjax.data.custom.media import media_of
from mmjax.data.custom.reading import InputKind, RawItems, TableColumns, column_of, raw_items, with_training
from mmjax.data.custom.splitting import KFold, RowGroups, Splitting
from mmjax.data.custom.table import Cells, Source, Table, is_missing
from mmjax.data.custom.target_kinds import Labels, Scores, TargetArray, TargetKind
from mmjax.data.dataset import Dataset, Rows
from mmjax.data.decode import DataError
from mmjax.data.groups import connected_groups, pairs_sharing_a_key

__all__ = ["MEDIA", "SPLITS", "TableData", "table_data"]

SPLITS = ("train", "validation", "test")
MEDIA = (Images, Sounds, TimeSeries, Videos)  # kinds whose equal items are the same recording or image


@dataclasses.dataclass(frozen=True)
class TableData:
    """A user's own data. `from_arrays`, `from_manifest` and `mmjax.data.formats` return it.

    source: where the table comes from. inputs, targets: (name, columns of the table) of each modality and target. kinds: (name,
    kind) of those that are stated; the others are inferred. groups: the columns whose equal values make rows dependent, such as
    a speaker; rows of one group share a split. (): equal images, sounds, videos and series make rows dependent. ids: the column
    of names of the rows, None for their numbers.
    split: how rows are split: `KFold()`, `SplitColumn()` or `HeldOut()`.

    Missing cells are missing modalities and missing targets. Tokenizers and z-scores are fitted on the training split.
    """

    source: tyro.conf.Suppress[Any]
    inputs: tyro.conf.Suppress[tuple[TableColumns, ...]]
    targets: tyro.conf.Suppress[tuple[TableColumns, ...]] = ()
    kinds: tyro.conf.Suppress[tuple[tuple[str, Any], ...]] = ()
    groups: tyro.conf.Suppress[tuple[str, ...]] = ()
    ids: tyro.conf.Suppress[str | None] = None
    split: Any = KFold()

    @property
    def folds(self) -> int:
        """The number of folds of a cross-validation. Raises DataError if the data have one split."""
        return self._folded().folds

    def at_fold(self, fold: int) -> "TableData":
        """The same data with this test fold. Ids and groups do not depend on it."""
        return dataclasses.replace(self, split=dataclasses.replace(self._folded(), fold=fold))

    def _folded(self) -> KFold:
        if not isinstance(self.split, KFold):
            raise DataError(f"the split is {self.split}, so there are no folds for cross-validation; use KFold()")
        return self.split

    def load(self) -> Dataset:
        """Reads the table and all files, and fits tokenizers and z-scores on the training split.

        Raises DataError, which names the file, the row and the field, for anything that cannot be used.
        """
        table = self.source.read()
        self._check(table)
        kinds = self.resolved(table)
        ids, given = _ids(table, self.ids), _given_groups(table, self.groups)
        items = {of.name: raw_items(table, of, kinds[of.name]) for of in self.inputs}
        media = [items[of.name] for of in self.inputs if isinstance(kinds[of.name], MEDIA)]
        group = _equal_media(len(table), media) if given is None else given
        rows = RowGroups(group, _group_names(table, self.groups, ids), self._strata(table, kinds), given is not None)
        split = self.split.split_of(table, rows)
        if given is None:  # an official split may divide equal media, which `check_dataset` counts
            group = _equal_media(len(table), media, split)
        train = split == "train"
        items = {of.name: with_training(items[of.name], train, table, of) for of in self.inputs}
        readings = {name: kinds[name].fit(found) for name, found in items.items()}
        targets = {of.name: self._target(table, of, kinds[of.name], train) for of in self.targets}
        columns = {
            # The kind decides how a cell is read, such as its sample rate.
            name: column_of(found, readings[name], _sha256([*found.digests, repr(kinds[name]).encode()]))
            for name, found in items.items()
        }
        at = {name: np.flatnonzero(split == name) for name in SPLITS}
        metadata = {"id": ids, "group": group} | _metadata(table, self, kinds, items)
        sized = {name: reading.sizes for name, reading in readings.items()}
        sized |= {name: target.sizes for name, target in targets.items() if target.sizes}
        return Dataset(
            columns=columns,
            splits={name: _rows(items, targets, rows) for name, rows in at.items()},
            metadata={name: {key: values[rows] for key, values in metadata.items()} for name, rows in at.items()},
            fingerprint=self._fingerprint(kinds, items, targets, metadata, split),
            sizes=sized,
            classes={name: target.classes for name, target in targets.items() if target.classes},
            tokenizers={name: target.tokenizer for name, target in targets.items() if target.tokenizer},
            dropped=_dropped({**readings, **targets}),
            media=partial(media_of, {name: (kinds[name], found) for name, found in items.items()}, at["test"]),
            source=f"{Path(table.name).name} ({', '.join(f'{name}: {type(kind).__name__}' for name, kind in kinds.items())})",
        )

    def resolved(self, table: Table) -> dict[str, Any]:
        """{name: kind} of all inputs and targets: the stated kinds, and the inferred ones."""
        stated, kinds = dict(self.kinds), {}
        for of in self.inputs:
            kinds[of.name] = stated.get(of.name) or input_kind(table, of.columns[0])
        for of in self.targets:
            kinds[of.name] = stated.get(of.name) or target_kind(table, of.columns[0])
        return kinds

    def _check(self, table: Table) -> None:
        names = [of.name for of in (*self.inputs, *self.targets)]
        repeated = next((name for name in names if names.count(name) > 1), None)
        if repeated or not self.inputs:
            what = f"{repeated!r} is the name of two inputs or targets" if repeated else "there is no input"
            raise DataError(f"{table.name}: {what}; each needs a name of its own")
        for name, kind in self.kinds:
            if name not in names:
                raise DataError(f"kinds: there is no input or target {name!r}; there are {', '.join(names)}")
            wanted = InputKind if name in {of.name for of in self.inputs} else TargetKind
            if not isinstance(kind, wanted):
                raise DataError(f"kinds: {kind!r} is not an {wanted.__name__}, which {name!r} needs")
        for of in (*self.inputs, *self.targets):
            for column in of.columns:
                table.column(column, repr(of.name))
        if not len(table):
            raise DataError(f"{table.name}: there are no rows; it needs at least one for each split")
        for column, cells in table.cells.items():
            if len(cells) != len(table):
                first = next(iter(table.cells))
                raise DataError(f"{table.name}: field {column!r} has {len(cells)} rows, and {first!r} has {len(table)}")

    def _cells(self, table: Table, of: TableColumns) -> Cells:
        cells = [table.column(column, f"the target {of.name!r}") for column in of.columns]
        return cells[0] if len(cells) == 1 else [
            None if any(map(is_missing, parts)) else list(parts) for parts in zip(*cells, strict=True)
        ]  # fmt: skip

    def _target(self, table: Table, of: TableColumns, kind: TargetKind, train: np.ndarray) -> TargetArray:
        return kind.array(self._cells(table, of), train, lambda row: table.where(row, of.columns[0]))

    def _strata(self, table: Table, kinds: Mapping[str, Any]) -> np.ndarray:
        """[n], what the folds have in equal parts: the first `Labels`, else fifths of the first `Scores`."""
        everything, count = np.ones(len(table), bool), len(table)
        for of in self.targets:
            if isinstance(kinds[of.name], Labels):
                return self._target(table, of, kinds[of.name], everything).values
        for of in self.targets:
            if isinstance(kinds[of.name], Scores):
                values = self._target(table, of, kinds[of.name], everything).values.reshape(count, -1)[:, 0]
                rank = np.empty(count, np.int64)
                rank[np.argsort(values, kind="stable")] = np.arange(count)
                return np.where(np.isnan(values), -1, rank * 5 // count)
        return np.zeros(count, np.int64)

    def _fingerprint(
        self,
        kinds: Mapping[str, Any],
        items: Mapping[str, RawItems],
        targets: Mapping[str, TargetArray],
        metadata: Mapping[str, np.ndarray],
        split: np.ndarray,
    ) -> str:
        """sha256 of the content of all inputs and targets, of the metadata, and of every option."""
        digest = hashlib.sha256(f"{sorted(kinds.items())!r} {self.split!r}\n".encode())
        for name, found in items.items():
            digest.update(f"{name} {_sha256(found.digests)}".encode() + found.pointer.tobytes())
        for name, target in targets.items():
            digest.update(f"{name} {target.classes} {target.values.dtype} {target.values.shape}".encode())
            digest.update(target.values.tobytes())
        for name, values in (metadata | {"split": split}).items():
            digest.update(f"{name} {values.tolist()}\n".encode("utf-8", "surrogatepass"))
        return digest.hexdigest()


def _sha256(digests: Iterable[bytes]) -> str:
    return hashlib.sha256(b"".join(digests)).hexdigest()


def _ids(table: Table, column: str | None) -> np.ndarray:
    """str[n], all different."""
    if column is None:
        return np.array([f"{row + 1}" for row in range(len(table))])
    first: dict[str, int] = {}
    for row, cell in enumerate(table.column(column, "the ids")):
        if is_missing(cell):
            raise DataError(f"{table.where(row, column)}: it is empty; each row needs an id")
        other = first.setdefault(str(cell), row)
        if other != row:
            raise DataError(f"{table.where(row, column)}: the id {str(cell)!r} is that of row {other + 1} too; ids must differ")
    return np.array(list(first))


def _given_groups(table: Table, columns: Sequence[str]) -> np.ndarray | None:
    """Int64[n]; rows with an equal value in one of the columns are in one group. None without columns."""
    if not columns:
        return None
    cells = {column: table.column(column, "the groups") for column in columns}
    for column, values in cells.items():
        for row, cell in enumerate(values):
            if is_missing(cell):
                raise DataError(f"{table.where(row, column)}: it is empty; each row needs a group")
    keys = [[(column, str(cells[column][row])) for column in columns] for row in range(len(table))]
    return connected_groups(len(table), pairs_sharing_a_key(keys))


def _group_names(table: Table, columns: Sequence[str], ids: np.ndarray) -> np.ndarray:
    """str[n], the group of each row as the user calls it; without columns its id."""
    return np.array([str(cell) for cell in table.cells[columns[0]]]) if columns else ids


def _equal_media(count: int, media: Sequence[RawItems], split: np.ndarray | None = None) -> np.ndarray:
    """Int64[n]; rows with an equal image, sound, video or series are in one group, if they are in one split. split: str[n]."""
    pointers, part = [items.pointer.tolist() for items in media], [""] * count if split is None else split.tolist()
    keys = [[(k, own[row], part[row]) for k, own in enumerate(pointers) if own[row] >= 0] for row in range(count)]
    return connected_groups(count, pairs_sharing_a_key(keys))


def _rows(items: Mapping[str, RawItems], targets: Mapping[str, TargetArray], rows: np.ndarray) -> Rows:
    pointer = {name: found.pointer[rows] for name, found in items.items()}
    return Rows(pointer, {name: target.values[rows] for name, target in targets.items()}, np.ones(len(rows), np.float32))


def _metadata(
    table: Table, data: TableData, kinds: Mapping[str, Any], items: Mapping[str, RawItems]
) -> dict[str, np.ndarray]:
    """The texts of inputs, and all columns of names or integers that are no input."""
    inputs = {column for of in data.inputs for column in of.columns}
    found = {
        name: np.array([of.raw[number] if number >= 0 else "" for number in of.pointer])
        for name, of in items.items()
        if isinstance(kinds[name], Texts)
    }
    for name, cells in table.cells.items():
        if name in ("id", "group", *inputs, *found):
            continue
        there = [cell for cell in cells if not is_missing(cell)]
        if there and all(isinstance(cell, str) for cell in there):
            found[name] = np.array(["" if is_missing(cell) else str(cell) for cell in cells])
        elif len(there) == len(cells) and all(isinstance(cell, (int, np.integer)) for cell in cells):
            found[name] = np.array([int(cell) for cell in cells])
    return found


def _dropped(parts: Mapping[str, Any]) -> dict[str, int]:
    return {f"{name}: {reason}": n for name, part in parts.items() for reason, n in part.dropped.items() if n}


def table_data(
    source: Source,
    inputs: Sequence[TableColumns],
    targets: Sequence[TableColumns] = (),
    kinds: Mapping[str, Any] | None = None,
    groups: Sequence[str] = (),
    ids: str | None = None,
    split: Splitting = KFold(),
) -> TableData:
    """The data of a source."""
    return TableData(source, tuple(inputs), tuple(targets), tuple((kinds or {}).items()), tuple(groups), ids, split)
