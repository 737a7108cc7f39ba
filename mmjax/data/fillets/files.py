"""The packages of the game Fish Fillets: spoken lines with their transcript, English line and the image of their level.

A level has scripts dialogs_<language>.lua with dialogId("name", "voice", "English line") and below it dialogStr("translation");
sound/<level>/<language>/<name>.ogg is the spoken translation, and models.lua names the background image. Nothing is executed.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mmjax.data.custom.table import Table
from mmjax.data.decode import DataError, audio_seconds, check_language, decode_text
from mmjax.data.fetch import DEBIAN, fetch, members
from mmjax.data.groups import connected_groups, pairs_sharing_a_key

__all__ = [
    "CALL", "INSIDE", "PACKAGES", "ROOM", "STRING", "VERSION", "Line", "Lines", "background", "find_packages", "lines_of",
    "read_lines",
]  # fmt: skip

VERSION = "1.0.1-1.1"
PACKAGES = {
    "": ("fillets-ng-data", "25de89afd8b1adf7bcace8290248a6a22c89cd42300317e69000e162c032cf84"),
    "cs": ("fillets-ng-data-cs", "3ecef99b9456f1c80c9625c6f2418642b52d58e7167a46bad7a412db17991b14"),
    "nl": ("fillets-ng-data-nl", "afb4443fda9ab507dee578b75be857d121718a1cd6017a474f30e0eb13dc9d10"),
}
"""{language of the speech, "" for scripts and images: (name, sha256)}."""
INSIDE = "usr/share/games/fillets-ng/"
STRING = r'"((?:[^"\\]|\\.)*)"'
CALL = re.compile(rf"dialogId\(\s*{STRING}\s*,\s*{STRING}\s*,\s*{STRING}\s*\)|dialogStr\(\s*{STRING}\s*\)", re.DOTALL)
ROOM = re.compile(r'createRoom\([^"()]*"images/"\s*\.\.\s*codename\s*\.\.\s*"/([^"/]+)"')


class Line(NamedTuple):
    """voice: the name of the font, which stands for the speaker. english, text: the English line and its translation."""

    voice: str
    english: str
    text: str


def find_packages(root: Path | None, languages: tuple[str, ...]) -> dict[str, Path]:
    """{"": package with scripts and images, language: package with speech}: files in `root`, or fetched through apt-get.

    Raises DataError for an unknown language or a missing package.
    """
    found = {}
    for language in ("", *languages):
        name, sha256 = PACKAGES[check_language(language, PACKAGES, "Fillets.languages")]
        if root is None:
            found[language] = fetch(DEBIAN, name, VERSION, sha256)
            continue
        files = sorted(Path(root).glob(f"{name}_*.deb"))
        if len(files) != 1:
            raise DataError(f"{root} has {len(files)} files {name}_*.deb; it must have one")
        found[language] = files[0]
    return found


def lines_of(script: bytes, name: str) -> dict[str, Line]:
    """{name of a line: Line} of a script; lines without a translation are left out. Raises DataError if it is not UTF-8."""
    found, current = {}, None
    for key, voice, english, text in CALL.findall(decode_text(script, name)):
        if key:
            current = key, voice, _plain(english)
        elif current and text.strip():
            found[current[0]] = Line(current[1].removeprefix("font_"), current[2], _plain(text))
    return found


def _plain(text: str) -> str:
    return " ".join(re.sub(r"\\(.)", r"\1", text).split())


def background(models: bytes, name: str) -> str:
    """The file of a level's background image. Raises DataError if the script names none."""
    found = ROOM.search(decode_text(models, name))
    if found is None:
        raise DataError(f"{name}: there is no createRoom with an image")
    return found[1]


@dataclass(frozen=True)
class Lines:
    """The spoken lines of some languages as a source of a table. voice_lines: voices with fewer lines are missing. root: as in
    `find_packages`."""

    languages: tuple[str, ...]
    voice_lines: int = 1
    root: Path | None = None

    def read(self) -> Table:
        table = read_lines(find_packages(self.root, self.languages))
        count = Counter(table.cells["voice"])
        voices = [voice if count[voice] >= self.voice_lines else None for voice in table.cells["voice"]]
        return Table(table.name, {**table.cells, "voice": voices})


def read_lines(packages: Mapping[str, Path]) -> Table:
    """One row per spoken line that has a transcript: "speech" (bytes of an Ogg file), "text", "english", "image" (bytes of a
    PNG), "language", "level", "voice", "group" and "id". A group is a level, or the levels that share an image or a recording.

    packages: as `find_packages` returns them. Raises DataError, naming the file, if a package is not as described.
    """
    game = dict(_below(packages[""], ("script/", "images/")))
    cells: dict[str, list] = {name: [] for name in ("speech", "text", "english", "image", "language", "level", "voice", "id")}
    for language in (own for own in packages if own):
        sounds, lines = dict(_below(packages[language], ("sound/",))), _lines(game, language)
        for file in sorted(sounds):
            _, level, spoken, name = (*file.split("/"), "", "")[:4]
            line = lines.get((level, name.removesuffix(".ogg")))
            if spoken != language or not name.endswith(".ogg") or line is None or not _has_samples(sounds[file], file):
                continue
            image = f"images/{level}/{background(game[f'script/{level}/models.lua'], f'script/{level}/models.lua')}"
            if image not in game:
                raise DataError(f"{packages['']}: there is no {image}, which the level's models.lua names")
            values = (sounds[file], line.text, line.english, game[image], language, level, line.voice)
            for column, value in zip(cells.values(), (*values, f"{language}/{level}/{name.removesuffix('.ogg')}"), strict=True):
                column.append(value)
    if not cells["id"]:
        names = ", ".join(path.name for path in packages.values())
        raise DataError(f"{names}: no recording has a transcript; they must be the packages of Fish Fillets {VERSION}")
    shared = [cells[column] for column in ("level", "image", "speech")]
    group = connected_groups(len(cells["id"]), pairs_sharing_a_key(list(zip(*shared, strict=True))))
    return Table("fillets-ng-data", cells | {"group": group.tolist()})


def _below(package: Path, folders: tuple[str, ...]) -> list[tuple[str, bytes]]:
    """(path, content) of the members below these folders of the game."""
    found = ((name.removeprefix(INSIDE), data) for name, data in members(package, INSIDE))
    return [(name, data) for name, data in found if name.startswith(folders)]


def _lines(game: Mapping[str, bytes], language: str) -> dict[tuple[str, str], Line]:
    """{(level, name): Line} of all levels with an image; a level has one or several scripts of a language."""
    found = {}
    for script, data in sorted(game.items()):
        folder, _, file = script.rpartition("/")
        if file.endswith(f"dialogs_{language}.lua") and f"{folder}/models.lua" in game:
            found |= {(folder.rpartition("/")[2], name): line for name, line in lines_of(data, script).items()}
    return found


def _has_samples(sound: bytes, name: str) -> bool:
    """Whether a recording is not empty; two of the package are."""
    return audio_seconds(sound, name) > 0
