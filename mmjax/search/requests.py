"""Requests of the search page -> raw inputs. Every error is one line with an HTTP status."""

import base64
import binascii
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

__all__ = ["DISCARDED", "MAX_JSON", "MAX_SECONDS", "MAX_TEXT", "read_query"]

MAX_TEXT = 10_000
"""Characters of a text."""
MAX_JSON = 1_000_000
"""Bytes of a JSON body, which is read into memory; larger files are sent as a form, which is not."""
MAX_SECONDS = 60
"""Time for a client to send its request."""
DISCARDED = 8  # times the limit that is read of a body that is too large, so that the client finishes and reads the answer


@asynccontextmanager
async def read_query(
    request: Request, kinds: Mapping[str, str], max_bytes: int
) -> AsyncIterator[tuple[dict[str, Any], int | None]]:
    """Context manager: (inputs, k), {modality: str, bytes or open UploadFile} and the number of results, None if not given.

    kinds: {modality: "image", "sound" or "text"}. max_bytes: of the body. Files of forms are in memory up to 1 MB, and beyond
    that in the temporary folder, until the context ends. Raises HTTPException: 400 for a malformed request, 408 for a slow one,
    413 for a body that is too large, and 415 for one that is neither a form nor JSON.
    """
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        with anyio.fail_after(MAX_SECONDS):
            if given == "application/json":
                form, fields = FormData(), await _json_fields(request, min(MAX_JSON, max_bytes))
            elif given == "multipart/form-data":
                form = await _form(request, max_bytes, len(kinds) + 1)
                fields = form.multi_items()
            else:
                accepted = "multipart/form-data or application/json"
                raise HTTPException(415, f"the content type is {_short(given) or 'missing'}; it must be {accepted}")
    except TimeoutError:
        raise HTTPException(408, f"the request was not complete after {MAX_SECONDS} seconds") from None
    except ClientDisconnect:
        raise HTTPException(400, "the client closed the connection") from None
    try:
        yield _inputs(fields, kinds)
    finally:
        await form.close()


async def _limited(request: Request, limit: int) -> AsyncIterator[bytes]:
    """The body in pieces. A body that is too large is discarded as it arrives, and raises 413 at its end."""
    received = 0
    async for piece in request.stream():
        received += len(piece)
        if received > DISCARDED * limit:
            break
        if received <= limit:
            yield piece
    if received > limit:
        raise HTTPException(413, f"the request is larger than {limit:,} bytes; send smaller files")


async def _json_fields(request: Request, limit: int) -> list[tuple[str, Any]]:
    body = b"".join([piece async for piece in _limited(request, limit)])
    try:
        fields = json.loads(body, object_pairs_hook=lambda pairs: pairs)
    except (ValueError, RecursionError):  # a UnicodeDecodeError is a ValueError
        raise HTTPException(400, "the body is not valid JSON") from None
    if not body.lstrip().startswith(b"{"):
        raise HTTPException(400, 'the body must be a JSON object, such as {"text": "a red bird"}')
    return fields


async def _form(request: Request, limit: int, count: int) -> FormData:
    pieces = _limited(request, limit)
    parser = MultiPartParser(request.headers, pieces, max_files=count, max_fields=count, max_part_size=8 * MAX_TEXT)
    try:
        return await parser.parse()
    except MultiPartException as error:
        raise HTTPException(400, f"the form is malformed: {_short(error.message)}") from None
    except (ValueError, KeyError, TypeError, AssertionError):
        raise HTTPException(400, "the form is malformed") from None


def _inputs(fields: list[tuple[str, Any]], kinds: Mapping[str, str]) -> tuple[dict[str, Any], int | None]:
    """Fields of a form (str or UploadFile) or of a JSON object -> (inputs, k). Empty fields are left out."""
    inputs, k = {}, None
    for name, value in fields:
        if name != "k" and name not in kinds:
            raise HTTPException(400, f"there is no field {_short(name)!r}; the fields are {', '.join(kinds)} and k")
        if name in inputs or (name == "k" and k is not None):
            raise HTTPException(400, f"the field {name!r} is given twice")
        if value in ("", None) or (isinstance(value, UploadFile) and not value.size):
            continue
        if name == "k":
            k = _count(value)
        elif kinds[name] == "text":
            if text := _text(name, value):
                inputs[name] = text
        else:
            inputs[name] = _file(name, value)
    return inputs, k


def _count(value: Any) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 6:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise HTTPException(400, "k is the number of results; it must be a whole number")
    return value


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise HTTPException(400, f"{name} must be a text, not a file or another value")
    if len(value) > MAX_TEXT:
        raise HTTPException(413, f"{name} has {len(value):,} characters; it may have {MAX_TEXT:,}")
    if any(0xD800 <= ord(character) <= 0xDFFF for character in value):
        raise HTTPException(400, f"{name} has characters that are not Unicode")  # lone surrogates of JSON escapes
    return value.strip()


def _file(name: str, value: Any) -> UploadFile | bytes:
    """A file of a form, or the bytes of base64 in JSON."""
    if isinstance(value, UploadFile):
        return value
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise HTTPException(400, f"{name} must be a file of a form, or a file as base64 in JSON") from None


def _short(text: str) -> str:
    """A text of a client for a message: one line of at most 80 characters."""
    return " ".join(text.encode("utf-8", "replace").decode().split())[:80]
