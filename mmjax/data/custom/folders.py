"""A tree of folders as a table: a folder per class, and files that differ in their extension alone in one row."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmjax.data.custom.splitting import NAMES
from mmjax.data.custom.table import ARRAY_SUFFIXES, IMAGE_SUFFIXES, SOUND_SUFFIXES, TEXT_SUFFIXES, Table
from mmjax.data.decode import DataError

__all__ = ["MODALITIES", "Folders"]

MODALITIES = {
    **dict.fromkeys(IMAGE_SUFFIXES, "image"),
    **dict.fromkeys(SOUND_SUFFIXES, "audio"),
    **dict.fromkeys(TEXT_SUFFIXES, "text"),
    **dict.fromkeys(ARRAY_SUFFIXES, "series"),
}
"""The column of a file by its extension."""


@dataclass(frozen=True)
class Folders:
    """A tree FOLDER/CLASS/FILE, or FOLDER/SPLIT/CLASS/FILE with splits such as train and test.

    Columns: "id", the path without the extension; "label", the folder of the file; "split" if all files are in folders of
    splits; and "image", "audio", "text" and "series" (.npy), the files. Hidden files and other extensions are ignored.
    """

    folder: Path

    def read(self) -> Table:
        """Raises DataError if there are no files, or two of one row and modality."""
        rows: dict[Path, dict[str, Any]] = {}
        for file in sorted(self.folder.rglob("*")):
            inner = file.relative_to(self.folder)
            column = MODALITIES.get(file.suffix.lower())
            if column is None or not file.is_file() or any(part.startswith(".") for part in inner.parts):
                continue
            if len(inner.parts) < 2:
                raise DataError(f"{file}: it is in no folder of a class; move it to {self.folder.name}/CLASS, or write a table")
            row = rows.setdefault(inner.with_suffix(""), {})
            if column in row:
                raise DataError(f"{file}: {row[column].name} is the {column} of the same row; their names must differ")
            row[column] = file
        if not rows:
            raise DataError(f"{self.folder}: there are no files in folders of classes, and no metadata.csv")
        found = [column for column in dict.fromkeys(MODALITIES.values()) if any(column in row for row in rows.values())]
        cells: dict[str, list[Any]] = {"id": [path.as_posix() for path in rows], "label": [path.parent.name for path in rows]}
        outside = [path for path in rows if len(path.parts) < 3 or path.parts[0].lower() not in NAMES]
        if not outside:
            cells["split"] = [path.parts[0] for path in rows]
        elif inside := next((path for path in rows if path not in outside), None):
            raise DataError(
                f"{self.folder / outside[0]}: it is in no folder SPLIT/CLASS, but {inside} is; move it, or write a table"
            )
        cells |= {column: [row.get(column) for row in rows.values()] for column in found}
        return Table(str(self.folder), cells)
