"""The kind of an input or target from its cells: their types, shapes, extensions and content."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from mmjax.data.custom.input_kinds import Images, Sounds, Texts, TimeSeries, Vectors, Videos, number_array
from mmjax.data.custom.reading import InputKind
from mmjax.data.custom.table import (
    ARRAY_SUFFIXES,
    IMAGE_SUFFIXES,
    SOUND_SUFFIXES,
    SUFFIXES,
    TEXT_SUFFIXES,
    Cells,
    FilePart,
    Table,
    as_file,
    is_missing,
    suffix_of,
)
from mmjax.data.custom.target_kinds import Captions, Labels, Scores, TagSets, TargetKind
from mmjax.data.custom.video import frame_count
from mmjax.data.decode import AUDIO_STARTS, IMAGE_FORMATS, DataError

__all__ = ["WAVE", "default_inputs", "input_kind", "target_kind"]

WAVE = 4000  # 1-D arrays with at least this number of values in [-1, 1] are samples of a sound


def input_kind(table: Table, column: str) -> InputKind:
    """The kind of an input column. Raises DataError, naming the row, if the cells are of no kind or of several."""
    rows = [row for row, cell in enumerate(table.cells[column]) if not is_missing(cell)]
    if not rows:
        raise DataError(f"{table.name}: field {column!r} is empty in all rows; leave it out")
    cells = [table.cells[column][row] for row in rows]
    suffixes = [suffix_of(cell) for cell in cells]
    known = sum(suffix in SUFFIXES for suffix in suffixes)
    if known * 2 > len(cells) or isinstance(cells[0], FilePart):
        for row, cell, suffix in zip(rows, cells, suffixes):
            if suffix not in SUFFIXES:
                expected = ", ".join(sorted({other for other in suffixes if other in SUFFIXES})) or ", ".join(SUFFIXES)
                raise DataError(f"{table.where(row, column)}: {str(cell)!r} is not a file with the extension {expected}")
        first = as_file(cells[0], table.root, table.where(rows[0], column))
        return _of_files(suffixes, first, table.where(rows[0], column))
    if all(isinstance(cell, str) for cell in cells):
        return Vectors() if all(map(_is_number, cells)) else Texts()
    if isinstance(cells[0], (bytes, bytearray)):
        return _of_bytes(bytes(cells[0]), table.where(rows[0], column))
    if isinstance(cells[0], Image.Image):
        return Images()
    if isinstance(cells[0], tuple) and len(cells[0]) == 2 and np.ndim(cells[0][0]) == 1 and np.ndim(cells[0][1]) == 0:
        return Sounds()
    return _of_arrays(cells, table.where(rows[0], column))


def _of_files(suffixes: Sequence[str], first: Any, where: str) -> InputKind:
    found = set(suffixes)
    if found <= set(IMAGE_SUFFIXES):
        moving = suffixes[0] in (".gif", ".webp") and frame_count(first.read_bytes()) > 1
        return Videos() if moving else Images()
    if found <= set(SOUND_SUFFIXES):
        return Sounds()
    if found <= set(TEXT_SUFFIXES):
        return Texts()
    if found <= set(ARRAY_SUFFIXES):
        try:
            array = number_array(first)
        except DataError as error:
            raise DataError(f"{where}: {error}") from None
        return _of_arrays([array], where)
    raise DataError(f"{where}: the column has files of several kinds ({', '.join(sorted(found))}); use a column for each kind")


def _of_bytes(data: bytes, where: str) -> InputKind:
    if any(data.startswith(magic) for magic in IMAGE_FORMATS) and not (data[:4] == b"RIFF" and data[8:12] != b"WEBP"):
        return Videos() if frame_count(data) > 1 else Images()
    if data.startswith(AUDIO_STARTS):
        return Sounds()
    raise DataError(f"{where}: the bytes are of no known image or sound format; they should be a complete file")


def _of_arrays(cells: Sequence[Any], where: str) -> InputKind:
    try:
        arrays = [number_array(cell) for cell in cells]
    except DataError as error:
        raise DataError(f"{where}: {error}") from None
    first = arrays[0]
    if first.ndim == 0:
        return Vectors()
    if first.ndim == 1:
        unequal = len({len(array) for array in arrays if array.ndim == 1}) > 1
        return Sounds() if unequal or _is_wave(first) else Vectors()
    if first.dtype == np.uint8 and (first.ndim == 2 or (first.ndim == 3 and first.shape[-1] in (3, 4))):
        return Images()
    if first.dtype == np.uint8 and first.ndim == 4:
        return Videos()
    if first.ndim == 2:
        return TimeSeries()
    raise DataError(
        f"{where}: an array {first.dtype}{list(first.shape)} is of no known kind; images are uint8 [h w 3], videos uint8 "
        "[t h w 3], series [t channels], sounds [t] or (samples, rate), and vectors [width]"
    )


def _is_wave(array: np.ndarray) -> bool:
    return len(array) >= WAVE and (array.dtype == np.int16 or (array.dtype.kind == "f" and np.nanmax(np.abs(array)) <= 1.01))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def target_kind(table: Table, column: str) -> TargetKind:
    """The kind of a target column: `Labels` for names, booleans and integers, `Scores` for other numbers, `TagSets` for lists,
    sets and names with ";", `Captions` for texts that are mostly different and have several words."""
    cells = [cell for cell in table.cells[column] if not is_missing(cell)]
    if not cells:
        raise DataError(f"{table.name}: field {column!r} is empty in all rows; leave the target out")
    first = cells[0]
    if all(isinstance(cell, str) for cell in cells):
        return _of_strings(cells)
    if isinstance(first, (set, frozenset, tuple, list)):
        return Scores() if all(isinstance(part, float) for part in first) and len(first) else TagSets()
    if isinstance(first, np.ndarray) and first.ndim == 1:
        return TagSets() if first.dtype.kind in "biu" else Scores()
    whole = all(not isinstance(cell, (float, np.floating)) for cell in cells)
    return Labels() if whole else Scores()


def _of_strings(cells: Sequence[str]) -> TargetKind:
    if all(map(_is_number, cells)):
        return Labels() if all(cell.strip().lstrip("+-").isdecimal() for cell in cells) else Scores()
    several_words = np.median([len(cell.split()) for cell in cells]) >= 3
    if several_words and len(Counter(cells)) * 2 > len(cells):
        return Captions()
    return TagSets() if any(TagSets.separator in cell for cell in cells) else Labels()


def default_inputs(columns: Mapping[str, Cells], taken: Collection[str | None]) -> list[str]:
    """The columns that are inputs if none are named: all that are not taken, except names that repeat, such as a speaker or a
    source, which stay metadata. A column that is called "text" is always an input."""
    return [
        name
        for name, cells in columns.items()
        if name not in taken and (name == "text" or not _is_category([cell for cell in cells if not is_missing(cell)]))
    ]


def _is_category(cells: Sequence[Any]) -> bool:
    """Whether these are names, not files or numbers, each of which occurs twice on average."""
    names = all(isinstance(cell, str) and suffix_of(cell) not in SUFFIXES and not _is_number(cell) for cell in cells)
    return names and len(set(cells)) * 2 <= len(cells)
