"""Dialogues as token ids for training, and which of them are answers: only these have a loss.

    template = read_chat_template(folder)
    pieces = dialogue_pieces(template, messages)               # the rendered text, and which parts of it are answers
    dialogue = dialogue_with_vectors(pieces, library, vocabulary, "<image>", [9])

`data.dialogues` packs several of them into one row.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from mmjax.data.dialogues import Dialogue
from mmjax.pretrained.chat_sandbox import ChatTemplateError
from mmjax.pretrained.chat_template import ChatTemplate
from mmjax.pretrained.image_prompts import ImagePrompts, Tiles, written_out

__all__ = ["MARKS", "Piece", "dialogue_ids", "dialogue_pieces", "dialogue_with_vectors", "published_dialogue"]

MARKS = "\U000f0000", "\U000f0001"
"""Around answers while a template is rendered: characters for private use, which no text should have."""


class Piece(NamedTuple):
    """A part of a rendered dialogue. answer: whether the assistant writes it."""

    text: str
    answer: bool


def dialogue_pieces(template: ChatTemplate, messages: Sequence[Mapping[str, Any]], **variables: Any) -> list[Piece]:
    """The pieces of a dialogue; their texts joined are the rendered text.

    An answer is what the template has inside {% generation %}. Templates without that render the dialogue up to each answer,
    with the beginning of an answer and without it: the answer is what follows, its end of turn and line break included.
    messages, variables: as of `ChatTemplate.render`. Raises ChatTemplateError if the messages have a character of `MARKS`, or
    if a template without {% generation %} writes an answer otherwise once the dialogue goes on.
    """
    text = template.render(messages, add_generation_prompt=False, **variables)
    marked = template.render(messages, add_generation_prompt=False, marks=MARKS, **variables)
    if marked == text:
        return _by_prefixes(template, messages, text, variables)
    parts = re.split(f"{MARKS[0]}([^{''.join(MARKS)}]*){MARKS[1]}", marked)
    if "".join(parts) != text or any(mark in text for mark in MARKS):
        raise ChatTemplateError(f"the chat template marks answers inside each other, or a message has one of {MARKS!a}")
    return [Piece(part, number % 2 == 1) for number, part in enumerate(parts) if part]


def _by_prefixes(
    template: ChatTemplate, messages: Sequence[Mapping[str, Any]], text: str, variables: Mapping[str, Any]
) -> list[Piece]:
    pieces, done = [], ""
    for number in (number for number, message in enumerate(messages) if message.get("role") == "assistant"):
        before = template.render(messages[:number], add_generation_prompt=True, **variables)
        after = template.render(messages[: number + 1], add_generation_prompt=False, **variables)
        if not (text.startswith(after) and after.startswith(before) and before.startswith(done)):
            raise ChatTemplateError(
                f"the chat template writes answer {len(pieces) // 2 + 1} otherwise when the dialogue goes on, so its answers "
                "cannot be found; put {% generation %} and {% endgeneration %} around them"
            )
        pieces += [Piece(before[len(done) :], False), Piece(after[len(before) :], True)]
        done = after
    return [piece for piece in (*pieces, Piece(text[len(done) :], False)) if piece.text]


def dialogue_ids(pieces: Sequence[Piece], library: Any) -> tuple[Int[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """(token ids of the joined texts, whether a token has a character of an answer).

    library: a `tokenizers.Tokenizer`; it adds no special tokens, as templates write them out.
    """
    encoded = library.encode("".join(piece.text for piece in pieces), add_special_tokens=False)
    ends = [*accumulate((len(piece.text) for piece in pieces), initial=0)]
    spans = [(start, end) for start, end, piece in zip(ends, ends[1:], pieces) if piece.answer]
    answer = [any(first < end and last > start for start, end in spans) for first, last in encoded.offsets]
    return np.array(encoded.ids, np.int32), np.array(answer, bool)


def dialogue_with_vectors(
    pieces: Sequence[Piece], library: Any, vocabulary: int, marker: str, vectors: Sequence[int]
) -> Dialogue:
    """The ids of a dialogue, in which each marker becomes the next vectors of `decoders.Interleaved`, ids from `vocabulary` on.

    Texts between markers are tokenised one by one, as if the marker were a special token. library: as of `dialogue_ids`.
    vectors: the number of vectors of each marker. Raises ValueError if there are more or fewer markers.
    """
    found = sum(piece.text.count(marker) for piece in pieces)
    if found != len(vectors):
        raise ValueError(f"the dialogue has {found} times {marker!r}, but there are {len(vectors)} inputs for it")
    parts: list[list[Piece]] = [[]]
    for text, answer in pieces:
        first, *rest = text.split(marker)
        parts[-1].append(Piece(first, answer))
        parts += [[Piece(one, answer)] for one in rest]
    ids, answers, ends = [], [], [0, *accumulate(vectors)]
    for number, part in enumerate(parts):
        if number:
            ids.append(vocabulary + np.arange(ends[number - 1], ends[number], dtype=np.int32))
            answers.append(np.full(vectors[number - 1], -1, np.int32))
        own, answer = dialogue_ids(part, library)
        ids.append(own)
        answers.append(np.where(answer, own, -1).astype(np.int32))
    return Dialogue(np.concatenate(ids), np.concatenate(answers), ends[-1])


def published_dialogue(
    prompts: ImagePrompts, pieces: Sequence[Piece], images: Sequence[Any]
) -> tuple[list[Tiles], Dialogue]:
    """(the tiles of each image, the dialogue), as the processor of a published vision-language model makes them.

    pieces: with the model's marker for each image. Raises ValueError as `ImagePrompts.read`, and for a processor that changes
    the text otherwise than by a start token, such as PaliGemma's.
    """
    tiles, ids = prompts.read({"text": "".join(piece.text for piece in pieces), "images": images})
    texts = iter([tile.text for tile in tiles])
    written = [
        Piece(written_out(text, prompts.marker, [next(texts) for _ in range(text.count(prompts.marker))]), answer)
        for text, answer in pieces
    ]
    own, answer = dialogue_ids(written, prompts.texts.library)
    start = len(ids) - len(own)
    if start < 0 or (np.where(ids < prompts.vocabulary, ids, prompts.placeholder)[start:] != own).any():
        raise ValueError("the processor of the weights changes the text of a prompt, so answers cannot be found in it")
    answer = np.pad(answer, (start, 0)) & (ids < prompts.vocabulary)
    vectors = sum(len(tile.pixels) for tile in tiles) * prompts.vectors + prompts.leading
    return tiles, Dialogue(ids, np.where(answer, ids, -1).astype(np.int32), vectors)
