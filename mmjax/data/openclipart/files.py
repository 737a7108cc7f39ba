"""The package with the drawings -> a folder with an image of each and a table of their words.

Debian's openclipart-svg 1:0.18+dfsg-19 has 7,458 drawings in SVG, and 663 links to them. They are drawn once, which takes some
minutes, into $XDG_CACHE_HOME/mmjax/openclipart. The table, data.jsonl, is one that `mmjax.data.from_manifest` and
`python -m mmjax.data.build` read.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmjax.data.decode import DataError
from mmjax.data.fetch import DEBIAN, cache_folder, fetch, members
from mmjax.data.openclipart.words import captions, keywords, read_statements, series
from mmjax.data.svg import drawn, self_contained

__all__ = ["DROPPED", "INSIDE", "PACKAGE", "SIDE", "TABLE", "find_drawings", "unpack"]

PACKAGE = (
    "openclipart-svg", "1:0.18+dfsg-19", "989712d90d57dfa3230049f553bb43b76c30ee4d4b8c5f6e106e33f7db5cbdc5"
)  # fmt: skip
"""Name, version and sha256."""
INSIDE = "usr/share/openclipart/svg/"
SIDE = 128  # pixels of the longer side
TABLE, DROPPED = "data.jsonl", "dropped.json"


def find_drawings(root: Path | None = None) -> Path:
    """The folder of the drawings: `root`, else the one in the cache, which is made from the package if it is missing.

    Raises DataError if `root` has no table, or the package cannot be fetched; ImportError without resvg-py.
    """
    folder = root or cache_folder().parent / "openclipart" / f"{PACKAGE[2][:12]}-{SIDE}px"
    if (folder / TABLE).is_file():
        return folder
    if root is not None:
        raise DataError(f"{root} has no {TABLE}; it must be a folder that unpack has made")
    unpack(fetch(DEBIAN, *PACKAGE), folder)
    return folder


def unpack(package: Path, folder: Path) -> None:
    """Draws all files of the package and writes the folder, which appears when it is complete.

    A row of the table has "id", the path of the SVG file without its extension; "image", a PNG file with RGBA; "text", the
    caption; "tags", cleaned keywords; "folder", the first part of the path; "series", "title", "artist" and "licence", as
    stated. dropped.json names the drawings that are left out, by reason.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.partial-", dir=folder.parent))
    try:
        rows, dropped = _draw(package, partial)
        (partial / TABLE).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        (partial / DROPPED).write_text(json.dumps(dropped, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        partial.chmod(0o755)
        try:
            partial.replace(folder)
        except OSError:
            if not (folder / TABLE).is_file():  # otherwise another process was faster
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _draw(package: Path, folder: Path) -> tuple[list[dict[str, Any]], dict[str, list[str]]]:
    """(rows of the table sorted by id, {reason: ids}). Raises DataError if the package has no drawings."""
    files, statements = dict(sorted(_svg_files(package))), {}
    dropped: dict[str, list[str]] = {"not a readable SVG": [], "licence other than public domain": []}
    for name, data in files.items():
        try:
            one = read_statements(self_contained(data, name), name)
        except DataError:
            dropped["not a readable SVG"].append(name)
            continue
        if "licenses/GPL" in one.licence:
            dropped["licence other than public domain"].append(name)
        else:
            statements[name] = one
    images, dropped["cannot be drawn"] = {}, []
    for name, png in drawn(((name, files[name]) for name in statements), SIDE):
        if isinstance(png, DataError):
            dropped["cannot be drawn"].append(name)
            continue
        images[name] = f"images/{name}.png"
        (folder / images[name]).parent.mkdir(parents=True, exist_ok=True)
        (folder / images[name]).write_bytes(png)
    if not images:
        raise DataError(f"{package}: no SVG file below {INSIDE} can be drawn; it must be the package {PACKAGE[0]}")
    kept = [statements[name] for name in images]
    words = zip(images.items(), kept, captions(kept), keywords(kept), series(list(images), kept), strict=True)
    return [
        {"id": name, "image": image, "text": caption, "tags": tags, "folder": name.partition(os.sep)[0], "series": of,
         "title": one.title, "artist": one.artist, "licence": one.licence or "not stated in the file"}
        for (name, image), one, caption, tags, of in words
    ], dropped  # fmt: skip


def _svg_files(package: Path) -> Iterator[tuple[str, bytes]]:
    """(path without ".svg", content) of all drawings; links to them are no files of their own."""
    for name, data in members(package, INSIDE):
        if name.endswith(".svg"):
            yield name.removeprefix(INSIDE).removesuffix(".svg"), data
