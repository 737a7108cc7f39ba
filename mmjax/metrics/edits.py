"""Edit distances of two sequences, and word and character error rates.

Distances are computed bit-parallel: one Python integer holds a whole row of the dynamic programme (Myers, "A fast bit-vector
algorithm for approximate string matching based on dynamic programming", JACM 1999; Hyyrö, "Explaining and extending the
bit-parallel approximate string matching algorithm of Myers", 2001). D[i, j] is the distance of the first i tokens of the
hypothesis and the first j tokens of the reference; bit j - 1 of a row belongs to column j.

Outcomes: {"word_errors": Int32[u 3], "words": Int32[u]} and {"character_errors": Int32[u 3], "characters": Int32[u]}: the
substitutions, deletions and insertions that turn the reference into the hypothesis, and the length of the reference. They are
equal to jiwer's. Among several references, the one with the lowest error rate counts.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mmjax.metrics.texts import check_texts
from mmjax.metrics.weighted import ratio, total
from mmjax.types import Outcomes

__all__ = [
    "Row", "cer", "cer_statistics", "common_subsequence", "edits", "error_rate", "first_row", "next_row", "positions", "rows",
    "wer", "wer_statistics",
]

_Sequence = Sequence[Hashable]


class Row(NamedTuple):
    """One row i of D as bit sets over the columns j.

    up, down: D[i, j] - D[i, j - 1] is 1 or -1. step: D[i, j] - D[i - 1, j] is 1. same: D[i, j] is D[i - 1, j - 1].
    """

    up: int
    down: int
    step: int
    same: int


def positions(reference: _Sequence) -> dict[Hashable, int]:
    """{token: the bit set of its positions in the reference}."""
    found: dict[Hashable, int] = {}
    for j, token in enumerate(reference):
        found[token] = found.get(token, 0) | 1 << j
    return found


def first_row(columns: int) -> Row:
    """Row 0: D[0, j] = j."""
    return Row((1 << columns) - 1, 0, 0, 0)


def next_row(row: Row, equal: int, columns: int) -> Row:
    """Row i from row i - 1. equal: the bit set of the positions of token i of the hypothesis in the reference."""
    full, up, down = (1 << columns) - 1, row.up, row.down
    same = (((equal & up) + up) ^ up) | equal | down
    step = down | ~(same | up)
    shifted = step << 1 | 1
    return Row(((same & up) << 1 | ~(same | shifted)) & full, shifted & same & full, step & full, same & full)


def rows(reference: _Sequence, hypothesis: _Sequence) -> list[Row]:
    """The rows 0..len(hypothesis) of D."""
    where, columns = positions(reference), len(reference)
    table = [first_row(columns)]
    for token in hypothesis:
        table.append(next_row(table[-1], where.get(token, 0), columns))
    return table


def edits(reference: _Sequence, hypothesis: _Sequence) -> tuple[int, int, int]:
    """(substitutions, deletions, insertions) of a shortest edit of the reference into the hypothesis.

    Shortest edits may differ in their substitutions. This one is found backwards from the end, after common ends are removed:
    a deletion if possible, otherwise an insertion if it is forced, otherwise both sequences advance (as in jiwer).
    """
    start, end = _common_ends(reference, hypothesis)
    reference, hypothesis = reference[start : len(reference) - end], hypothesis[start : len(hypothesis) - end]
    table = rows(reference, hypothesis) if reference and hypothesis else []
    i, j = len(hypothesis), len(reference)
    substitutions = deletions = insertions = 0
    while i and j:
        if table[i].up >> (j - 1) & 1:
            deletions, j = deletions + 1, j - 1
        elif i > 1 and table[i - 1].down >> (j - 1) & 1:
            insertions, i = insertions + 1, i - 1
        else:
            i, j = i - 1, j - 1
            substitutions += hypothesis[i] != reference[j]
    return substitutions, deletions + j, insertions + i


def _common_ends(a: _Sequence, b: _Sequence) -> tuple[int, int]:
    """The lengths of the common prefix and, beyond it, of the common suffix."""
    shorter = min(len(a), len(b))
    start = next((k for k in range(shorter) if a[k] != b[k]), shorter)
    left = shorter - start
    return start, next((k for k in range(left) if a[-1 - k] != b[-1 - k]), left)


def common_subsequence(reference: _Sequence, hypothesis: _Sequence) -> int:
    """The length of the longest common subsequence (Hyyrö, "Bit-parallel LCS-length computation revisited", 2004)."""
    full = (1 << len(reference)) - 1
    where = positions(reference)
    free = full
    for token in hypothesis:
        matched = free & where.get(token, 0)
        free = ((free + matched) | (free - matched)) & full
    return len(reference) - free.bit_count()


def _statistics(split: Callable[[str], _Sequence], hypotheses: Sequence[str], references: Sequence[Sequence[str]]):
    """(errors Int32[u 3], reference lengths Int32[u]) of the best reference of each unit."""
    check_texts(hypotheses, references)
    errors, lengths = np.zeros((len(hypotheses), 3), np.int32), np.zeros(len(hypotheses), np.int32)
    for unit, (hypothesis, candidates) in enumerate(zip(hypotheses, references)):
        found = split(hypothesis)
        options = [(edits(tokens, found), len(tokens)) for tokens in map(split, candidates)]
        errors[unit], lengths[unit] = min(options, key=lambda option: sum(option[0]) / max(option[1], 1))
    return errors, lengths


def wer_statistics(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Outcomes:
    """{"word_errors": Int32[u 3], "words": Int32[u]}. Words are separated by white space; case and punctuation count."""
    errors, words = _statistics(str.split, hypotheses, references)
    return {"word_errors": errors, "words": words}


def cer_statistics(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Outcomes:
    """{"character_errors": Int32[u 3], "characters": Int32[u]}. Characters are Unicode code points, including the spaces
    between words, but not those at the ends."""
    errors, characters = _statistics(str.strip, hypotheses, references)
    return {"character_errors": errors, "characters": characters}


def error_rate(errors: Any, length: Any, weight: Float[Array, " u"]) -> Float[Array, ""]:
    """Total errors [u 3] / total length [u]; NaN if the total length is 0."""
    return ratio(jnp.sum(jax.vmap(total, (1, None))(errors, weight)), total(length, weight), jnp.nan)


def wer(outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
    """Word error rate: errors / words of the references, at least 0; above 1 with many insertions. NaN without words."""
    return error_rate(outcomes["word_errors"], outcomes["words"], weight)


def cer(outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
    """Character error rate: errors / characters of the references, at least 0. NaN without characters."""
    return error_rate(outcomes["character_errors"], outcomes["characters"], weight)
