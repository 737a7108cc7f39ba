"""Several dialogues with images, or other texts with vectors, in one training row of a decoder `Interleaved`."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from mmjax.data.decode import DataError

__all__ = ["Dialogue", "PackedRow", "packed_dialogues"]


class Dialogue(NamedTuple):
    """ids: Int[n]; those of at least the vocabulary are vectors, numbered from the dialogue's first one. answer: Int[n], the
    ids that are learned, -1 elsewhere. vectors: how many the dialogue has."""

    ids: Any
    answer: Any
    vectors: int = 0


class PackedRow(NamedTuple):
    """numbers: the dialogues of a row, in order; their vectors follow one another in the memory. ids, answer: of the row,
    Int[m], -1 beyond the end."""

    numbers: list[int]
    ids: Int[np.ndarray, " m"]
    answer: Int[np.ndarray, " m"]


def packed_dialogues(
    dialogues: Sequence[Dialogue], vocabulary: int, begin: int, row_tokens: int, row_vectors: int
) -> list[PackedRow]:
    """Long dialogues first, each in the first row with room for its tokens and vectors (Johnson, 1974).

    vocabulary: of the language model. begin: the id between dialogues, `decoders.interleaved.BEGIN`; the decoder's prompt has
    the first one. row_tokens, row_vectors: of a row. Raises DataError for a dialogue that is larger than a row.
    """
    rows: list[list[int]] = []
    room: list[tuple[int, int]] = []
    for number in np.argsort([-len(dialogue.ids) for dialogue in dialogues], kind="stable").tolist():
        tokens, vectors = len(dialogues[number].ids), dialogues[number].vectors
        if tokens > row_tokens or vectors > row_vectors:
            sizes = f"{tokens} tokens and {vectors} vectors"
            raise DataError(f"dialogue {number} has {sizes}; a packed row has {row_tokens} and {row_vectors}")
        place = next((n for n, (free, left) in enumerate(room) if tokens <= free and vectors <= left), len(rows))
        if place == len(rows):
            rows.append([])
            room.append((row_tokens, row_vectors))
        rows[place].append(number)
        room[place] = room[place][0] - tokens - 1, room[place][1] - vectors  # a begin follows
    return [_joined([dialogues[number] for number in row], row, vocabulary, begin, row_tokens) for row in rows]


def _joined(dialogues: Sequence[Dialogue], numbers: list[int], vocabulary: int, begin: int, tokens: int) -> PackedRow:
    ids, answer = (np.full(tokens, -1, np.int32) for _ in range(2))
    start = first = 0
    for dialogue in dialogues:
        if start:
            ids[start - 1] = begin
        own = np.asarray(dialogue.ids)
        end = start + len(own)
        ids[start:end], answer[start:end] = np.where(own >= vocabulary, own + first, own), dialogue.answer
        start, first = end + 1, first + dialogue.vectors
    return PackedRow(numbers, ids, answer)
