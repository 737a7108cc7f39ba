"""The package of the game Battle for Wesnoth, and its units in several languages as a table.

locale/<language>/LC_MESSAGES/wesnoth-units.mo has the translations of the units' descriptions.
"""

import gettext
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmjax.data.custom.table import Table
from mmjax.data.decode import DataError, check_language, decode_image
from mmjax.data.fetch import DEBIAN, fetch, members
from mmjax.data.wesnoth.units import IMAGES, RACES, SCRIPTS, Unit, groups_of, longest_animation, units_of

__all__ = [
    "INSIDE", "LANGUAGES", "LONGER", "NAME", "SHA256", "VERSION", "WORDS", "Units", "find_package", "read_files", "read_units",
    "video_of",
]  # fmt: skip

NAME, VERSION = "wesnoth-1.16-data", "1:1.16.9-1"
SHA256 = "1012b964bd412a6770685e3324ae3b61e176caff7846192d1ee63d55cd621e26"
INSIDE = "usr/share/games/wesnoth/1.16/"
LANGUAGES = ("bg", "cs", "de", "en", "es", "fi", "fr", "it", "ja", "pl", "pt_BR", "ru", "tr", "zh_CN", "zh_TW")
"""English, and the languages with a translation of most descriptions."""
WORDS, LONGER = {"up to 60 words": 60, "61 to 90 words": 90}, "over 90 words"
"""Thirds of the descriptions by their length."""


def find_package(root: Path | None) -> Path:
    """The package in `root`, or fetched through apt-get. Raises DataError if there is none."""
    if root is None:
        return fetch(DEBIAN, NAME, VERSION, SHA256)
    files = sorted(Path(root).glob(f"{NAME}_*.deb"))
    if len(files) != 1:
        raise DataError(f"{root} has {len(files)} files {NAME}_*.deb; it must have one")
    return files[0]


def read_files(package: Path) -> dict[str, bytes]:
    """{path: content} of the scripts and images of units, and of the translations. Raises DataError for a damaged package."""
    found = ((name.removeprefix(INSIDE), data) for name, data in members(package, INSIDE))
    wanted = lambda name: name.startswith((SCRIPTS, f"{IMAGES}units/", RACES)) or name.endswith("/wesnoth-units.mo")
    return {name: data for name, data in found if wanted(name)}


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

    Groups are those of `mmjax.data.wesnoth.units.groups_of`. Raises DataError, naming the file, if the package is not as
    described.
    """
    for language in languages:
        check_language(language, LANGUAGES, "Wesnoth.languages")
    files = read_files(package)
    units = units_of(files)
    group = groups_of(units, files)
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
            about = unit.race, language, _length(english), unit.id, group[number], f"{language}/{unit.id}"
            for column, value in zip(
                cells.values(), (_spaced(text), english, unit.name, image, videos[number], *about), strict=True
            ):
                column.append(value)
    return Table(NAME, cells)


def _video(unit: Unit, files: Mapping[str, bytes]) -> np.ndarray | None:
    frames = longest_animation(unit, files)
    images = {name: decode_image(files[name], name) for name in set(frames)}
    return video_of([images[name] for name in frames]) if frames else None


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
