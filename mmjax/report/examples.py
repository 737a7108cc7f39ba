"""Cards of test examples for the page, with media and the predictions of every cell.

Images and sounds are embedded in the page as data, each content once, and browsers load them lazily. A file of more than
MAX_FILE bytes, or one beyond MAX_PAGE bytes in all, stays in the run folder: the page names it and links to it.
"""

import base64
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mmjax.report.numbers import Number
from mmjax.runs.schema import RunError

__all__ = [
    "LEVELS", "MAX_FILE", "MAX_PAGE", "MEDIA", "WAYS", "Answer", "Attention", "Card", "Embedded", "Medium", "attention_of",
    "cards", "same_texts",
]

MEDIA = {
    ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp", ".gif": "image/gif",
    ".mp3": "audio/mpeg", ".wav": "audio/wav", ".ogg": "audio/ogg", ".opus": "audio/ogg", ".flac": "audio/flac",
}  # fmt: skip
LEVELS = "0123456789abcdefghijklmnopqrstuvwxyz"
MAX_FILE, MAX_PAGE = 100_000, 16_000_000  # bytes
WAYS = {"removed": "without {}", "replaced": "with another {}"}


@dataclass(frozen=True)
class Attention:
    """The attention of each word of a text.

    modalities: their names. tokens: for each modality the texts of its tokens, () if they have none. words: pairs of a word
    and, for each modality joined by "|", the percentage of the attention and, after a space, a character of LEVELS for each
    token: its weight relative to the largest one of this word and modality.
    """

    modalities: tuple[str, ...]
    tokens: tuple[tuple[str, ...], ...]
    words: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Answer:
    """The cell's prediction from one subset of the modalities. predicted: None if the example has none of them. attention: of
    a text, None if it is unknown."""

    subset: str
    predicted: str | None
    correct: bool | None
    score: Number | None
    attention: Attention | None = None


@dataclass(frozen=True)
class Medium:
    """An image or a sound. uri: its content as a data URI; "" if another medium of the page has the same content, or if it is
    not embedded. id: of the content. name, kilobytes: of the file. link: the address of the file from the page."""

    uri: str
    id: str
    embedded: bool
    name: str
    kilobytes: int
    link: str


@dataclass(frozen=True)
class Card:
    """One test example. image, sound: media. answers: {cell: answers}, the complete input first. same: {cell: how its input can
    change while its answer stays}, of `same_texts`."""

    id: str
    target: str
    caption: str | None
    language: str | None
    image: Medium | None
    sound: Medium | None
    answers: Mapping[str, tuple[Answer, ...]]
    same: Mapping[str, str]


@dataclass
class Embedded:
    """The media that the page has so far: {sha256 of the content: whether it is embedded}, and their bytes in all.

    folder: of the page, where its links start.
    """

    folder: Path = Path()
    known: dict[str, bool] = field(default_factory=dict)
    size: int = 0

    def add(self, file: Path | None) -> Medium | None:
        """The medium of a file. Raises RunError if its type is unknown."""
        if file is None:
            return None
        kind = MEDIA.get(file.suffix.lower())
        if kind is None:
            raise RunError(f"{file}: the page cannot show {file.suffix!r} files, only {', '.join(MEDIA)}")
        content = file.read_bytes()
        digest = hashlib.sha256(content).hexdigest()[:16]
        first = digest not in self.known
        if first:
            self.known[digest] = len(content) <= min(MAX_FILE, MAX_PAGE - self.size)
            self.size += len(content) * self.known[digest]
        embedded = self.known[digest]
        uri = f"data:{kind};base64,{base64.b64encode(content).decode()}" if first and embedded else ""
        link = quote(os.fsencode(os.path.relpath(file, self.folder)))
        return Medium(uri, f"m{digest}", embedded, file.name, -(-len(content) // 1000), link)


def cards(
    examples: Sequence[Mapping[str, Any]],
    shown: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]],
    task: str,
    media: Embedded,
    same: Mapping[str, Mapping[str, Mapping[str, Any]]],
) -> list[Card]:
    """The cards of a task. examples: of all tasks. shown: {cell: {task: [{subset: answer or None}]}} (`Run.shown`), the cell
    that is shown first of all. media: of the page so far. same: {cell: as of `Run.same_answers`}.

    RunError if the numbers of examples and answers differ, or if a file of media has an unknown type.
    """
    own = [example for example in examples if example["task"] == task]
    answers = {cell: of[task] for cell, of in shown.items() if task in of}
    texts = {cell: same_texts(same[cell], [example["unit"] for example in own]) for cell in answers}
    if not own or not answers:
        return []
    for cell, of in answers.items():
        if len(own) != len(of):
            raise RunError(f"cells/{cell}: examples.json: key '{task}' has {len(of)} entries for {len(own)} examples")
    return [
        Card(
            example["id"], example["target"], example["caption"], example["language"],
            media.add(example["image"]), media.add(example["sound"]),
            {cell: tuple(_answer(subset, answer) for subset, answer in of[i].items()) for cell, of in answers.items()},
            {cell: of[i] for cell, of in texts.items()},
        )
        for i, example in enumerate(own)
    ]  # fmt: skip


def same_texts(same: Mapping[str, Mapping[str, Any]], units: Sequence[int]) -> list[str]:
    """How the input of each of these units can change while the answers of all seeds stay the same, such as "without image,
    with another image"; "" if the answer changes. same: as of `Run.same_answers`."""
    named = {WAYS[way].format(modality): of for modality, ways in same.items() for way, of in ways.items()}
    stays = lambda of, unit: unit < of.shape[1] and (of[:, unit] == 1).all()
    return [", ".join(text for text, of in named.items() if stays(of, unit)) for unit in units]


def attention_of(found: Mapping[str, Any] | None) -> Attention | None:
    """The attention of the page from that of the run folder (`mmjax.runs.read.ATTENTION`)."""
    if found is None:
        return None
    maps = found["maps"]
    code = lambda weights: f"{100 * sum(weights):.0f} {_levels(weights)}"
    words = [(word, "|".join(code(of["weights"][k]) for of in maps.values())) for k, word in enumerate(found["words"])]
    return Attention(tuple(maps), tuple(tuple(of["tokens"] or ()) for of in maps.values()), tuple(words))


def _levels(weights: Sequence[Number]) -> str:
    largest = max(weights, default=0) or 1
    return "".join(LEVELS[round(weight / largest * (len(LEVELS) - 1))] for weight in weights)


def _answer(subset: str, answer: Mapping[str, Any] | None) -> Answer:
    if answer is None:
        return Answer(subset, None, None, None)
    return Answer(subset, answer["predicted"], answer["correct"], answer["score"], attention_of(answer.get("attention")))
