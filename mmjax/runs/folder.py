"""Opening a run folder, with a marker and a lock against a second process; atomic writes and checked reads of its files."""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.runs.schema import SCHEMA, RunError

__all__ = [
    "LOCK", "MARKER", "check_folder", "damaged", "locked", "parse_json", "read_arrays", "read_json", "read_record",
    "read_text", "read_verified", "sha256", "write_arrays", "write_bytes", "write_json", "write_record", "write_text",
]

MARKER, LOCK = "run.json", "run.lock"


def check_folder(out: Path, resume: bool) -> None:
    """Raises RunError if a run cannot be written to `out`: a file, a read-only folder, or a folder of something else.

    resume: whether the folder may hold a run that is continued.
    """
    if out.exists() and not out.is_dir():
        raise RunError(f"--out {out} is a file; name a folder")
    if not out.exists():
        parent = next(folder for folder in out.absolute().parents if folder.exists())
        if not parent.is_dir() or not os.access(parent, os.W_OK):
            raise RunError(f"--out {out} cannot be created: {parent} is not a folder that can be written to")
        return
    if not os.access(out, os.W_OK):
        raise RunError(f"the folder {out} cannot be written to; choose another with --out")
    if all(entry.name in (LOCK, f"{MARKER}.partial") for entry in out.iterdir()):  # empty, or of a run killed as it began
        return
    if not (out / MARKER).is_file():
        raise RunError(f"the folder {out} has files, but is not a run of mmjax ({MARKER} is missing); choose another --out")
    marker = read_verified(out / MARKER)
    if not isinstance(marker, dict) or marker.get("schema") != SCHEMA:
        raise RunError(f"the folder {out} was written by another version of mmjax; choose another with --out")
    if not resume:
        raise RunError(f"the folder {out} is not empty; continue it with --resume, or choose another with --out")


@contextmanager
def locked(out: Path, name: str, layout: Mapping[str, Any]) -> Iterator[None]:
    """Creates the folder and its marker, and holds its lock, so that two processes never write to one run folder.

    name: of the experiment, for the marker. layout: {flag: value} of the flags that decide the parts of every cell, such as
    --folds; a run must be continued with the same values. RunError if they differ, or if another process holds the lock.
    """
    out.mkdir(parents=True, exist_ok=True)
    with (out / LOCK).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # released by the system even if the process is killed
        except OSError:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            raise RunError(f"the folder {out} is in use by process {owner}; wait for it or stop it") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        if not (out / MARKER).is_file():
            write_record(out / MARKER, {"mmjax": name, "schema": SCHEMA, "layout": dict(layout)})
        for flag, before in read_verified(out / MARKER).get("layout", {}).items():
            if before != layout[flag]:
                raise RunError(f"the folder {out} was run with {flag} {before}, not {layout[flag]}; choose another with --out")
        yield


def write_json(file: Path, value: Any) -> None:
    """Writes JSON; after a crash the file is the old one or missing, never half-written. ValueError for NaN and infinity."""
    _replace(file, lambda scratch: scratch.write_text(json.dumps(value, indent=1, allow_nan=False)))


def write_record(file: Path, record: Mapping[str, Any]) -> None:
    """Writes a JSON record with the sha256 of its own content, which `read_record` checks."""
    write_json(file, {**record, "record_sha256": _record_hash(record)})


def read_record(file: Path) -> dict[str, Any]:
    """A record of `write_record`. Raises RunError if it is missing or differs from what was written."""
    record = read_json(file)
    if not isinstance(record, dict) or record.pop("record_sha256", None) != _record_hash(record):
        raise RunError(f"{file} is damaged (its sha256 differs)")
    return record


def read_verified(file: Path) -> Any:
    """A JSON file; if it is a record, as `read_record` reads it. Files of earlier versions are none."""
    content = read_json(file)
    return read_record(file) if isinstance(content, dict) and "record_sha256" in content else content


def _record_hash(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def write_text(file: Path, text: str) -> None:
    """Writes text, as safely as `write_json`."""
    write_bytes(file, text.encode())


def write_bytes(file: Path, data: bytes) -> None:
    """Writes bytes, as safely as `write_json`."""
    _replace(file, lambda scratch: scratch.write_bytes(data))


def write_arrays(file: Path, arrays: Mapping[str, Any]) -> None:
    """Writes {name: array} as npz, as safely as `write_json`."""

    def write(scratch: Path) -> None:
        with scratch.open("wb") as opened:
            np.savez_compressed(opened, **arrays)

    _replace(file, write)


def _replace(file: Path, write: Any) -> None:
    """write: path -> None, which writes the file to a scratch path; it is then renamed, which is atomic."""
    file.parent.mkdir(parents=True, exist_ok=True)
    scratch = file.with_name(f"{file.name}.partial")
    try:
        write(scratch)
        scratch.replace(file)
    except OSError:
        scratch.unlink(missing_ok=True)
        raise


def read_text(file: Path) -> str:
    """A text file. RunError if it is missing or not UTF-8."""
    if not file.is_file():
        raise RunError(f"{file}: missing file")
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RunError(f"{file}: damaged, not UTF-8 ({error})") from None


def parse_json(text: str, where: str) -> Any:
    """Parses JSON. where: names the text in the RunError for text that is not JSON."""
    try:
        return json.loads(text, parse_constant=lambda _: None)  # curves contain NaN, which is not JSON
    except json.JSONDecodeError as error:
        raise RunError(f"{where}: not JSON: {error}") from None


def read_json(file: Path) -> Any:
    """A JSON file, with NaN as None. RunError if it is missing or damaged."""
    return parse_json(read_text(file), str(file))


def read_arrays(file: Path) -> dict[str, np.ndarray]:
    """The arrays of an npz file. Raises RunError for a missing or damaged file, and never unpickles."""
    if not file.is_file():
        raise RunError(f"{file}: missing file")
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except Exception as error:  # zipfile, zlib and NumPy raise many kinds of errors for damaged files
        raise RunError(f"{file}: damaged ({error})") from None


def sha256(file: Path) -> str:
    """The sha256 of a file's content, in hexadecimal."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def damaged(folder: Path, sums: Mapping[str, str]) -> list[str]:
    """The names of the files that are missing from the folder or have another sha256. sums: {name: sha256}."""
    return [name for name, expected in sums.items() if not (folder / name).is_file() or sha256(folder / name) != expected]
