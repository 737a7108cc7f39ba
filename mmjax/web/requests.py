"""Bodies of requests: forms and JSON objects of limited size and time. Every error is one line with an HTTP status."""

import base64
import binascii
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

__all__ = ["DISCARDED", "MAX_JSON", "MAX_SECONDS", "MAX_TEXT", "checked_file", "checked_text", "read_fields", "short"]

MAX_TEXT = 10_000
"""Characters of a text."""
MAX_JSON = 1_000_000
"""Bytes of a JSON body, which is read into memory; larger files are sent as a form, which is not."""
MAX_SECONDS = 60
"""Time for a client to send its request."""
DISCARDED = 8  # times the limit that is read of a body that is too large, so that the client finishes and reads the answer


@asynccontextmanager
async def read_fields(
    request: Request, max_bytes: int, count: int, part_bytes: int = 8 * MAX_TEXT
) -> AsyncIterator[list[tuple[str, Any]]]:
    """Context manager: the fields of a form, each str or an open UploadFile, or those of a JSON object.

    max_bytes: of the body. count: of files and of other fields. part_bytes: of a field of a form that is no file. Files of
    forms are in memory up to 1 MB, and beyond that in the temporary folder, until the context ends. Raises HTTPException: 400
    for a malformed request, 408 for a slow one, 413 for a body that is too large, 415 for one that is neither a form nor JSON.
    """
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        with anyio.fail_after(MAX_SECONDS):
            if given == "application/json":
                form, fields = FormData(), await _json_fields(request, min(MAX_JSON, max_bytes))
            elif given == "multipart/form-data":
                form = await _form(request, max_bytes, count, part_bytes)
                fields = form.multi_items()
            else:
                accepted = "multipart/form-data or application/json"
                raise HTTPException(415, f"the content type is {short(given) or 'missing'}; it must be {accepted}")
    except TimeoutError:
        raise HTTPException(408, f"the request was not complete after {MAX_SECONDS} seconds") from None
    except ClientDisconnect:
        raise HTTPException(400, "the client closed the connection") from None
    try:
        yield fields
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
        fields = json.loads(body, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError):  # a UnicodeDecodeError is a ValueError
        raise HTTPException(400, "the body is not valid JSON") from None
    if not isinstance(fields, _Pairs):
        raise HTTPException(400, 'the body must be a JSON object, such as {"text": "a red bird"}')
    return [(name, _plain(value)) for name, value in fields]


class _Pairs(list):
    """The names and values of a JSON object, of which some may occur twice."""


def _plain(value: Any) -> Any:
    if isinstance(value, _Pairs):
        return {name: _plain(one) for name, one in value}
    return [_plain(one) for one in value] if isinstance(value, list) else value


async def _form(request: Request, limit: int, count: int, part_bytes: int) -> FormData:
    pieces = _limited(request, limit)
    parser = MultiPartParser(request.headers, pieces, max_files=count, max_fields=count, max_part_size=part_bytes)
    try:
        return await parser.parse()
    except MultiPartException as error:
        raise HTTPException(400, f"the form is malformed: {short(error.message)}") from None
    except (ValueError, KeyError, TypeError, AssertionError):
        raise HTTPException(400, "the form is malformed") from None


def checked_text(name: str, value: Any) -> str:
    """The text of a field without space around it. HTTPException unless it is a text of at most `MAX_TEXT` characters."""
    if not isinstance(value, str):
        raise HTTPException(400, f"{name} must be a text, not a file or another value")
    if len(value) > MAX_TEXT:
        raise HTTPException(413, f"{name} has {len(value):,} characters; it may have {MAX_TEXT:,}")
    if any(0xD800 <= ord(character) <= 0xDFFF for character in value):
        raise HTTPException(400, f"{name} has characters that are not Unicode")  # lone surrogates of JSON escapes
    return value.strip()


def checked_file(name: str, value: Any) -> UploadFile | bytes:
    """A file of a form, or the bytes of base64 in JSON."""
    if isinstance(value, UploadFile):
        return value
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise HTTPException(400, f"{name} must be a file of a form, or a file as base64 in JSON") from None


def short(text: str) -> str:
    """A text of a client for a message: one line of at most 80 characters."""
    return " ".join(text.encode("utf-8", "replace").decode().split())[:80]
