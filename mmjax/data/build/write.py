"""Writes a finished set: media as files, one line per item, checksums. Equal items give equal bytes."""

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.data.build.items import Item, Part, modalities, sha256

__all__ = [
    "ITEMS", "RESERVED", "SUMS", "digests", "media_name", "rows_of", "write_json", "write_json_lines", "write_media",
    "write_sums",
]  # fmt: skip

ITEMS, SUMS = "items.jsonl", "sha256sums.txt"
RESERVED = ("id", "split", "group")


def rows_of(items: Sequence[Item], splits: Sequence[str], groups: np.ndarray) -> list[dict[str, Any]]:
    """One dict per item, sorted by split and id: id, split, group (int), the modalities (a text, or the name of a file in the
    folder of the set; None if absent), and the columns. A column with the name of another field gets the prefix "source_"
    until the name is free."""
    names = modalities(items)
    columns = sorted({key for item in items for key in item.columns})
    renamed = _renamed(columns, names)
    rows = []
    for item, split, group in zip(items, splits, groups.tolist(), strict=True):
        if not split:
            continue
        media = {name: item.parts[name] for name in names if name in item.parts}
        cells = {name: part.text() if part.kind == "text" else media_name(name, part) for name, part in media.items()}
        row = {"id": item.id, "split": split, "group": group, **{name: cells.get(name) for name in names}}
        rows.append(row | {renamed[key]: item.columns.get(key) or None for key in columns})
    order = {"train": 0, "validation": 1, "test": 2}
    return sorted(rows, key=lambda row: (order[row["split"]], row["id"]))


def _renamed(columns: Sequence[str], names: Collection[str]) -> dict[str, str]:
    """{column: its name in a row}, each name once. names: the modalities."""
    fields = {*RESERVED, *names}
    taken, renamed = fields | set(columns), {}
    for column in columns:
        free = column
        while column in fields and free in taken:
            free = f"source_{free}"
        taken.add(free)
        renamed[column] = free
    return renamed


def media_name(modality: str, part: Part) -> str:
    """media/<modality>/<first digits of the sha256>.<extension>: equal files are stored once, and names tell nothing."""
    return f"media/{modality}/{sha256(part.read())[:20]}.{part.name.rpartition('.')[2].lower()}"


def write_media(folder: Path, items: Sequence[Item], splits: Sequence[str]) -> None:
    for item, split in zip(items, splits, strict=True):
        for modality, part in item.parts.items():
            if split and part.kind != "text":
                file = folder / media_name(modality, part)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(part.read())


def write_json_lines(file: Path, rows: Sequence[dict[str, Any]]) -> None:
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def write_json(file: Path, value: Any) -> None:
    file.write_text(json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def digests(folder: Path) -> dict[str, str]:
    """{file: sha256} of all files in the folder but the list itself, sorted."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file.name != SUMS)
    return {file.relative_to(folder).as_posix(): sha256(file.read_bytes()) for file in files}


def write_sums(folder: Path) -> None:
    lines = [f"{digest}  {name}\n" for name, digest in digests(folder).items()]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")
