"""The drawings as a TFDS set in array_record, written without TensorFlow."""

import shutil
from pathlib import Path

from mmjax.data.build.write_tfds import write_tfds
from mmjax.data.openclipart.dataset import Drawings, Openclipart
from mmjax.data.openclipart.files import find_drawings

__all__ = ["NAME", "build_tfds"]

NAME = "openclipart"


def build_tfds(folder: Path, data: Openclipart = Openclipart()) -> Path:
    """Writes folder/tfds/openclipart/<version>, one example per drawing in the splits of `data`; returns it.

    An example has "id", "text" ("" without a caption), "tags" (with "; " between them), "folder", "title", "artist", "image"
    (bytes of a PNG) and "group". Raises FileExistsError if the folder has media, and DataError.
    """
    cells = Drawings(find_drawings(data.root), data.tag_groups, data.groups).read().cells
    rows_of = {name: number for number, name in enumerate(cells["id"])}
    (folder / "media").mkdir(parents=True)
    rows = []
    for split, metadata in data.load().metadata.items():
        for name, group in zip(metadata["id"].tolist(), metadata["group"].tolist(), strict=True):
            own = {column: cells[column][rows_of[name]] for column in cells}
            image = f"media/{rows_of[name]}.png"
            shutil.copyfile(own["image"], folder / image)
            row = {"id": name, "split": split, "group": group, "image": image, "tags": "; ".join(own["tags"] or [])}
            rows.append(row | {column: own[column] or "" for column in ("text", "folder", "title", "artist")})
    return write_tfds(folder, NAME, rows, {"image": "image"}, "public domain")
