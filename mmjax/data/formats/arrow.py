"""Columns of Arrow tables (Parquet files and data sets of Hugging Face) as cells."""

from pathlib import Path
from typing import Any

import numpy as np

from mmjax.data.decode import DataError

__all__ = ["cells_of", "pyarrow"]


def pyarrow() -> Any:
    """The library. Raises ImportError, which names the extra."""
    try:
        import pyarrow
    except ImportError as error:
        raise ImportError("Parquet and Arrow files need pyarrow: pip install 'mmjax[build]'") from error
    return pyarrow


def cells_of(column: Any, name: str, field: str) -> list[Any]:
    """The cells of a column. {"bytes", "path"}, an encoded file, becomes its bytes or path; lists of numbers become arrays."""
    try:
        column.validate(full=True)
    except pyarrow().ArrowException as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{name}: field {field!r} is damaged ({reason}); write the file again") from None
    return [_cell(value, f"{name}: row {row}, field {field!r}") for row, value in enumerate(column.to_pylist(), 1)]


def _cell(value: Any, where: str) -> Any:
    if isinstance(value, dict):
        if not {"bytes", "path"} <= value.keys():
            raise DataError(f"{where}: it has the parts {', '.join(value)}; only files with 'bytes' and 'path' are supported")
        if value["bytes"] is not None:
            return value["bytes"]
        return None if value["path"] is None else Path(value["path"])
    if isinstance(value, list) and value and not isinstance(value[0], str):
        try:
            return np.array(value)
        except ValueError:
            raise DataError(f"{where}: its lists have different lengths; an array has rows of one length") from None
    return value
