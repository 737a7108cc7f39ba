"""Dialogues with images at any place, from a file of JSON lines: data of `mmjax.pretrained.dialogue_data.Dialogues`."""

import dataclasses
import hashlib
import io
import json
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tyro
from PIL import Image

from mmjax.data.custom.input_kinds import Images
from mmjax.data.custom.reading import TableColumns, column_of, raw_items, with_training
from mmjax.data.custom.splitting import KFold, RowGroups
from mmjax.data.custom.table import Table, is_missing
from mmjax.data.dataset import Dataset, Rows
from mmjax.data.decode import DataError, decode_text
from mmjax.data.groups import connected_groups, pairs_sharing_a_key

__all__ = ["DialogueFile", "read_messages", "written_messages"]

_IMAGE = TableColumns("image", ("image",))


@dataclasses.dataclass(frozen=True)
class DialogueFile:
    """A file with one dialogue per line, in the chat format of transformers.

        {"id": "7", "split": "train", "messages": [
            {"role": "user", "content": [{"type": "image", "image": "a.png"}, {"type": "text", "text": " or "},
                                         {"type": "image", "image": "b.png"}, {"type": "text", "text": "?"}]},
            {"role": "assistant", "content": "The first one."}]}

    (each on one line). A content is a text, or texts and images in any order. An image is a file, relative to the folder of the
    dialogues; null is an absent image, whose place is empty. Optional fields: "id", all different; "group", whose dialogues
    share a split (without it: those with an equal image); "split", for `SplitColumn()`. Other fields that are texts in all
    lines are metadata.

    The column "image" has each different image once. The metadata column "messages" has its number instead of the file, and a
    row points to its first image.

    file: the dialogues. images: how images are read. split: `KFold()`, `SplitColumn()` or `HeldOut()`, of
    `mmjax.data.custom`. Raises DataError, which names the file and the line, for anything that cannot be used.
    """

    file: tyro.conf.Suppress[str | os.PathLike]
    images: tyro.conf.Suppress[Images] = Images()
    split: Any = KFold()

    def __post_init__(self):
        object.__setattr__(self, "file", Path(self.file))

    @property
    def folds(self) -> int:
        return self._folded().folds

    def at_fold(self, fold: int) -> "DialogueFile":
        """The same dialogues with this test fold."""
        return dataclasses.replace(self, split=dataclasses.replace(self._folded(), fold=fold))

    def _folded(self) -> KFold:
        if not isinstance(self.split, KFold):
            raise DataError(f"DialogueFile.split is {self.split}, so there are no folds for cross-validation; use KFold()")
        return self.split

    def load(self) -> Dataset:
        talks = _talks(self.file)
        # One row per mention of an image, then the number of each mention's item, -1 if it is absent.
        named = [(row, part["image"]) for row, talk in enumerate(talks) for part in _images(talk.messages)]
        of = np.array([row for row, _ in named], np.int64)
        if all(is_missing(name) for _, name in named):
            raise DataError(f"{self.file}: no dialogue has an image; at least one must have one")
        lines = np.array([talk.line for talk in talks], np.int64) - 1
        mentions = _Lines(str(self.file), {"image": [name for _, name in named]}, self.file.parent, lines[of])
        items = raw_items(mentions, _IMAGE, self.images)
        images = [own.tolist() for own in np.split(items.pointer, np.searchsorted(of, np.arange(1, len(talks))))]
        ids, groups = _ids(self.file, talks), _given(self.file, talks, "group")
        keys = [[number for number in own if number >= 0] for own in images] if groups is None else [[name] for name in groups]
        split, group = self._splits(talks, lines, keys, ids if groups is None else groups, groups is not None)
        items = with_training(items, (split == "train")[of], mentions, _IMAGE)
        reading = self.images.fit(items)
        digest = hashlib.sha256(b"".join(items.digests)).hexdigest()
        column = column_of(items, reading, hashlib.sha256(f"{digest} {self.images!r}".encode()).hexdigest())
        messages = np.array([json.dumps(_numbered(talk.messages, own)) for talk, own in zip(talks, images)])
        metadata = {"id": ids, "group": group, "messages": messages} | _texts(talks)
        pointer = np.array([next((number for number in own if number >= 0), -1) for own in images], np.int32)
        at = {name: np.flatnonzero(split == name) for name in ("train", "validation", "test")}
        listed = {name: values.tolist() for name, values in metadata.items()}
        absent = int((items.pointer < 0).sum())
        return Dataset(
            columns={"image": column},
            splits={name: Rows({"image": pointer[rows]}, {}, np.ones(len(rows), np.float32)) for name, rows in at.items()},
            metadata={name: {key: values[rows] for key, values in metadata.items()} for name, rows in at.items()},
            fingerprint=hashlib.sha256(f"{digest} {self.images!r} {split.tolist()} {listed}".encode()).hexdigest(),
            sizes={"image": reading.sizes},
            dropped={"absent images": absent} if absent else {},
            media=partial(_media, column.read, [images[row] for row in at["test"]], [talks[row] for row in at["test"]]),
            source=f"{self.file.name} (image: Images)",
        )

    def _splits(
        self, talks: Sequence["_Talk"], lines: np.ndarray, keys: list[list[Any]], names: np.ndarray, given: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """(the split, the group) of each dialogue."""
        group = connected_groups(len(talks), pairs_sharing_a_key(keys))
        table = _Lines(str(self.file), {"split": [talk.fields.get("split") for talk in talks]}, numbers=lines)
        split = self.split.split_of(table, RowGroups(group, names, np.zeros(len(talks), np.int64), given))
        if not given:  # an official split may divide dialogues with an equal image
            own = [[(key, part) for key in one] for one, part in zip(keys, split.tolist())]
            group = connected_groups(len(talks), pairs_sharing_a_key(own))
        return split, group


class _Lines(Table):
    """Cells of the lines with these numbers, from 0; a line may have several or none."""

    def where(self, row: int | np.integer, column: str) -> str:
        return f"{self.name}: line {self.numbers[row] + 1}, field {column!r}"


class _Talk(NamedTuple):
    """A dialogue. line: of the file, from 1. fields: all but the messages."""

    line: int
    messages: list[dict[str, Any]]
    fields: dict[str, Any]


def read_messages(value: Any) -> list[dict[str, Any]]:
    """Messages in the chat format of transformers, each content as a list of parts. Raises ValueError for any other value."""
    if not isinstance(value, list) or not value:
        raise ValueError(f'{str(value)[:60]!r} is no list of messages, {{"role": "...", "content": a text or a list of parts}}')
    return [{**_message(one, number), "content": _parts(one["content"], number)} for number, one in enumerate(value, 1)]


def written_messages(messages: Sequence[dict[str, Any]], marker: str) -> list[dict[str, Any]]:
    """The messages with texts as contents, in which the marker stands for an image; for nothing if that is null."""
    text = lambda part: part["text"] if part["type"] == "text" else marker if part.get("image", "") is not None else ""
    return [{**message, "content": "".join(map(text, message["content"]))} for message in messages]


def _message(one: Any, number: int) -> dict[str, Any]:
    if not isinstance(one, dict) or not isinstance(one.get("role"), str):
        raise ValueError(f"message {number} is {str(one)[:60]!r}; it must be an object with a role and a content")
    content = one.get("content")
    if not isinstance(content, str | list):
        raise ValueError(f"message {number}: the content is {str(content)[:60]!r}; it must be a text or a list of parts")
    return one


def _parts(content: str | list[Any], number: int) -> list[dict[str, Any]]:
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    for place, part in enumerate(parts, 1):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind != "image" and not (kind == "text" and isinstance(part.get("text"), str)):
            known = 'it must be {"type": "text", "text": "..."} or {"type": "image", "image": "FILE"}'
            raise ValueError(f"message {number}, part {place} is {str(part)[:60]!r}; {known}")
    return parts


def _images(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [part for message in messages for part in message["content"] if part["type"] == "image"]


def _numbered(messages: Sequence[dict[str, Any]], numbers: Sequence[int]) -> list[dict[str, Any]]:
    """The messages with numbers of images instead of files. numbers: -1 if absent."""
    following = iter(numbers)
    number = lambda part: {**part, "image": None if (own := next(following)) < 0 else own}
    numbered = lambda content: [number(part) if part["type"] == "image" else part for part in content]
    return [{**message, "content": numbered(message["content"])} for message in messages]


def _talks(file: Path) -> list[_Talk]:
    try:
        lines = decode_text(file.read_bytes(), str(file)).split("\n")
    except OSError as error:
        raise DataError(f"{file}: {error.strerror or error}; it must be a file with a JSON object per line") from None
    found = [_talk(line, number, file) for number, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise DataError(f"{file}: there are no dialogues; it must have a JSON object per line")
    return found


def _talk(line: str, number: int, file: Path) -> _Talk:
    where = f"{file}: line {number}"
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is not JSON ({error}); it must be an object with messages") from None
    if not isinstance(fields, dict) or "messages" not in fields:
        raise DataError(f'{where} is {line[:60]!r}; it must be an object such as {{"messages": [...]}}')
    try:
        messages = read_messages(fields.pop("messages"))
    except ValueError as error:
        raise DataError(f"{where}: {error}") from None
    wrong = [part for part in _images(messages) if not isinstance(part.get("image", 0), str | None)]
    if wrong:
        raise DataError(f"{where}: an image is {str(wrong[0])[:60]!r}; it must name a file, or be null if it is absent")
    return _Talk(number, messages, fields)


def _given(file: Path, talks: Sequence[_Talk], name: str) -> np.ndarray | None:
    """str[n], a field of names that all dialogues have; None if none has it."""
    if not any(name in talk.fields for talk in talks):
        return None
    for talk in talks:
        value = talk.fields.get(name)
        if is_missing(value) or not isinstance(value, str | int):
            raise DataError(f"{file}: line {talk.line}, field {name!r}: it is {value!r}; it must be a text or an integer")
    return np.array([str(talk.fields[name]) for talk in talks])


def _ids(file: Path, talks: Sequence[_Talk]) -> np.ndarray:
    """str[n], all different: the ids, else the name of the file and the line."""
    given, first = _given(file, talks, "id"), {}
    for talk, name in zip(talks, () if given is None else given.tolist()):
        other = first.setdefault(name, talk.line)
        if other != talk.line:
            raise DataError(f"{file}: line {talk.line}, field 'id': {name!r} is that of line {other} too; ids must differ")
    return np.array([f"{file.name}:{talk.line}" for talk in talks]) if given is None else given


def _texts(talks: Sequence[_Talk]) -> dict[str, np.ndarray]:
    """The other fields that are texts in all lines."""
    names = [name for name in talks[0].fields if name not in ("id", "group", "split", "messages")]
    columns = {name: [talk.fields.get(name) for talk in talks] for name in names}
    return {name: np.array(cells) for name, cells in columns.items() if all(isinstance(cell, str) for cell in cells)}


def _media(
    read: Callable[[int], Any], images: Sequence[Sequence[int]], talks: Sequence[_Talk], row: int
) -> dict[str, Any]:
    """All images of a test dialogue, side by side as a PNG, and its text."""
    messages = written_messages(talks[row].messages, "<image>")
    found: dict[str, Any] = {"caption": " | ".join(message["content"] for message in messages)}
    own = [np.asarray(read(number)) for number in images[row] if number >= 0]
    if own:
        Image.fromarray(np.concatenate(own, axis=1)).save(file := io.BytesIO(), "PNG")
        found["image"] = file.getvalue()
    return found
