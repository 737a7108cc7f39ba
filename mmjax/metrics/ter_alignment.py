"""Shortest edits without moves, as the translation edit rate needs them (see `ter`).

Tercom computes edit distances within a band around the diagonal. A bit-parallel distance is the same, and faster, if the texts
are short or a shortest path stays in the band; otherwise the band is computed column by column.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mmjax.metrics.edits import Row, first_row, next_row, positions

__all__ = ["BAND", "Alignment", "Reference", "align", "distance", "extend", "reference"]

BAND = 25  # columns on each side of the diagonal
_FAR = 10**9
_MATCH, _REPLACE, _DROP, _ADD = range(4)  # steps of a path; drop a word of the hypothesis, add a word of the reference


class Reference(NamedTuple):
    """A reference of m words. sets: {word: bit set of its places}. places: {word: its places, ascending}."""

    words: list[str]
    sets: dict[str, int]
    places: dict[str, list[int]]


class Alignment(NamedTuple):
    """A shortest edit of a hypothesis of n words into a reference of m words.

    distance: the number of edits. wrong: [n] and missed: [m], True for the words of hypothesis and reference in an edit.
    place: [m], the last word of the hypothesis that is used up to each word of the reference; -1 if there is none.
    """

    distance: int
    wrong: list[bool]
    missed: list[bool]
    place: list[int]


def reference(words: list[str]) -> Reference:
    """A reference from its words."""
    sets = positions(words)
    return Reference(words, sets, {word: [j for j in range(len(words)) if sets[word] >> j & 1] for word in sets})


def extend(table: list[Row], to: Reference, words: Sequence[str]) -> list[Row]:
    """The table of a hypothesis. table: the rows of its first words, or []."""
    columns = len(to.words)
    table = table or [first_row(columns)]
    table = table[:]
    for word in words[len(table) - 1 :]:
        table.append(next_row(table[-1], to.sets.get(word, 0), columns))
    return table


def distance(table: list[Row], to: Reference, words: list[str]) -> int:
    """The number of edits."""
    edits = _last_value(table)
    if len(to.words) < BAND or 2 * edits + 1 < BAND or _is_banded(_path(table, to, words), to, words):
        return edits
    return int(_band_values(to, words)[-1, -1])


def align(table: list[Row], to: Reference, words: list[str]) -> Alignment:
    """A shortest edit; among several, backwards from the end: keep or replace before drop before add, as Tercom."""
    steps, edits = _path(table, to, words), _last_value(table)
    if len(to.words) >= BAND and not _is_banded(steps, to, words):
        values = _band_values(to, words)
        steps, edits = _band_path(values, to, words), int(values[-1, -1])
    wrong, missed, place, used = [], [], [], -1
    for step in steps:
        used += step != _ADD
        if step != _ADD:
            wrong.append(step != _MATCH)
        if step != _DROP:
            missed.append(step != _MATCH)
            place.append(used)
    return Alignment(edits, wrong, missed, place)


def _last_value(table: list[Row]) -> int:
    return len(table) - 1 + table[-1].up.bit_count() - table[-1].down.bit_count()


def _path(table: list[Row], to: Reference, words: list[str]) -> list[int]:
    """The steps of the preferred shortest path, from the start to the end."""
    i, j, steps = len(words), len(to.words), []
    while i or j:
        if i and j and words[i - 1] == to.words[j - 1]:
            step = _MATCH
        elif i and j and not table[i].same >> (j - 1) & 1:
            step = _REPLACE
        elif i and (not j or table[i].step >> (j - 1) & 1):
            step = _DROP
        else:
            step = _ADD
        i, j = i - (step != _ADD), j - (step != _DROP)
        steps.append(step)
    return steps[::-1]


def _limits(i: int, to: Reference, words: list[str]) -> tuple[int, int]:
    """The first column of the band in row i, and the column after its last one."""
    columns = len(to.words)
    slope = columns / len(words)
    width = math.ceil(slope / 2 + BAND) if BAND < slope / 2 else BAND
    middle = math.floor(i * slope)
    return max(0, middle - width), columns + 1 if i == len(words) else min(columns + 1, middle + width)


def _is_banded(steps: list[int], to: Reference, words: list[str]) -> bool:
    """Whether a path stays in the band."""
    i = j = 0
    for step in steps:
        i, j = i + (step != _ADD), j + (step != _DROP)
        if i:
            low, high = _limits(i, to, words)
            if not low <= j < high:
                return False
    return True


def _band_values(to: Reference, words: list[str]) -> np.ndarray:
    """Int64[n + 1, m + 1]: the distances within the band, far elsewhere."""
    columns = np.arange(len(to.words) + 1)
    values = np.full((len(words) + 1, len(columns)), _FAR)
    values[0] = columns
    different = np.ones(len(to.words), np.int64)
    for i, word in enumerate(words, 1):
        low, high = _limits(i, to, words)
        different[:] = 1
        different[to.places.get(word, [])] = 0
        row = values[i - 1] + 1
        row[1:] = np.minimum(row[1:], values[i - 1, :-1] + different)
        part = slice(low, high)
        values[i, part] = np.minimum.accumulate(row[part] - columns[part]) + columns[part]  # additions
    return values


def _band_path(values: np.ndarray, to: Reference, words: list[str]) -> list[int]:
    """The steps of the preferred path through the band."""
    i, j, steps = len(words), len(to.words), []
    while i or j:
        same = i and j and words[i - 1] == to.words[j - 1]
        if i and j and values[i, j] == values[i - 1, j - 1] + (not same):
            step = _MATCH if same else _REPLACE
        elif i and values[i, j] == values[i - 1, j] + 1:
            step = _DROP
        else:
            step = _ADD
        i, j = i - (step != _ADD), j - (step != _DROP)
        steps.append(step)
    return steps[::-1]
