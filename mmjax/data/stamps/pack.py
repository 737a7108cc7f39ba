"""The Stamps pack, read from its archives: images, names in many languages, spoken descriptions, sound effects.

`StampsPack` needs only the standard library; `mmjax.data.stamps.tfds` returns the same items through TFDS.
"""

import gzip
import hashlib
import json
import os
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from mmjax.data.decode import DataError, check_language

__all__ = ["INDEX", "IN_CHECKOUT", "MAX_MEMBER", "RESTORE", "SUMS", "StampsPack", "find_pack", "labels_of"]

INDEX, SUMS = "stamps.jsonl.gz", "sha256sums.txt"
MAX_MEMBER = 20_000_000  # bytes of one image or clip; the largest of the pack has 0.1 MB
RESTORE = "restore it with git, or rebuild the pack with scripts/build_stamps.py"
IN_CHECKOUT = Path(__file__).resolve().parents[3] / "data" / "stamps"


def find_pack(root: Path | str | None = None) -> Path:
    """The folder of the pack: `root`, else ./data/stamps, else data/stamps of the checkout that contains mmjax.

    Raises DataError, which names the folders searched and says how to get the pack.
    """
    tried = [Path(root)] if root is not None else [Path("data") / "stamps", IN_CHECKOUT]
    for folder in tried:
        if (folder / INDEX).is_file():
            return folder.resolve()
    raise DataError(f"no Stamps pack: there is no {INDEX} in {' or '.join(map(str, tried))}. The pack is part "
                    "of the repository (data/stamps); run from a checkout, pass its folder as root, or rebuild it with "
                    "scripts/build_stamps.py")


def labels_of(index: Sequence[dict[str, Any]], min_count: int = 40) -> tuple[str, ...]:
    """The classes of the target "label": top-level folders with at least min_count stamps, sorted by name."""
    counts = Counter(record["folder"] for record in index)
    return tuple(sorted(folder for folder, count in counts.items() if count >= min_count))


class StampsPack:
    """Random access to the committed pack. Items are dicts:

    id, folder, subfolder: str; group: int (stamps of one group share a split); image: bytes (PNG, RGBA, 128x128);
    texts: {language: str}; speech: {language: bytes} (MP3, mono, 16 kHz), spoken descriptions; sound: bytes, the sound effect,
    b"" if there is none; spoken: {language: bytes}, the spoken names of letters and digits. Languages without a text or a clip
    have no key.

    `index` has the same records with the names of archive members in place of media.
    A pack can be pickled and copied into worker processes: archives open lazily, once per process.
    """

    def __init__(self, root: Path | str | None = None):
        """root: the folder of the pack; None: search as `find_pack` does. Raises DataError for a missing or damaged index."""
        self.root = find_pack(root)
        self.index: list[dict[str, Any]] = _read_index(self.root / INDEX)
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
        """The PNG file of stamp i."""
        return self._read("images.zip", self.index[i]["image"])

    def speech_bytes(self, i: int, language: str) -> bytes:
        """The MP3 file of the description of stamp i. Raises DataError if there is none in that language."""
        record = self.index[i]
        return self._read(f"speech-{language}.zip",
                          record["speech"][check_language(language, record["speech"], f"speech of {record['id']}")])

    def sound_bytes(self, i: int) -> bytes:
        """The MP3 file of the sound effect of stamp i, b"" if it has none."""
        member = self.index[i]["sound"]
        return self._read("sounds.zip", member) if member else b""

    def labels(self, min_count: int = 40) -> tuple[str, ...]:
        """The classes of the target "label", see `labels_of`."""
        return labels_of(self.index, min_count)

    @cached_property
    def fingerprint(self) -> str:
        """sha256, in hexadecimal, of the index and of sha256sums.txt, which lists the sha256 of every other file."""
        digest = hashlib.sha256(_read_file(self.root / SUMS))
        digest.update(_read_file(self.root / INDEX))
        return digest.hexdigest()

    def verify(self) -> None:
        """Checks the sha256 of every listed file (55 MB, 0.04 s), unless this process has checked the same files before.

        Raises DataError for the first file that is missing or has another sha256.
        """
        listed = tuple(_listed(self.root / SUMS).items())
        _verify(self.root, listed, tuple(_status(self.root / name) for name, _ in listed))

    def close(self) -> None:
        """Closes the archives. They open again when they are needed."""
        while self._archives:
            self._archives.popitem()[1].close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_archives": {}}

    def _read(self, archive: str, member: str) -> bytes:
        path = self.root / archive
        try:
            # The key includes the process: after a fork, parent and child would share one file position.
            key = (os.getpid(), archive)
            if key not in self._archives:
                self._archives[key] = zipfile.ZipFile(path)
            size = self._archives[key].getinfo(member).file_size
            if size > MAX_MEMBER:
                raise DataError(f"{path}: {member} has {size:,} bytes, and at most {MAX_MEMBER:,} are read; {RESTORE}")
            return self._archives[key].read(member)
        except FileNotFoundError as error:
            raise DataError(f"{path} is missing, and {INDEX} names its {member}; {RESTORE}") from error
        except KeyError as error:
            raise DataError(f"{path} has no {member}, which {INDEX} names; {RESTORE}") from error
        except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError) as error:
            raise DataError(f"{path} is damaged at {member} ({error}); {RESTORE}") from error


def _read_index(path: Path) -> list[dict[str, Any]]:
    records = []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        try:
            for line in lines:
                records.append(json.loads(line))
        except ValueError as error:  # bad JSON and bad UTF-8 alike
            raise DataError(f"{path}: line {len(records) + 1} is not JSON ({error}); {RESTORE}") from error
        except (EOFError, OSError, zlib.error) as error:
            raise DataError(f"{path} is damaged after line {len(records)} ({error}); {RESTORE}") from error
    if not records:
        raise DataError(f"{path} is empty; it should have one JSON object per stamp; {RESTORE}")
    return records


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing; {RESTORE}") from error


def _listed(path: Path) -> dict[str, str]:
    """{file name: sha256} of sha256sums.txt."""
    listed = {}
    for number, line in enumerate(_read_file(path).decode("utf-8", "replace").splitlines(), 1):
        digest, gap, name = line.partition("  ")
        if len(digest) != 64 or not gap or not name:
            raise DataError(f"{path}: line {number} is not a sha256 and a file name; {RESTORE}")
        listed[name] = digest
    if INDEX not in listed:
        raise DataError(f"{path} does not list {INDEX}; {RESTORE}")
    return listed


def _status(path: Path) -> tuple[int, int]:
    """The size (bytes) and the time of modification (ns) of a file, which change when it is written."""
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"{path} is missing; {RESTORE}") from error
    return status.st_size, status.st_mtime_ns


@lru_cache(maxsize=4)
def _verify(root: Path, listed: tuple[tuple[str, str], ...], statuses: tuple[tuple[int, int], ...]) -> None:
    """Compares every file with its sha256. statuses: `_status` of the files; used only as a part of the cache's key."""
    del statuses
    for name, digest in listed:
        if hashlib.sha256(_read_file(root / name)).hexdigest() != digest:
            raise DataError(f"{root / name} is damaged: its sha256 is not the one in {SUMS}; {RESTORE}")
