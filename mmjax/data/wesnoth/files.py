"""The package of the game Battle for Wesnoth: units with a description, its translations, sprite and animation.

A unit is a block [unit_type] of a script below data/core/units; locale/<language>/LC_MESSAGES/wesnoth-units.mo has the
translations of its description.
"""

import gettext
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmjax.data.custom.table import Table
from mmjax.data.decode import DataError, check_language, decode_image, decode_text
from mmjax.data.fetch import DEBIAN, fetch, members
from mmjax.data.groups import connected_groups, pairs_sharing_a_key
from mmjax.data.wesnoth.scripts import Block, frame_names, parse

__all__ = [
    "IMAGES", "INSIDE", "LANGUAGES", "LONGER", "NAME", "SCRIPTS", "SENTENCE", "SHA256", "VERSION", "WORDS", "Unit", "Units",
    "find_package", "read_units", "units_of", "video_of",
]  # fmt: skip

NAME, VERSION = "wesnoth-1.16-data", "1:1.16.9-1"
SHA256 = "1012b964bd412a6770685e3324ae3b61e176caff7846192d1ee63d55cd621e26"
INSIDE = "usr/share/games/wesnoth/1.16/"
LANGUAGES = ("bg", "cs", "de", "en", "es", "fi", "fr", "it", "ja", "pl", "pt_BR", "ru", "tr", "zh_CN", "zh_TW")
"""English, and the languages with a translation of most descriptions."""
SENTENCE = 5  # words of a sentence that only related units share
WORDS, LONGER = {"up to 60 words": 60, "61 to 90 words": 90}, "over 90 words"
"""Thirds of the descriptions by their length."""
SCRIPTS, IMAGES = "data/core/units/", "data/core/images/"


class Unit(NamedTuple):
    """name, race, description: in English, as in the script. image: the file of the sprite, "" if the script names none.
    frames: the files of the longest animation, in order. advances: the ids of the units that it may become."""

    id: str
    name: str
    race: str
    description: str
    image: str
    frames: tuple[str, ...]
    advances: tuple[str, ...]


def find_package(root: Path | None) -> Path:
    """The package in `root`, or fetched through apt-get. Raises DataError if there is none."""
    if root is None:
        return fetch(DEBIAN, NAME, VERSION, SHA256)
    files = sorted(Path(root).glob(f"{NAME}_*.deb"))
    if len(files) != 1:
        raise DataError(f"{root} has {len(files)} files {NAME}_*.deb; it must have one")
    return files[0]


def units_of(script: str, name: str, files: Mapping[str, bytes]) -> list[Unit]:
    """The units with a description of a script. files: the images of the package. Raises DataError for a damaged script."""
    found = []
    for block in parse(script, name).inside("unit_type"):
        own = block.values
        if not own.get("description", "").strip() or "id" not in own:
            continue
        image = IMAGES + frame_names(own.get("image", " "))[0]  # without recolouring
        frames = max(_animations(block, files), key=len, default=())
        advances = tuple(one.strip() for one in own.get("advances_to", "").split(",") if one.strip() not in ("", "null"))
        shown = own.get("name", own["id"]).rpartition("^")[2]  # translators see a context before ^
        image = image if image in files else ""
        found.append(Unit(own["id"], shown, own.get("race", ""), own["description"], image, frames, advances))
    return found


def _animations(unit: Block, files: Mapping[str, bytes]) -> list[tuple[str, ...]]:
    """The files of each animation of the unit itself, not of its variations; of alternatives the first."""
    found = []
    for block in unit.blocks:
        if block.tag.endswith("_anim") or block.tag == "animation":
            parts = [block, *block.inside("if")]
            frames = [frame.values.get("image", "") for part in parts for frame in part.inside("frame")]
            names = [IMAGES + name for image in frames for name in frame_names(image)]
            found.append(tuple(name for name in names if name in files))
    return found


def video_of(images: Sequence[np.ndarray]) -> np.ndarray:
    """Frames uint8 [h w 3] or [h w 4] of any sizes -> uint8 [t h w 4], each in the middle of the largest size, transparent
    around it."""
    height, width = (max(image.shape[axis] for image in images) for axis in (0, 1))
    video = np.zeros((len(images), height, width, 4), np.uint8)
    for frame, image in zip(video, images):
        top, left = (height - image.shape[0]) // 2, (width - image.shape[1]) // 2
        inside = frame[top : top + image.shape[0], left : left + image.shape[1]]
        inside[..., 3] = 255
        inside[..., : image.shape[2]] = image
    return video


