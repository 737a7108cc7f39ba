"""A data set from a table on disk (CSV, TSV, JSON Lines, Parquet), or from a tree of folders."""

import csv
import io
import json
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmjax.data.custom.data import TableData, table_data
from mmjax.data.custom.folders import Folders
from mmjax.data.custom.infer import default_inputs
from mmjax.data.custom.reading import named_columns
from mmjax.data.custom.splitting import splitting_of
from mmjax.data.custom.table import Source, Table
from mmjax.data.decode import DataError, decode_text

__all__ = ["MANIFESTS", "TARGETS", "Manifest", "default_groups", "from_manifest", "source_of"]

TARGETS = ("label", "score", "tags", "caption")
"""Columns that are targets if no targets are named."""
MANIFESTS = ("metadata.csv", "metadata.jsonl", "metadata.parquet")  # of a folder


@dataclass(frozen=True)
class Manifest:
    """A table on disk: .csv, .tsv, .jsonl or .parquet. Its first line names the columns.

    file: the table. root: the folder that file names are relative to; None: the folder of the table.
    """

    file: Path
    root: Path | None = None

    def read(self) -> Table:
        """Raises DataError, naming the row, for a table that is damaged."""
        readers = {".csv": _read_csv, ".tsv": _read_tsv, ".jsonl": _read_jsonl, ".parquet": _read_parquet}
        if self.file.suffix.lower() not in readers:
            raise DataError(f"{self.file}: the extension must be {', '.join(readers)}, or the path a folder")
        try:
            columns = readers[self.file.suffix.lower()](self.file.read_bytes(), str(self.file))
        except OSError as error:
            raise DataError(f"{self.file}: {error.strerror or error}; it must be a table or a folder") from None
        if not columns or not len(next(iter(columns.values()))):
            raise DataError(f"{self.file}: there are no rows; after the names of the columns it should have one line per row")
        return Table(str(self.file), columns, self.root or self.file.parent)


def from_manifest(
    path: str | os.PathLike,
    inputs: Mapping[str, Any] | Iterable[str] | None = None,
    targets: Mapping[str, Any] | Iterable[str] | None = None,
    *,
    groups: str | Iterable[str] | None = None,
    split: Any = None,
    ids: str | None = None,
    kinds: Mapping[str, Any] | None = None,
    root: str | os.PathLike | None = None,
) -> TableData:
    """A data set from a table on disk, or from a folder, for `Experiment.data`.

        data = from_manifest("clips/data.csv", inputs=("image", "audio"), targets=("label",), groups="speaker")

    path: a .csv, .tsv, .jsonl or .parquet file; a folder with a metadata.csv, .jsonl or .parquet; or a tree with a folder per
    class, such as train/cat/1.png, in which files that differ in the extension alone are one row.
    inputs: names of columns, or {modality: its column, or columns of numbers that form a vector}; None: all that are nothing
    else, except names that repeat, such as a source, which stay metadata. Cells are names of files, texts, numbers, or lists of
    numbers; an empty cell is a missing modality. targets: names, or {name: column}; None: those of label, score, tags and
    caption that exist. Names and integers are classes, other numbers scores, lists tags, different texts captions; an empty
    cell is a missing target.
    groups: the column or columns whose equal values make rows dependent, such as a speaker; None: the column "group" if it
    exists, else equal files. split: the column of train, validation and test, {"test": names of groups that are held out},
    or `KFold(folds, fold, seed)`; None: the column "split" if it exists, else grouped, stratified folds, `KFold()`. ids: the
    column of the rows' names; None: the column "id" if it exists, else numbers from 1. kinds: {input or target: its kind}, such
    as {"image": Images(size=32), "rating": Scores()}; see `mmjax.data.custom`. root: the folder that file names are relative
    to; None: that of the table.
    Raises DataError for a table that cannot be read; `load` does for cells.
    """
    source = source_of(Path(path), None if root is None else Path(root))
    columns = source.read().cells
    groups = default_groups(columns, groups)
    split = "split" if split is None and "split" in columns else split
    ids = "id" if ids is None and "id" in columns else ids
    targets = named_columns([name for name in TARGETS if name in columns] if targets is None else targets)
    if inputs is None:
        taken = {column for of in targets for column in of.columns} | {*groups, ids, split if isinstance(split, str) else ""}
        inputs = default_inputs(columns, taken)
    return table_data(source, named_columns(inputs), targets, kinds, groups, ids, splitting_of(split))


def default_groups(columns: Collection[str], groups: str | Iterable[str] | None) -> tuple[str, ...]:
    """The columns of groups: the given ones, else "group" if it exists."""
    return (groups,) if isinstance(groups, str) else tuple(groups or [name for name in ("group",) if name in columns])


def source_of(path: Path, root: Path | None) -> Source:
    """The source of a file or folder. Raises DataError if there is none."""
    if not path.is_dir():
        return Manifest(path, root)
    inside = next((path / name for name in MANIFESTS if (path / name).is_file()), None)
    return Folders(path) if inside is None else Manifest(inside, root)


def _read_csv(data: bytes, name: str, delimiter: str = ",") -> dict[str, list[Any]]:
    text = decode_text(data, name)
    if "\0" in text:
        raise DataError(f"{name}: it has a zero byte; it should be text in UTF-8")
    try:
        lines = [line for line in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True) if line]
    except csv.Error as error:
        raise DataError(f"{name}: it is damaged ({error}); cells with quotes must be quoted") from None
    if not lines:
        raise DataError(f"{name}: the file is empty; its first line should name the columns")
    header, rows = [column.strip() for column in lines[0]], lines[1:]
    repeated = next((column for column in header if header.count(column) > 1), None)
    if repeated is not None or "" in header:
        raise DataError(f"{name}: the first line {'repeats' if repeated else 'lacks'} the name {repeated or ''!r} of a column")
    for row, cells in enumerate(rows, 1):
        if len(cells) != len(header):
            raise DataError(f"{name}: row {row} has {len(cells)} cells; the first line names {len(header)} columns")
    return {column: [cells[k] for cells in rows] for k, column in enumerate(header)}


def _read_tsv(data: bytes, name: str) -> dict[str, list[Any]]:
    return _read_csv(data, name, "\t")


def _read_jsonl(data: bytes, name: str) -> dict[str, list[Any]]:
    rows = []
    for number, line in enumerate(decode_text(data, name).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{name}: line {number} is not JSON ({error}); each line should be an object") from None
        if not isinstance(row, dict):
            raise DataError(f"{name}: line {number} is {type(row).__name__}; each line should be an object, {{column: cell}}")
        rows.append(row)
    columns = dict.fromkeys(column for row in rows for column in row)
    return {column: [_cell(row.get(column), name, k, column) for k, row in enumerate(rows, 1)] for column in columns}


def _cell(value: Any, name: str, row: int, column: str) -> Any:
    """The cell of a JSON value."""
    if isinstance(value, dict):
        raise DataError(f"{name}: row {row}, field {column!r}: it is an object; a cell is a text, a number or a list")
    return value


def _read_parquet(data: bytes, name: str) -> dict[str, list[Any]]:
    from mmjax.data.formats.arrow import cells_of, pyarrow

    library = pyarrow()
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(library.BufferReader(data))
        names = table.column_names
    except (library.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{name}: the Parquet file is damaged ({reason}); it should be a complete file") from None
    return {column: cells_of(table.column(column), name, column) for column in names}

