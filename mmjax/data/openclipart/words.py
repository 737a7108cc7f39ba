"""The words of an openclipart drawing: its metadata as its file states them, cleaned keywords, captions and series."""

import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from mmjax.data.decode import DataError

__all__ = ["DC", "JUNK", "RDF", "SERIES", "WORK", "Statements", "captions", "keywords", "read_statements", "series"]

DC, RDF = "{http://purl.org/dc/elements/1.1/}", "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
WORK = "{http://web.resource.org/cc/}Work", "{http://creativecommons.org/ns#}Work"
SERIES = 5  # drawings of one artist and folder with one title
JUNK = frozenset({
    "hash", "magick", "unsorted", "special", "clipart", "clip art", "openclipart", "open clip art", "duplicates", "misc",
    "miscellany", "various", "svg", "png", "xml", "vector", "inkscape", "sodipodi", "image", "picture", "lemon theme icon",
    "work", "stock", "signs and symbols", "theme", "etiquette", "flat", "gold theme", "menu", "appicon",
})  # fmt: skip
"""Keywords of the upload, not of the drawing: a stringified Perl hash, folders, programs and names of icon themes."""


class Statements(NamedTuple):
    """What a file says of itself; "" where it says nothing. licence: the last part of its URL. subjects: the raw keywords."""

    title: str
    description: str
    artist: str
    licence: str
    subjects: tuple[str, ...]


def read_statements(text: str, name: str) -> Statements:
    """The RDF metadata of an SVG file. Raises DataError, naming the file, if it is not XML."""
    try:
        root = ElementTree.fromstring(re.sub(r"^\s*<\?xml[^>]*\?>", "", text))  # the declared encoding is that of the bytes
    except ElementTree.ParseError as error:
        raise DataError(f"{name}: the SVG is not well-formed XML ({error})") from None
    work = next((found for tag in WORK if (found := root.find(f".//{tag}")) is not None), None)
    if work is None:
        return Statements("", "", "", "", ())
    creator = work.find(f"{DC}creator")
    artist = "" if creator is None else _plain(creator.findtext(f".//{DC}title"))
    licence = next((node.get(f"{RDF}resource", "") for node in work if node.tag.endswith("}license")), "")
    subjects = tuple(_plain(node.text) for node in work.iterfind(f"{DC}subject//{RDF}li"))
    title, description = (_plain(work.findtext(DC + field)) for field in ("title", "description"))
    return Statements(title, description, artist, licence.partition("//")[2].partition("/")[2].strip("/"), subjects)


def _plain(text: str | None) -> str:
    return " ".join((text or "").split())


def keywords(drawings: Sequence[Statements]) -> list[list[str]]:
    """The cleaned keywords of each drawing, sorted: lowercase, with spaces for underscores, a plural as the singular if that
    occurs too. Keywords without two letters, of more than 30 characters, in `JUNK`, or that are an artist are left out."""
    artists = {one.artist.casefold() for one in drawings}
    words = [{word for raw in one.subjects if _is_keyword(word := _keyword(raw), artists)} for one in drawings]
    known = set().union(*words)
    singular = {word: word[:-1] for word in known if word.endswith("s") and word[:-1] in known}
    return [sorted({singular.get(word, word) for word in own} - JUNK) for own in words]


def _keyword(raw: str) -> str:
    return " ".join(re.sub(r"[_\s]+", " ", raw.casefold()).strip(" .,;:\"'()[]").split())


def _is_keyword(word: str, artists: set[str]) -> bool:
    is_word = len(re.findall(r"[^\W\d_]", word)) >= 2 and not re.search(r"0x[0-9a-f]{4}", word)
    return is_word and len(word) <= 30 and word not in artists and word not in JUNK


def series(folders: Sequence[str], drawings: Sequence[Statements]) -> list[str]:
    """The series of each drawing, "" if it is in none: at least five drawings of one artist with one title, apart from its
    numbers and dates. Icon themes and generated stars are series. folders: of each drawing, in the name of its series."""
    keys = [(one.artist, re.sub(r"[\d_]+|\(.*\)", " ", one.title).strip().casefold()) for one in drawings]
    keys = [(*key, folder.partition("/")[0]) if key[1] else None for key, folder in zip(keys, folders, strict=True)]
    count = Counter(keys)
    return [" / ".join(key) if key and count[key] >= SERIES else "" for key in keys]


def captions(drawings: Sequence[Statements]) -> list[str]:
    """The description of each drawing, else its title, else "". Texts that five or more drawings share name a series and not a
    drawing; texts with an address, or without a word of three letters, are left out."""
    count = Counter(text.casefold() for one in drawings for text in {_caption(one.description), _caption(one.title)})
    found = []
    for one in drawings:
        texts = (_caption(one.description), _caption(one.title))
        found.append(next((text for text in texts if count[text.casefold()] < SERIES and _is_caption(text)), ""))
    return found


def _caption(text: str) -> str:
    """Without the prefix "Clipart by NAME - ", and without underscores and numbers at the end."""
    text = re.sub(r"^clipart by .*? - ", "", text, flags=re.IGNORECASE)
    return re.sub(r"[\s_\-#]*\d*$", "", text.replace("_", " ")).strip()


def _is_caption(text: str) -> bool:
    return bool(re.search(r"[^\W\d_]{3}", text)) and not re.search(r"@|://|www\.", text)
