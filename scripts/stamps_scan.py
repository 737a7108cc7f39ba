"""Assigns the files of the source tree to stamps, and records in a cleaning report what happens to every file."""

import re
from collections.abc import Container
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from mmjax.data.decode import DataError, check_language, decode_text

MIRRORED = ("_mirror", "_flip", "_mirror_flip")
AUDIO = (".ogg", ".wav")
DESCRIPTION = re.compile(r"(?P<stem>.+)_desc(?:_(?P<lang>[A-Za-z@_]+))?")
LOCALISED = re.compile(r"(?P<stem>.+?)_(?P<lang>[a-z]{2,3}(?:_[A-Za-z]{2})?)")
TRANSLATION = re.compile(r"(?P<lang>[A-Za-z_@]+)\.utf8=(?P<text>.*)")


REPAIRS = ("SVG drawn by the fallback renderer", "peak above full scale", "length changed by MP3", "case of a language code")
"""The reasons that stand for a repair; the others are notes."""


@dataclass
class CleaningReport:
    """{reason: [item, ...]} for items that are dropped, repaired, or packed with a note.

    files: every file of the source, relative to its root, with forward slashes.
    """

    files: tuple[str, ...]
    dropped: dict[str, list[str]] = field(default_factory=dict)
    repaired: dict[str, list[str]] = field(default_factory=dict)
    noted: dict[str, list[str]] = field(default_factory=dict)
    dropped_files: set[str] = field(default_factory=set)

    def drop(self, reason: str, path: str, detail: str = "") -> None:
        """Drops a complete file."""
        self.dropped_files.add(path)
        self._add(self.dropped, reason, path, detail)

    def drop_part(self, reason: str, path: str, detail: str) -> None:
        """Drops a part of a file; the rest is packed."""
        self._add(self.dropped, reason, path, detail)

    def repair_or_note(self, reason: str, path: str, detail: str = "") -> None:
        self._add(self.repaired if reason in REPAIRS else self.noted, reason, path, detail)

    @staticmethod
    def _add(table: dict[str, list[str]], reason: str, path: str, detail: str) -> None:
        table.setdefault(reason, []).append(f"{path}: {detail}" if detail else path)

    def check(self, used: set[str]) -> None:
        """Raises ValueError unless every file is either used or dropped, and not both. Sorts the lists."""
        lost, both = sorted(set(self.files) - used - self.dropped_files), sorted(used & self.dropped_files)
        if lost or both:
            raise ValueError(f"{len(lost)} files are neither packed nor reported: {lost[:3]}; {len(both)} are packed and "
                             f"dropped: {both[:3]}. This is a mistake in build_stamps.py")
        for table in (self.dropped, self.repaired, self.noted):
            for items in table.values():
                items.sort()


@dataclass
class Stamp:
    """The source files of one stamp, relative to the root, and its texts."""

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


def scan(root: Path, files: list[Path], report: CleaningReport) -> dict[str, Stamp]:
    """{id: Stamp}, sorted. The id is the path of the image without its suffix."""
    names = [PurePosixPath(path.relative_to(root).as_posix()) for path in files]
    stems = {stem(name) for name in names if name.suffix in (".png", ".svg")}
    images: dict[str, PurePosixPath] = {}
    for name in sorted(names, key=lambda name: name.suffix != ".svg"):  # SVG first: it is sharper
        if name.suffix not in (".png", ".svg"):
            continue
        if any(stem(name).endswith(end) and stem(name).removesuffix(end) in stems for end in MIRRORED):
            report.drop("mirrored variant", str(name))
        elif stem(name) in images:
            report.drop("PNG beside an SVG", str(name))
        else:
            images[stem(name)] = name
    stamps = {key: Stamp(str(images[key])) for key in sorted(images)}
    read_texts(root, names, stamps, report)
    languages = {lang for stamp in stamps.values() for lang in stamp.texts}
    for name in names:
        if name.suffix in AUDIO:
            assign_audio(name, stamps, languages, report)
        elif name.suffix not in (".png", ".svg", ".txt"):
            kind = "settings of the drawing program" if name.suffix == ".dat" else "unknown file type"
            report.drop(kind, str(name))
    return stamps


def stem(name: PurePosixPath) -> str:
    return str(name.with_suffix(""))


def read_texts(root: Path, names: list[PurePosixPath], stamps: dict[str, Stamp], report: CleaningReport) -> None:
    """Adds the texts to the stamps: the first line is English, the others are `language.utf8=text`. Nothing is stripped."""
    for name in names:
        if name.suffix != ".txt":
            continue
        if stem(name) not in stamps:
            report.drop("image missing", str(name))
            continue
        try:
            english, *others = decode_text((root / name).read_bytes(), str(name)).split("\n")
        except DataError as error:
            report.drop("undecodable text", str(name), str(error))
            continue
        stamp = stamps[stem(name)]
        stamp.text_file = str(name)
        texts = {"en": english.removesuffix("\r")}
        for line in filter(str.strip, others):
            match = TRANSLATION.fullmatch(line.removesuffix("\r"))
            if match is None or match["lang"] in texts:
                report.drop_part("malformed text line", str(name), line.strip())
            else:
                texts[match["lang"]] = match["text"]
        for lang in [lang for lang, text in texts.items() if not text.strip()]:
            report.drop_part("empty text", str(name), texts.pop(lang) or lang)
        stamp.texts = dict(sorted(texts.items()))
        if padded := [lang for lang, text in stamp.texts.items() if text != text.strip()]:
            report.repair_or_note("text with surrounding spaces", str(name), " ".join(padded))


def assign_audio(name: PurePosixPath, stamps: dict[str, Stamp], languages: set[str], report: CleaningReport) -> None:
    """Assigns one recording to its stamp: a description, a sound effect, or the spoken name of a letter or digit."""
    key = stem(name)
    if key in stamps:
        if stamps[key].sound:
            report.drop("duplicate recording", str(name), stamps[key].sound)
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
            report.drop("unknown language", str(name), str(error))
            return
        if lang != code:
            report.repair_or_note("case of a language code", str(name), f"{code} is {lang}")
        clips = getattr(stamps[match["stem"]], kind)
        if lang in clips:
            report.drop("duplicate recording", str(name), clips[lang])
        else:
            clips[lang] = str(name)
        return
    report.drop("image missing", str(name))
