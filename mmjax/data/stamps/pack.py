"""The Stamps pack, read from its archives: pictures, names in many languages, spoken descriptions, sound effects.

`StampsPack` needs nothing but the standard library; `mmjax.data.stamps.tfds` gives the same items through TFDS.
"""

import hashlib
import json
import os
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmjax.data.decode import DataError, check_language

IN_CHECKOUT = Path(__file__).resolve().parents[3] / "data" / "stamps"


def find_root(root: Path | str | None = None) -> Path:
    """The pack's folder: the argument, else ./data/stamps, else data/stamps of the checkout that holds mmjax.

    Raises DataError that tells where it looked and how to get the pack.
    """
    tried = [Path(root)] if root is not None else [Path("data") / "stamps", IN_CHECKOUT]
    for folder in tried:
        if (folder / "stamps.jsonl").is_file():
            return folder.resolve()
    raise DataError(f"no Stamps pack: stamps.jsonl was looked for in {' and '.join(map(str, tried))}. The pack is part "
                    "of the repository (data/stamps); run from a checkout, pass its folder as root, or rebuild it with "
                    "scripts/build_stamps.py")


def labels_of(index: Sequence[dict[str, Any]], min_count: int = 40) -> tuple[str, ...]:
    """Top folders with at least min_count stamps, sorted by name: the classes of the label task."""
    counts = Counter(record["folder"] for record in index)
    return tuple(sorted(folder for folder, count in counts.items() if count >= min_count))


class StampsPack:
    """Random access to the committed pack. Items are dicts:

    id, folder, subfolder: str; group: int (stamps of one group must not be split); image: bytes (PNG, RGBA, 128x128);
    texts: {language: str}; speech: {language: bytes} (MP3, mono, 16 kHz); sound: bytes, b"" if there is none;
    spoken: {language: bytes}, the spoken names of letters and digits. What is absent has no key.

    `index` holds the same records with names of archive members instead of media, for planning without reading them.
    Can be pickled, and copied into worker processes: archives open lazily, once a process.
    """

    def __init__(self, root: Path | str | None = None):
        """root: the pack's folder; None searches as find_root does. Raises DataError for a missing or damaged index."""
        self.root = find_root(root)
        self.index: list[dict[str, Any]] = _read_index(self.root / "stamps.jsonl")
        self._archives: dict[tuple[int, str], zipfile.ZipFile] = {}

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, i: int) -> dict[str, Any]:
        record = self.index[i]
        return {
            "id": record["id"], "folder": record["folder"], "subfolder": record["subfolder"], "group": record["group"],
            "image": self.image_bytes(i), "texts": dict(record["texts"]),
            "speech": {language: self.speech_bytes(i, language) for language in record["speech"]},
            "sound": self.sound_bytes(i),
            "spoken": {language: self._read("sounds.zip", member) for language, member in record["spoken"].items()},
        }

    def image_bytes(self, i: int) -> bytes:
        """PNG file of stamp i."""
        return self._read("images.zip", self.index[i]["image"])

    def speech_bytes(self, i: int, language: str) -> bytes:
        """MP3 file of stamp i's description. Raises DataError if nobody speaks it in that language."""
        record = self.index[i]
        return self._read(f"speech-{language}.zip",
                          record["speech"][check_language(language, record["speech"], f"speech of {record['id']}")])

    def sound_bytes(self, i: int) -> bytes:
        """MP3 file of stamp i's sound effect, b"" if it has none."""
        member = self.index[i]["sound"]
        return self._read("sounds.zip", member) if member else b""

    def labels(self, min_count: int = 40) -> tuple[str, ...]:
        """Classes of the label task, see labels_of."""
        return labels_of(self.index, min_count)

    @property
    def fingerprint(self) -> str:
        """sha256, in hexadecimal, of sha256sums.txt, which lists the sha256 of every other file."""
        return hashlib.sha256(_read_file(self.root / "sha256sums.txt")).hexdigest()

    def verify(self) -> None:
        """Reads every file and raises DataError naming the first whose sha256 is not the listed one."""
        for line in _read_file(self.root / "sha256sums.txt").decode().splitlines():
            expected, name = line.split("  ", 1)
            if hashlib.sha256(_read_file(self.root / name)).hexdigest() != expected:
                raise DataError(f"{self.root / name}: its sha256 is not that in sha256sums.txt; restore it from git")

    def close(self) -> None:
        """Closes the archives; they open again when needed."""
        while self._archives:
            self._archives.popitem()[1].close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_archives": {}}

    def _read(self, archive: str, member: str) -> bytes:
        path = self.root / archive
        try:
            # By process: after a fork, parent and child would move one shared file position.
            key = (os.getpid(), archive)
            if key not in self._archives:
                self._archives[key] = zipfile.ZipFile(path)
            return self._archives[key].read(member)
        except FileNotFoundError as error:
            raise DataError(f"{path} is missing; stamps.jsonl names its {member}; restore it from git") from error
        except KeyError as error:
            raise DataError(f"{path} lacks {member}, which stamps.jsonl names; restore the file from git") from error
        except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError) as error:
            raise DataError(f"{path} is damaged at {member} ({error}); restore the file from git") from error


def _read_index(path: Path) -> list[dict[str, Any]]:
    records = []
    with path.open(encoding="utf-8") as lines:
        try:
            for line in lines:
                records.append(json.loads(line))
        except ValueError as error:  # bad JSON and bad UTF-8 alike
            raise DataError(f"{path}: line {len(records) + 1} is no JSON ({error}); restore it from git") from error
    if not records:
        raise DataError(f"{path} is empty; it should hold one JSON object a stamp")
    return records


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing; restore it from git") from error
