"""Messages with images and recordings, in the form that chat templates take: {"role": "user", "content": a text or parts}.

A part is {"type": "text", "text": str}, {"type": "image", "image": a Pillow image} or {"type": "audio", "audio": (samples,
Hz)}.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mmjax.data.decode import decode_audio, open_image

__all__ = ["KINDS", "RATE", "Message", "media_of", "opened", "text_of", "user_message", "without_media"]

Message = Mapping[str, Any]
KINDS = ("image", "audio")
RATE = 16_000  # Hz


def opened(kind: str, data: bytes, name: str) -> Any:
    """A file as a part has it. kind: of `KINDS`. name: of the file in errors. Raises DataError if it cannot be decoded."""
    return open_image(data, name) if kind == "image" else (decode_audio(data, name, RATE), RATE)


def user_message(text: str, media: Sequence[tuple[str, Any]] = ()) -> Message:
    """A message with (kind, image or recording) before its text."""
    parts = [{"type": kind, kind: value} for kind, value in media]
    return {"role": "user", "content": [*parts, {"type": "text", "text": text}] if parts else text}


def _parts(message: Message) -> list[Mapping[str, Any]]:
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


def text_of(message: Message) -> str:
    """The text of a message."""
    return "".join(part["text"] for part in _parts(message) if part["type"] == "text")


def media_of(messages: Sequence[Message], kind: str) -> list[Any]:
    """The images or recordings of messages, in their order. kind: of `KINDS`."""
    return [part[kind] for message in messages for part in _parts(message) if part["type"] == kind]


def without_media(messages: Sequence[Message], marker: str) -> list[Message]:
    """The messages as parts for a template, which puts a marker in the place of each image or recording.

    marker: is removed from answers, which have no media.
    """

    def of_part(part: Mapping[str, Any], role: str) -> dict[str, str]:
        if part["type"] != "text":
            return {"type": part["type"], part["type"]: ""}  # some templates look at the type, others for the name
        return {"type": "text", "text": part["text"].replace(marker, "") if role == "assistant" else part["text"]}

    return [{"role": one["role"], "content": [of_part(part, one["role"]) for part in _parts(one)]} for one in messages]
