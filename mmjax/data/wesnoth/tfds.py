"""The descriptions as a TFDS set in array_record, written without TensorFlow."""

import io
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.data.build.items import sha256
from mmjax.data.build.write_tfds import write_tfds
from mmjax.data.wesnoth.dataset import Wesnoth

__all__ = ["NAME", "build_tfds"]

NAME = "wesnoth"


def build_tfds(folder: Path, data: Wesnoth = Wesnoth()) -> Path:
    """Writes folder/tfds/wesnoth/<version>, one example per unit and language in the splits of `data`; returns it.

    An example has "id", "language", "unit", "name", "race", "text", "english", "image" (bytes of a PNG), "frames" (bytes of a
    .npy file, uint8 [t h w 4]) and "group"; a missing image or animation has no bytes. Raises FileExistsError if the folder has
    media, and DataError.
    """
    cells = data.units.read().cells
    rows_of = {name: number for number, name in enumerate(cells["id"])}
    (folder / "media").mkdir(parents=True)
    rows = []
    for split, metadata in data.load().metadata.items():
        for name, group in zip(metadata["id"].tolist(), metadata["group"].tolist(), strict=True):
            own = {column: cells[column][rows_of[name]] for column in cells}
            row: dict[str, Any] = {"id": name, "split": split, "group": group, "race": own["race"] or ""}
            row |= {column: own[column] for column in ("language", "unit", "name", "text", "english")}
            row["image"] = _written(folder, own["image"], "png")
            row["frames"] = _written(folder, None if own["frames"] is None else _npy(own["frames"]), "npy")
            rows.append(row)
    return write_tfds(folder, NAME, rows, {"image": "image", "frames": "video"}, "GPL-2.0-or-later")


def _written(folder: Path, content: bytes | None, ending: str) -> str:
    """The name of the file below the folder, "" for None."""
    if content is None:
        return ""
    name = f"media/{sha256(content)[:20]}.{ending}"
    (folder / name).write_bytes(content)
    return name


def _npy(array: np.ndarray) -> bytes:
    np.save(buffer := io.BytesIO(), array)
    return buffer.getvalue()