@dataclass(frozen=True)
class Units:
    """The described units in some languages as a source of a table. race_units: races with fewer units are missing. root: as in
    `find_package`."""

    languages: tuple[str, ...]
    race_units: int = 1
    root: Path | None = None

    def read(self) -> Table:
        table = read_units(find_package(self.root), self.languages)
        races = dict(zip(table.cells["unit"], table.cells["race"]))  # one per unit, in however many languages
        count = {race: sum(one == race for one in races.values()) for race in races.values()}
        return Table(table.name, {
            **table.cells, "race": [race if race and count[race] >= self.race_units else None for race in table.cells["race"]],
        })  # fmt: skip


def read_units(package: Path, languages: Sequence[str]) -> Table:
    """One row per unit and language that has a translation: "text", "english", "name" (in English), "image" (bytes of a PNG),
    "frames" (uint8 [t h w 4]), "race", "language", "length" (of the English text), "unit", "group" and "id". A unit without
    sprite or animation has None there.

    A group is a line of units that become one another, or that share a sentence or a sprite. Raises DataError, naming the
    file, if the package is not as described.
    """
    for language in languages:
        check_language(language, LANGUAGES, "Wesnoth.languages")
    files = _files(package)
    scripts = [name for name in files if name.startswith(SCRIPTS) and name.endswith(".cfg")]
    units = [unit for name in sorted(scripts) for unit in units_of(decode_text(files[name], name), name, files)]
    if not units:
        raise DataError(f"{package.name}: no unit has a description; it must be {NAME} {VERSION}")
    group = _lines_of_advancement(units, files)
    videos = [_video(unit, files) for unit in units]
    columns = ("text", "english", "name", "image", "frames", "race", "language", "length", "unit", "group", "id")
    cells: dict[str, list] = {name: [] for name in columns}
    for language in languages:
        translated = _translation(language, files)
        for number, unit in enumerate(units):
            text = translated(unit.description)
            if not text or (text == unit.description and language != "en"):
                continue
            english, image = _spaced(unit.description), files[unit.image] if unit.image else None
            about = unit.race, language, _length(english), unit.id, int(group[number]), f"{language}/{unit.id}"
            for column, value in zip(
                cells.values(), (_spaced(text), english, unit.name, image, videos[number], *about), strict=True
            ):
                column.append(value)
    return Table(NAME, cells)


def _files(package: Path) -> dict[str, bytes]:
    found = ((name.removeprefix(INSIDE), data) for name, data in members(package, INSIDE))
    wanted = lambda name: name.startswith((SCRIPTS, f"{IMAGES}units/")) or name.endswith("/wesnoth-units.mo")
    return {name: data for name, data in found if wanted(name)}


def _lines_of_advancement(units: Sequence[Unit], files: Mapping[str, bytes]) -> np.ndarray:
    number = {unit.id: k for k, unit in enumerate(units)}
    advances = [(k, number[name]) for k, unit in enumerate(units) for name in unit.advances if name in number]
    sentences = [re.split(r"(?<=[.!?])\s+", unit.description) for unit in units]
    shared = [
        [*(one for one in own if len(one.split()) >= SENTENCE), *([files[unit.image]] if unit.image else [])]
        for unit, own in zip(units, sentences)
    ]
    return connected_groups(len(units), [*advances, *pairs_sharing_a_key(shared)])


def _video(unit: Unit, files: Mapping[str, bytes]) -> np.ndarray | None:
    """The animation; None if it has fewer than two different frames."""
    if len(set(unit.frames)) < 2:
        return None
    images = {name: decode_image(files[name], name) for name in set(unit.frames)}
    return video_of([images[name] for name in unit.frames])


def _translation(language: str, files: Mapping[str, bytes]) -> Callable[[str], str]:
    """English text -> its translation, unchanged if there is none."""
    if language == "en":
        return lambda text: text
    name = f"locale/{language}/LC_MESSAGES/wesnoth-units.mo"
    try:
        return gettext.GNUTranslations(io.BytesIO(files[name])).gettext
    except KeyError:
        raise DataError(f"{NAME}: there is no {name}, which has the texts in {language!r}") from None
    except (OSError, ValueError, UnicodeError) as error:
        raise DataError(f"{name}: the translations cannot be read ({error}); it must be a complete .mo file") from None


def _length(text: str) -> str:
    words = len(text.split())
    return next((name for name, most in WORDS.items() if words <= most), LONGER)


def _spaced(text: str) -> str:
    return " ".join(text.split())
