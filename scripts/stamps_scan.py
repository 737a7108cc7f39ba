"""Which file of the source tree belongs to which stamp, and the ledger of what became of every file."""

import re
from collections.abc import Container
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import ClassVar

from mmjax.data.decode import DataError, check_language, decode_text

MIRRORED = ("_mirror", "_flip", "_mirror_flip")
AUDIO = (".ogg", ".wav")
DESCRIPTION = re.compile(r"(?P<stem>.+)_desc(?:_(?P<lang>[A-Za-z@_]+))?")
LOCALISED = re.compile(r"(?P<stem>.+?)_(?P<lang>[a-z]{2,3}(?:_[A-Za-z]{2})?)")
TRANSLATION = re.compile(r"(?P<lang>[A-Za-z_@]+)\.utf8=(?P<text>.*)")


@dataclass
class Ledger:
    """The cleaning report: {reason: [item, ...]} for what was dropped, mended, and only noticed.

    files: every file of the source, relative to its root, with forward slashes.
    """

    MENDED: ClassVar[tuple[str, ...]] = ("SVG drawn by the second renderer", "peak above full scale",
                                         "length changed by MP3", "language code in other case")

    files: tuple[str, ...]
    dropped: dict[str, list[str]] = field(default_factory=dict)
    mended: dict[str, list[str]] = field(default_factory=dict)
    noticed: dict[str, list[str]] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)

    def drop(self, reason: str, path: str, detail: str = "") -> None:
        """A whole file leaves the data set."""
        self.gone.add(path)
        self._add(self.dropped, reason, path, detail)

    def drop_part(self, reason: str, path: str, detail: str) -> None:
        """A piece of a file leaves, the rest of the file stays."""
        self._add(self.dropped, reason, path, detail)

    def mend(self, reason: str, path: str, detail: str = "") -> None:
        self._add(self.mended, reason, path, detail)

    def notice(self, reason: str, path: str, detail: str = "") -> None:
        self._add(self.noticed, reason, path, detail)

    @staticmethod
    def _add(table: dict[str, list[str]], reason: str, path: str, detail: str) -> None:
        table.setdefault(reason, []).append(f"{path}: {detail}" if detail else path)

    def check(self, used: set[str]) -> None:
        """Raises ValueError unless every file was either used or dropped, and never both. Sorts the lists."""
        lost, both = sorted(set(self.files) - used - self.gone), sorted(used & self.gone)
        if lost or both:
            raise ValueError(f"{len(lost)} files are neither packed nor in the report {lost[:3]}, "
                             f"{len(both)} are both {both[:3]}; this is a mistake in the builder")
        for table in (self.dropped, self.mended, self.noticed):
            for items in table.values():
                items.sort()


@dataclass
class Stamp:
    """Source files of one stamp, relative to the root; texts are already read."""

    image: str
    text_file: str | None = None
    texts: dict[str, str] = field(default_factory=dict)
    speech: dict[str, str] = field(default_factory=dict)
    sound: str | None = None
    spoken: dict[str, str] = field(default_factory=dict)

    def audio(self) -> list[str]:
        return [*self.speech.values(), *([self.sound] if self.sound else []), *self.spoken.values()]

    def files(self) -> set[str]:
        return {self.image, *([self.text_file] if self.text_file else []), *self.audio()}

    def keep_audio(self, usable: Container[str]) -> None:
        self.speech = {lang: path for lang, path in self.speech.items() if path in usable}
        self.spoken = {lang: path for lang, path in self.spoken.items() if path in usable}
        self.sound = self.sound if self.sound in usable else None


def scan(root: Path, files: list[Path], ledger: Ledger) -> dict[str, Stamp]:
    """Stamps by id, which is the path of the image without its ending, in sorted order."""
    names = [PurePosixPath(path.relative_to(root).as_posix()) for path in files]
    stems = {stem(name) for name in names if name.suffix in (".png", ".svg")}
    images: dict[str, PurePosixPath] = {}
    for name in sorted(names, key=lambda name: name.suffix != ".svg"):  # SVG first: it is the sharper of two
        if name.suffix not in (".png", ".svg"):
            continue
        if any(stem(name).endswith(end) and stem(name).removesuffix(end) in stems for end in MIRRORED):
            ledger.drop("mirrored variant", str(name))
        elif stem(name) in images:
            ledger.drop("PNG beside an SVG", str(name))
        else:
            images[stem(name)] = name
    stamps = {key: Stamp(str(images[key])) for key in sorted(images)}
    read_texts(root, names, stamps, ledger)
    languages = {lang for stamp in stamps.values() for lang in stamp.texts}
    for name in names:
        if name.suffix in AUDIO:
            assign_audio(name, stamps, languages, ledger)
        elif name.suffix not in (".png", ".svg", ".txt"):
            kind = "settings of the drawing program" if name.suffix == ".dat" else "unknown kind of file"
            ledger.drop(kind, str(name))
    return stamps


def stem(name: PurePosixPath) -> str:
    return str(name.with_suffix(""))


def read_texts(root: Path, names: list[PurePosixPath], stamps: dict[str, Stamp], ledger: Ledger) -> None:
    """Fills in the texts: the first line is English, the others are `language.utf8=text`. Nothing is stripped."""
    for name in names:
        if name.suffix != ".txt":
            continue
        if stem(name) not in stamps:
            ledger.drop("image missing", str(name))
            continue
        try:
            english, *others = decode_text((root / name).read_bytes(), str(name)).split("\n")
        except DataError as error:
            ledger.drop("undecodable text", str(name), str(error))
            continue
        stamp = stamps[stem(name)]
        stamp.text_file = str(name)
        texts = {"en": english.removesuffix("\r")}
        for line in filter(str.strip, others):
            match = TRANSLATION.fullmatch(line.removesuffix("\r"))
            if match is None or match["lang"] in texts:
                ledger.drop_part("text line not understood", str(name), line.strip())
            else:
                texts[match["lang"]] = match["text"]
        for lang in [lang for lang, text in texts.items() if not text.strip()]:
            ledger.drop_part("empty text", str(name), texts.pop(lang) or lang)
        stamp.texts = dict(sorted(texts.items()))
        if padded := [lang for lang, text in stamp.texts.items() if text != text.strip()]:
            ledger.notice("text with space at an end", str(name), " ".join(padded))


def assign_audio(name: PurePosixPath, stamps: dict[str, Stamp], languages: set[str], ledger: Ledger) -> None:
    """Gives one recording to its stamp: a description, a sound effect, or the spoken name of a letter or digit."""
    key = stem(name)
    if key in stamps:
        if stamps[key].sound:
            ledger.drop("second recording of the same", str(name), stamps[key].sound)
        else:
            stamps[key].sound = str(name)
        return
    for pattern, kind in ((DESCRIPTION, "speech"), (LOCALISED, "spoken")):
        match = pattern.fullmatch(key)
        if match is None or match["stem"] not in stamps:
            continue
        code = match["lang"] or "en"
        known = {lang.casefold(): lang for lang in languages}
        lang = known.get(code.casefold(), code)
        try:
            check_language(lang, languages, str(name))
        except DataError as error:
            ledger.drop("unknown language", str(name), str(error))
            return
        if lang != code:
            ledger.mend("language code in other case", str(name), f"{code} is {lang}")
        clips = getattr(stamps[match["stem"]], kind)
        if lang in clips:
            ledger.drop("second recording of the same", str(name), clips[lang])
        else:
            clips[lang] = str(name)
        return
    ledger.drop("image missing", str(name))
