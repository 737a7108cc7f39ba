"""Requests of the chat page -> messages. Every error is one line with an HTTP status."""

import json
from collections.abc import Sequence
from typing import Any

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from mmjax.chat.messages import KINDS, Message, opened
from mmjax.data.decode import DataError
from mmjax.web.requests import MAX_TEXT, read_fields, short

__all__ = ["MAX_FILES", "MAX_MESSAGES", "read_messages"]

MAX_FILES, MAX_MESSAGES = 64, 1000
_LONGEST = 2_000_000  # bytes of all texts
_EXAMPLE = '[{"role": "user", "content": "What is this?"}]'


async def read_messages(request: Request, takes: Sequence[str], max_bytes: int) -> list[Message]:
    """The messages of a form: "messages" as JSON, and the files that its parts name, {"type": "image", "file": "0"}.

    takes: of `messages.KINDS`, what messages may have. max_bytes, errors: as of `web.requests.read_fields`; 422 for a file that
    cannot be decoded.
    """
    async with read_fields(request, max_bytes, MAX_FILES + 1, _LONGEST) as fields:
        files = {name: value.file.read() for name, value in fields if isinstance(value, UploadFile)}
        given = next((value for name, value in fields if name == "messages" and not isinstance(value, UploadFile)), None)
    try:
        messages = json.loads(given) if isinstance(given, str) else given
    except (ValueError, RecursionError):
        raise HTTPException(400, "messages is not valid JSON") from None
    if not isinstance(messages, list) or not 0 < len(messages) <= MAX_MESSAGES:
        raise HTTPException(400, f"messages must be a list of at most {MAX_MESSAGES}, such as {_EXAMPLE}")
    if len(messages) % 2 == 0:
        raise HTTPException(400, "messages must be questions and answers in turn, and the last one a question")
    try:
        return [_message(number, one, files, takes) for number, one in enumerate(messages)]
    except (DataError, ImportError) as error:
        raise HTTPException(422, " ".join(str(error).split())) from None


def _message(number: int, given: Any, files: dict[str, bytes], takes: Sequence[str]) -> Message:
    role = ("user", "assistant")[number % 2]
    if not isinstance(given, dict) or given.get("role") != role:
        raise HTTPException(400, f"message {number + 1} must have the role {role!r}, as in {_EXAMPLE}")
    content = given.get("content")
    if isinstance(content, str):
        return {"role": role, "content": _text(content)}
    if not isinstance(content, list) or role == "assistant":
        raise HTTPException(400, f"the content of message {number + 1} must be a text{' or parts' * (role == 'user')}")
    return {"role": role, "content": [_part(one, files, takes) for one in content]}


def _part(given: Any, files: dict[str, bytes], takes: Sequence[str]) -> dict[str, Any]:
    kind = given.get("type") if isinstance(given, dict) else None
    if kind == "text" and isinstance(given.get("text"), str):
        return {"type": "text", "text": _text(given["text"])}
    if kind not in KINDS:
        raise HTTPException(400, 'a part must be {"type": "text", "text": "..."} or {"type": "image", "file": "..."}')
    if kind not in takes:
        raise HTTPException(400, f"the model takes no {kind}; it takes {' and '.join(('texts', *takes))}")
    name = str(given.get("file"))
    if name not in files:
        raise HTTPException(400, f"the form has no file {short(name)!r}, which a part names")
    return {"type": kind, kind: opened(kind, files[name], kind)}


def _text(text: str) -> str:
    if len(text) > MAX_TEXT:
        raise HTTPException(413, f"a message has {len(text):,} characters; it may have {MAX_TEXT:,}")
    if any(0xD800 <= ord(character) <= 0xDFFF for character in text):
        raise HTTPException(400, "a message has characters that are not Unicode")  # lone surrogates of JSON escapes
    return text
