"""Packages of public registries as sources of data: fetched once by their own client, verified, and read without installation.

    file = fetch(NPM, "emoji-datasource-google", "16.0.0", "5d1c...")
    drawings = dict(members(file, "package/img/google/64/"))

The client is a program of the user's machine (pip, npm or apt-get) with the user's settings. Nothing of a package is installed,
imported or executed. Files are kept in the user's cache ($XDG_CACHE_HOME/mmjax/packages), and each use compares the sha256.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath

from mmjax.data.decode import DataError

__all__ = [
    "DEBIAN", "MAX_MEMBER", "NPM", "PYPI", "Client", "DownloadError", "cache_folder", "download", "extract", "fetch",
    "file_sha256", "members",
]  # fmt: skip

MAX_MEMBER = 500_000_000
"""Bytes of the largest file of an archive that is read."""


@dataclass(frozen=True)
class Client:
    """A registry's client.

    registry: its name in errors. program: the name or path of the program. arguments: (name, version) -> the arguments that
    download one package, without its dependencies, into the working directory.
    """

    registry: str
    program: str
    arguments: Callable[[str, str], list[str]]


def _pip(name: str, version: str) -> list[str]:
    options = "download --no-deps --only-binary :all: --quiet --disable-pip-version-check --dest ."
    return ["-m", "pip", *options.split(), f"{name}=={version}"]


PYPI = Client("the Python package index", sys.executable, _pip)
"""Wheels. Source distributions are not fetched, since pip executes code of theirs."""
NPM = Client("npm", "npm", lambda name, version: ["pack", "--silent", "--ignore-scripts", f"{name}@{version}"])
DEBIAN = Client("Debian", "apt-get", lambda name, version: ["download", "-qq", f"{name}={version}"])


class DownloadError(DataError):
    """A package that a client could not download. reason: the client's last line."""

    def __init__(self, message: str, reason: str):
        super().__init__(message)
        self.reason = reason


def cache_folder() -> Path:
    """The folder of fetched packages."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mmjax" / "packages"


def fetch(source: Client, name: str, version: str, sha256: str) -> Path:
    """The file of a package, from the cache or, if it is missing or (with a warning) damaged, from its registry.

    source: PYPI, NPM or DEBIAN. sha256: of the file. Raises DataError, and leaves nothing behind, if the client is not
    installed, the download fails, or the file has another sha256.
    """
    folder = cache_folder() / f"{name.replace('/', '+')}-{version.replace(':', '+')}-{sha256[:12]}"
    if folder.is_dir():
        found = [file for file in folder.iterdir() if file_sha256(file) == sha256]
        if found:
            return found[0]
        warnings.warn(f"{folder} is damaged; {name} {version} is fetched again", stacklevel=2)
        shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".partial-") as scratch:
        target = Path(scratch) / "package"
        target.mkdir()
        file = download(source, name, version, target)
        digest = file_sha256(file)
        if digest != sha256:
            raise DataError(f"{name} {version}: {file.name} is not opened: its sha256 is {digest}; it must be {sha256}")
        try:
            target.replace(folder)  # atomic: a folder is never incomplete
        except OSError:
            if not folder.is_dir():  # otherwise another process was faster
                raise
        return folder / file.name


def download(source: Client, name: str, version: str, folder: Path) -> Path:
    """The file that the client writes into an empty folder; it is not verified. Raises DownloadError."""
    if shutil.which(source.program) is None:
        reason = f"{source.program}, which is not installed"
        raise DownloadError(f"{name} {version} is fetched from {source.registry} by {reason}", reason)
    command = [source.program, *source.arguments(name, version)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    files = sorted(folder.iterdir())
    if done.returncode or len(files) != 1:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or [f"it wrote {len(files)} files instead of one"]
        reason = lines[-1].strip()[:300]
        raise DownloadError(f"{name} {version} could not be fetched from {source.registry}: {reason}", reason)
    return files[0]


def file_sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def members(file: Path, inside: str = "") -> Iterator[tuple[str, bytes]]:
    """(path, content) of the regular files of a wheel, zip, tar or .deb archive whose path begins with `inside`, in its order.

    Paths have no leading "./". Raises DataError for another or a damaged archive, an absolute path or one with "..", and a
    member of more than MAX_MEMBER bytes.
    """
    try:
        yield from _members(file, inside)
    except DataError:
        raise
    except Exception as error:  # damaged archives raise errors of zipfile, tarfile, zlib and lzma
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise DataError(f"{file}: the archive cannot be read ({reason}); it must be a complete wheel, tar or .deb") from error


def _members(file: Path, inside: str) -> Iterator[tuple[str, bytes]]:
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as opened:
            for entry in opened.infolist():
                name = _checked(file, entry.filename, entry.file_size)
                if not entry.is_dir() and name.startswith(inside):
                    yield name, opened.read(entry)
        return
    with _tar(file) as opened:
        for entry in opened:
            name = _checked(file, entry.name, entry.size)
            if entry.isreg() and name.startswith(inside):
                yield name, opened.extractfile(entry).read()


def _checked(file: Path, name: str, size: int) -> str:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:
        raise DataError(f"{file}: the member {name!r} leaves the archive; its paths must be relative and without '..'")
    if size > MAX_MEMBER:
        raise DataError(f"{file}: the member {name!r} has {size:,} bytes; at most {MAX_MEMBER:,} are read")
    return path.as_posix()


@contextmanager
def _tar(file: Path) -> Iterator[tarfile.TarFile]:
    with file.open("rb") as raw:
        is_deb = raw.read(8) == b"!<arch>\n"
        raw.seek(0)
        with tarfile.open(fileobj=BytesIO(_deb_data(raw.read())) if is_deb else raw) as opened:
            yield opened


def _deb_data(archive: bytes) -> bytes:
    """The compressed tar archive in a Debian package, an `ar` archive. Raises ValueError without one."""
    at = 8
    while at + 60 <= len(archive):
        name, size = archive[at : at + 16].decode("ascii").strip().rstrip("/"), int(archive[at + 48 : at + 58])
        if size < 0:
            raise ValueError(f"the member {name!r} has a negative size")
        if name.startswith("data.tar"):
            if name.endswith(".zst"):
                raise ValueError(f"{name} is compressed by zstd; xz and gzip are read")
            return archive[at + 60 : at + 60 + size]
        at += 60 + size + size % 2
    raise ValueError("there is no data.tar in it")


def extract(file: Path, folder: Path, inside: str = "") -> list[Path]:
    """Writes the members whose path begins with `inside` below the folder, without that prefix. Returns the written files."""
    written = []
    for name, content in members(file, inside):
        target = folder / name.removeprefix(inside).lstrip("/")
        if not target.resolve().is_relative_to(folder.resolve()):
            raise DataError(f"{file}: the member {name!r} would be written outside {folder}")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        written.append(target)
    return written
