"""A table or a folder of files -> items."""

import os
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmjax.data.build.items import KINDS, Item, Part, check_unicode
from mmjax.data.build.write import RESERVED
from mmjax.data.custom.manifest import source_of
from mmjax.data.custom.table import IMAGE_SUFFIXES, SOUND_SUFFIXES, TEXT_SUFFIXES, Table, is_missing, suffix_of
from mmjax.data.decode import DataError

__all__ = ["KIND_OF_SUFFIX", "NO_FOLDER", "TEXT_COLUMNS", "check_columns", "inferred_kinds", "read_items"]

KIND_OF_SUFFIX = {
    **dict.fromkeys(IMAGE_SUFFIXES, "image"),
    **dict.fromkeys(SOUND_SUFFIXES, "audio"),
    **dict.fromkeys(TEXT_SUFFIXES, "text"),
}
TEXT_COLUMNS = ("text", "caption", "title", "description", "transcript", "sentence", "question")
"""Columns that are modalities of texts if no kinds are given."""
NO_FOLDER = re.compile(r'[/\\:*?"<>|\x00-\x1f\x7f]|^[.\s]|[.\s]$|^$')
"""Found in names that cannot be those of folders on all systems. A folder ".." would be outside the set."""


def read_items(path: Path, kinds: Mapping[str, str] | None = None) -> list[Item]:
    """The items of a manifest (.csv, .tsv, .jsonl, .parquet) or of a folder tree, see `mmjax.data.custom.from_manifest`.

    kinds: {column: "image", "audio" or "text"}, the modalities; None: columns whose first file names have the extensions of
    images, recordings or texts, and the columns `TEXT_COLUMNS`. All other columns are metadata.
    Raises DataError, naming the field, for a table that cannot be read, a column that does not exist or cannot be a
    modality, and text that is not Unicode.
    """
    table = source_of(path, None).read()
    kinds = dict(kinds) if kinds else inferred_kinds(table)
    _check_fields(table, kinds)
    if not kinds:
        raise DataError(f"{table.name}: no field has files or texts; name them, such as --kinds photo=image,words=text")
    return [_item(table, row, kinds, path) for row in range(len(table))]


def _check_fields(table: Table, kinds: Mapping[str, str]) -> None:
    """Raises DataError for a field whose name cannot be written, and for a modality that cannot have its name."""
    for name in table.cells:
        check_unicode(name, f"{table.name}: the name {name!r} of a field")
    for name, kind in kinds.items():
        table.column(name, f"the modality of kind {kind!r}")
        if kind not in KINDS:
            raise DataError(f"{table.name}: field {name!r} has the kind {kind!r}; it must be one of {', '.join(KINDS)}")
        if name in RESERVED:
            raise DataError(f"{table.name}: field {name!r} cannot be a modality, since each set has its own; rename it")
        if NO_FOLDER.search(name):
            raise DataError(
                f"{table.name}: field {name!r} cannot be a modality, since it cannot name a folder; rename it, without any of "
                f'/ \\ : * ? " < > | and without a dot or space at its ends'
            )


def inferred_kinds(table: Table) -> dict[str, str]:
    """{column: kind} of the columns that are modalities. A group may have the name of a file and is none."""
    kinds = {}
    for name, cells in table.cells.items():
        first = next((cell for cell in cells if not is_missing(cell)), None)
        kind = KIND_OF_SUFFIX.get(suffix_of(first)) if first is not None and name not in RESERVED else None
        if kind or name in TEXT_COLUMNS:
            kinds[name] = kind or "text"
    return kinds


def _item(table: Table, row: int, kinds: Mapping[str, str], path: Path) -> Item:
    cells = {name: column[row] for name, column in table.cells.items() if not is_missing(column[row])}
    plain = {name: _plain(cell, table, path) for name, cell in cells.items()}
    for name, text in plain.items():
        check_unicode(text, table.where(row, name))
    parts = {
        name: _part(cells[name], kind, table.where(row, name), table, path) for name, kind in kinds.items() if name in cells
    }
    columns = {name: plain.get(name, "") for name in table.cells if name not in kinds and name != "id"}
    return Item(plain.get("id", str(row + 1)), parts, columns)


def _part(cell: Any, kind: str, where: str, table: Table, path: Path) -> Part:
    """A missing file is reported by the cleaning."""
    if kind == "text" and isinstance(cell, str) and suffix_of(cell) not in TEXT_SUFFIXES:
        return Part(kind, where.removeprefix(f"{table.root or path}{os.sep}"), cell.encode())
    if not isinstance(cell, (str, Path)):
        raise DataError(f"{where}: the cell is {type(cell).__name__}; it must be the name of a file")
    file, name = _located(cell, table, path)
    return Part(kind, name, file)


def _located(cell: str | Path, table: Table, path: Path) -> tuple[Path, str]:
    """(the file of a cell, its name relative to the root of the data). The paths of a tree of folders begin with its path."""
    file, root = (table.root or Path()) / cell, table.root or path
    return file, file.relative_to(root).as_posix() if file.is_relative_to(root) else file.name


def _plain(cell: Any, table: Table, path: Path) -> str:
    if isinstance(cell, Path):
        return _located(cell, table, path)[1]
    if isinstance(cell, (list, tuple, set, frozenset)):
        return "; ".join(sorted(map(str, cell)) if isinstance(cell, (set, frozenset)) else map(str, cell))
    return str(cell)


def check_columns(items: Sequence[Item], named: Collection[str]) -> None:
    """Raises DataError for a named column that no item has."""
    known = sorted({key for item in items for key in item.columns})
    for name in named:
        if name not in known:
            raise DataError(f"there is no column {name!r}; the columns are {', '.join(known) or 'none'}")
