"""A folder of small drawings, as `mmjax.data.openclipart.files.unpack` writes it, and its groups."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from mmjax.data.openclipart.dataset import digest_of_ids
from mmjax.data.openclipart.files import DROPPED, TABLE

__all__ = ["groups_file", "write_drawings"]

COLOURS, SHAPES = ("red", "green", "blue"), ("bar", "field")


def write_drawings(folder: Path, count: int = 40) -> Path:
    """Drawings of two shapes in three colours; every fifth one has no caption, every seventh one no keywords."""
    (folder / "images").mkdir(parents=True)
    rows = []
    for k in range(count):
        colour, shape = COLOURS[k % 3], SHAPES[k % 2]
        pixels = np.zeros((16, 16, 4), np.uint8)
        pixels[: 8 if shape == "bar" else 16, :, [k % 3, 3]] = 255 - k
        Image.fromarray(pixels).save(folder / "images" / f"{k}.png")
        caption = "" if k % 5 == 4 else f"A {colour} {shape} of number {k // 2}"
        words = {"text": caption, "tags": [] if k % 7 == 6 else [colour, shape], "folder": "shapes", "series": ""}
        rows.append({"id": f"shapes/{k}", "image": f"images/{k}.png", **words, "title": "", "artist": "", "licence": ""})
    (folder / TABLE).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / DROPPED).write_text("{}", encoding="utf-8")
    digest = digest_of_ids([row["id"] for row in rows])
    groups_file(folder).write_text(f"# {digest}\n{' '.join(map(str, range(count)))}\n", encoding="utf-8")
    return folder


def groups_file(folder: Path) -> Path:
    """The file of groups: each drawing is its own."""
    return folder / "groups.txt"
