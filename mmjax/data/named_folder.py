"""The folder of data that are not part of the project: named by --data.root or by an environment variable."""

import os
from collections.abc import Sequence
from pathlib import Path

from mmjax.data.decode import DataError

__all__ = ["named_folder"]


def named_folder(root: Path | None, variable: str, files: Sequence[str], data: str, source: str) -> Path:
    """The folder `root`, else the one that the environment variable names.

    files: what it must contain. data: their name in the error. source: sentences that say where to get them. Raises DataError,
    which lists the missing files.
    """
    folder = root or os.environ.get(variable)
    missing = [name for name in files if not folder or not (Path(folder) / name).is_file()]
    if missing:
        searched = f"{Path(folder).resolve()} has no {', '.join(missing)}" if folder else "no folder was named"
        raise DataError(
            f"no {data}: {searched}. Name a folder with {', '.join(files)} by --data.root or by the environment variable "
            f"{variable}. {source}"
        )
    return Path(folder)
