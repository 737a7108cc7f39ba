"""JSON files of annotations, with errors that name the file and the field."""

import json
from pathlib import Path
from typing import Any

from mmjax.data.decode import DataError, decode_text

__all__ = ["field", "read_json", "text"]


def read_json(file: Path) -> Any:
    """The content of a JSON file. Raises DataError."""
    try:
        return json.loads(decode_text(file.read_bytes(), str(file)))
    except OSError as error:
        raise DataError(f"{file}: {error.strerror or error}; it must be a JSON file") from None
    except (ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{file}: it is not JSON ({error}); it should be a complete file") from None


def field(value: Any, name: str, file: Path, where: str) -> Any:
    """A field of a JSON object. where: the object, for errors. Raises DataError."""
    if not isinstance(value, dict) or name not in value:
        given = ", ".join(map(str, value))[:100] if isinstance(value, dict) else type(value).__name__
        raise DataError(f"{file}: {where} has no field {name!r}; it has {given or 'nothing'}")
    found = value[name]
    if name in ("images", "annotations", "sentences") and not isinstance(found, list):
        raise DataError(f"{file}: {where}, field {name!r}: it is {type(found).__name__}; it should be a list")
    return found


def text(value: Any, where: str) -> str:
    """The value, if it is a text. Raises DataError."""
    if not isinstance(value, str):
        raise DataError(f"{where}: it is {type(value).__name__}; it should be a text")
    return value
