"""A table of raw cells: what every source of a user's own data is read into, whatever its format."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from PIL import Image

from mmjax.data.decode import DataError

__all__ = [
    "ARRAY_SUFFIXES", "IMAGE_SUFFIXES", "SOUND_SUFFIXES", "SUFFIXES", "TEXT_SUFFIXES", "Cells", "FilePart", "Source", "Table",
    "as_file", "content", "digest", "is_missing", "suffix_of",
]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp")
SOUND_SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3")
ARRAY_SUFFIXES, TEXT_SUFFIXES = (".npy",), (".txt",)
SUFFIXES = IMAGE_SUFFIXES + SOUND_SUFFIXES + ARRAY_SUFFIXES + TEXT_SUFFIXES


Cells = Sequence[Any] | np.ndarray
"""The n cells of a column."""


@dataclass(frozen=True)
class FilePart:
    """Bytes within a larger file, such as a member of a tar. offset, size: in bytes. name: for errors and its extension."""

    file: Path
    offset: int
    size: int
    name: str

    def read_bytes(self) -> bytes:
        with self.file.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of n raw cells; None is a missing cell.

    name: of the file or folder, for errors. cells: {column: n cells}. A cell is a str, number, array, `Path`, `FilePart`,
    bytes, Pillow image, (samples, rate in Hz), or a list or set of tags. root: the folder that file names in str cells are
    relative to. numbers: Int[n], of the rows in the file, from 0; None if these are all of them.
    """

    name: str
    cells: Mapping[str, Cells]
    root: Path | None = None
    numbers: np.ndarray | None = None

    def __len__(self) -> int:
        return len(next(iter(self.cells.values()), ()))

    def where(self, row: int | np.integer, column: str) -> str:
        """The place of a cell for an error; rows of the file are counted from 1."""
        return f"{self.name}: row {(row if self.numbers is None else self.numbers[row]) + 1}, field {column!r}"

    def at(self, rows: Sequence[int] | np.ndarray) -> "Table":
        """The table of these rows."""
        numbers = np.asarray(rows, np.int64) if self.numbers is None else self.numbers[rows]
        return replace(self, cells={name: [of[row] for row in rows] for name, of in self.cells.items()}, numbers=numbers)

    def column(self, name: str, role: str) -> Cells:
        """The cells of a column. role: what it is needed for. Raises DataError if there is none."""
        if name not in self.cells:
            raise DataError(f"{self.name}: there is no field {name!r} for {role}; the fields are {', '.join(self.cells)}")
        return self.cells[name]


@runtime_checkable
class Source(Protocol):
    """Where a table comes from; a frozen dataclass that compares by value."""

    def read(self) -> Table: ...


def is_missing(cell: Any) -> bool:
    """None, a blank text, or numbers that are all NaN."""
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        return True
    if isinstance(cell, (float, np.floating)):
        return bool(np.isnan(cell))
    return isinstance(cell, np.ndarray) and cell.dtype.kind == "f" and cell.size > 0 and bool(np.isnan(cell).all())


def suffix_of(cell: Any) -> str:
    """The extension of a file name or file in lower case; "" for other cells."""
    if isinstance(cell, FilePart):
        cell = cell.name
    return os.path.splitext(str(cell))[1].lower() if isinstance(cell, (str, os.PathLike)) else ""


def as_file(cell: Any, root: Path | None, where: str, endings: tuple[str, ...] = ("",)) -> Any:
    """A path, or a str with one of these endings -> the path of an existing file; other cells unchanged.

    Raises DataError for a missing file.
    """
    if not isinstance(cell, os.PathLike) and not (isinstance(cell, str) and cell.lower().endswith(endings)):
        return cell
    path = Path(cell) if root is None else root / cell
    if "\0" in str(path) or not path.is_file():
        raise DataError(f"{where}: {str(path)!r} is not a file; it must be an existing file, or empty if it is missing")
    return path


def content(raw: Any) -> Any:
    """The bytes of a file part; other raw cells unchanged, since readers of inputs open paths themselves."""
    return raw.read_bytes() if isinstance(raw, FilePart) else raw


def digest(cell: Any) -> bytes:
    """sha256 of the content of a raw cell; of a file its bytes, of an array its dtype, shape and bytes."""
    return hashlib.sha256(_canonical(cell)).digest()


def _canonical(cell: Any) -> bytes:
    if isinstance(cell, (Path, FilePart)):
        return b"bytes " + cell.read_bytes()
    if isinstance(cell, (bytes, bytearray)):
        return b"bytes " + bytes(cell)
    if isinstance(cell, Image.Image):
        palette = f"{cell.getpalette('RGBA')} {cell.info.get('transparency')!r} " if cell.mode == "P" else ""
        return f"image {cell.mode} {cell.size} {palette}".encode() + cell.tobytes()
    if isinstance(cell, np.ndarray):
        return f"array {cell.dtype.str} {cell.shape} ".encode() + np.ascontiguousarray(cell).tobytes()
    if isinstance(cell, (set, frozenset)):
        return _canonical(sorted(cell, key=str))
    if isinstance(cell, (list, tuple)):
        return b"list " + b"".join(digest(part) for part in cell)
    if isinstance(cell, np.generic):
        cell = cell.item()
    return f"{type(cell).__name__} {cell!r}".encode("utf-8", "surrogatepass")
