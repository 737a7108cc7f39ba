"""The package of the game Battle for Wesnoth: its configuration files and images, read and checked, never executed."""

from collections.abc import Sequence
from pathlib import Path

from mmjax.data.decode import DataError
from mmjax.data.fetch import DEBIAN, fetch, members

__all__ = ["CORE", "NAME", "SHA256", "VERSION", "find_package", "read_core"]

NAME, VERSION = "wesnoth-1.16-data", "1:1.16.9-1"
SHA256 = "1012b964bd412a6770685e3324ae3b61e176caff7846192d1ee63d55cd621e26"
CORE = "usr/share/games/wesnoth/1.16/data/core/"


def find_package(root: Path | None = None) -> Path:
    """The package's file in the folder `root`, or fetched through apt-get (146 MB) if it is None. Raises DataError."""
    if root is None:
        return fetch(DEBIAN, NAME, VERSION, SHA256)
    files = sorted(Path(root).glob(f"{NAME}_*.deb"))
    if len(files) != 1:
        raise DataError(f"{root} has {len(files)} files {NAME}_*.deb; it must have one")
    return files[0]


def read_core(package: Path, folders: Sequence[str]) -> dict[str, bytes]:
    """{path below the core's data: content} of the files below these folders, such as "units/" or "images/units/"."""
    wanted = tuple(folders)
    found = ((name.removeprefix(CORE), data) for name, data in members(package, CORE))
    return {name: data for name, data in found if name.startswith(wanted)}
