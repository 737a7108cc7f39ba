"""Cards of test examples for the page, with embedded media and the predictions of one cell."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmjax.report.numbers import Number
from mmjax.runs.schema import RunError

MEDIA = {
    ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp", ".gif": "image/gif",
    ".mp3": "audio/mpeg", ".wav": "audio/wav", ".ogg": "audio/ogg", ".opus": "audio/ogg", ".flac": "audio/flac",
}  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """The cell's prediction from one subset of the modalities. predicted: None if the example has none of them."""

    subset: str
    predicted: str | None
    correct: bool | None
    score: Number | None


@dataclass(frozen=True)
class Card:
    """One test example. image, sound: data URIs. answers: the complete input first."""

    id: str
    target: str
    caption: str | None
    language: str | None
    image: str | None
    sound: str | None
    answers: tuple[Answer, ...]


def cards(examples: Sequence[Mapping[str, Any]], shown: Mapping[str, Sequence[Mapping[str, Any]]], task: str) -> list[Card]:
    """The cards of a task. examples: of all tasks. shown: {task: [{subset: answer or None}]} of a cell (`Run.shown`).

    RunError if their numbers differ, or if a file of media has an unknown type.
    """
    own = [example for example in examples if example["task"] == task]
    if not own or task not in shown:
        return []
    if len(own) != len(shown[task]):
        raise RunError(f"examples.json: key '{task}' has {len(shown[task])} entries for {len(own)} examples")
    return [
        Card(
            example["id"], example["target"], example["caption"], example["language"],
            _data_uri(example["image"]), _data_uri(example["sound"]),
            tuple(_answer(subset, answer) for subset, answer in answers.items()),
        )
        for example, answers in zip(own, shown[task])
    ]  # fmt: skip


def _answer(subset: str, answer: Mapping[str, Any] | None) -> Answer:
    if answer is None:
        return Answer(subset, None, None, None)
    return Answer(subset, answer["predicted"], answer["correct"], answer["score"])


def _data_uri(file: Path | None) -> str | None:
    if file is None:
        return None
    if file.suffix.lower() not in MEDIA:
        raise RunError(f"{file}: the page cannot show {file.suffix!r} files, only {', '.join(MEDIA)}")
    return f"data:{MEDIA[file.suffix.lower()]};base64,{base64.b64encode(file.read_bytes()).decode()}"
