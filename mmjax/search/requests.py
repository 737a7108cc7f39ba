"""Requests of the search page -> raw inputs. Every error is one line with an HTTP status."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from mmjax.web.requests import checked_file, checked_text, read_fields, short

__all__ = ["read_query"]


@asynccontextmanager
async def read_query(
    request: Request, kinds: Mapping[str, str], max_bytes: int
) -> AsyncIterator[tuple[dict[str, Any], int | None]]:
    """Context manager: (inputs, k), {modality: str, bytes or open UploadFile} and the number of results, None if not given.

    kinds: {modality: "image", "sound" or "text"}. max_bytes, errors: as of `web.requests.read_fields`.
    """
    async with read_fields(request, max_bytes, len(kinds) + 1) as fields:
        yield _inputs(fields, kinds)


def _inputs(fields: list[tuple[str, Any]], kinds: Mapping[str, str]) -> tuple[dict[str, Any], int | None]:
    """Fields of a form (str or UploadFile) or of a JSON object -> (inputs, k). Empty fields are left out."""
    inputs, k = {}, None
    for name, value in fields:
        if name != "k" and name not in kinds:
            raise HTTPException(400, f"there is no field {short(name)!r}; the fields are {', '.join(kinds)} and k")
        if name in inputs or (name == "k" and k is not None):
            raise HTTPException(400, f"the field {name!r} is given twice")
        if value in ("", None) or (isinstance(value, UploadFile) and not value.size):
            continue
        if name == "k":
            k = _count(value)
        elif kinds[name] == "text":
            if text := checked_text(name, value):
                inputs[name] = text
        else:
            inputs[name] = checked_file(name, value)
    return inputs, k


def _count(value: Any) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 6:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise HTTPException(400, "k is the number of results; it must be a whole number")
    return value
