"""The module of an experiment file, for commands that are given its path."""

import contextlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

__all__ = ["FileError", "load_file"]


class FileError(ValueError):
    """A file cannot be an experiment file because of its name; the message names the file."""


def load_file(file: Path) -> ModuleType:
    """The module of an experiment file, under the name by which run folders and other experiments know it.

    It may import files beside it. It stays known to Python, so that a run folder may name classes of the file, and their source
    is found. FileError if the name does not end in .py, or is that of a module of Python. Errors of the file itself are not
    caught.
    """
    file = file.resolve()
    if file.suffix != ".py":
        raise FileError(f"{file} is not a Python file; the name of an experiment file ends in .py")
    if file.stem in sys.stdlib_module_names:
        raise FileError(f"{file} would hide the module {file.stem} of Python's standard library; rename the file")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    before, sys.modules[file.stem] = sys.modules.get(file.stem), module
    sys.path.insert(0, str(file.parent))
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(file.stem)
        if before is not None:
            sys.modules[file.stem] = before
        raise
    finally:
        with contextlib.suppress(ValueError):  # the file may have changed the path
            sys.path.remove(str(file.parent))
    return module
