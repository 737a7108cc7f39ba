"""Translation edit rate of a corpus (Snover et al., "A study of translation edit rate with targeted human annotation", AMTA
2006): the number of edits that turn a hypothesis into a reference, relative to the length of the reference. An edit inserts,
deletes or replaces a word, or moves a phrase.

The best moves are intractable. They are chosen greedily, within the limits of the program Tercom as reimplemented in sacrebleu:
phrases have at most 10 words, about 1,000 moves are tried per pair of texts, and edit distances are banded. Equal to
sacrebleu's `TER()`, on the scale of 1 instead of 100, except that it is undefined without a word in the references.

Outcomes: {"ter_edits": Int32[u], the fewest edits over the references; "ter_words": Float64[u], the mean length of the
references}. Texts are lowercased and split at white space; punctuation counts.
"""

from collections.abc import Iterator, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mmjax.metrics.edits import Row
from mmjax.metrics.ter_alignment import Alignment, Reference, align, distance, extend, reference
from mmjax.metrics.texts import check_texts
from mmjax.metrics.weighted import ratio, total
from mmjax.types import Outcomes

__all__ = ["MAX_DISTANCE", "MAX_PHRASE", "MAX_TRIED", "ter", "ter_statistics", "translation_edits"]

MAX_PHRASE = 10  # words of a moved phrase
MAX_DISTANCE = 50  # places between a phrase of the hypothesis and the equal phrase of the reference
MAX_TRIED = 1000  # no further phrases are tried for a pair of texts after this number of moves


def ter_statistics(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Outcomes:
    """The outcomes of TER."""
    check_texts(hypotheses, references)
    split = lambda text: text.lower().split()
    edits, words = np.zeros(len(hypotheses), np.int32), np.zeros(len(hypotheses))
    for unit, (hypothesis, candidates) in enumerate(zip(hypotheses, references)):
        own, others = split(hypothesis), [split(text) for text in candidates]
        edits[unit] = min(translation_edits(own, other) for other in others)
        words[unit] = sum(map(len, others)) / len(others)
    return {"ter_edits": edits, "ter_words": words}


def ter(outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
    """Edits / words of the references, at least 0; above 1 with many insertions. NaN if the references have no words."""
    return ratio(total(outcomes["ter_edits"], weight), total(outcomes["ter_words"], weight), jnp.nan)


def translation_edits(hypothesis: list[str], words: list[str]) -> int:
    """The number of edits, including moves, that turn the hypothesis into the reference with these words."""
    if not words:
        return len(hypothesis)
    to, moves, tried = reference(words), 0, 0
    while True:
        table = extend([], to, hypothesis)
        now = align(table, to, hypothesis)
        gain, moved, tried = _best_move(now, table, to, hypothesis, tried)
        if tried >= MAX_TRIED or gain <= 0:
            return moves + now.distance
        moves, hypothesis = moves + 1, moved


def _best_move(
    now: Alignment, table: list[Row], to: Reference, words: list[str], tried: int
) -> tuple[int, list[str], int]:
    """(edits that the best move saves, the words after it, moves tried so far); (0, words, ...) if there is no move.

    Among equally good moves: the longest phrase, then the first phrase, then the first target.
    """
    best = (0, 0, 0, 0)
    found: dict[tuple[int, int, int], int] = {}
    for start, target, length in _phrases(to, words):
        if not any(now.wrong[start : start + length]) or not any(now.missed[target : target + length]):
            continue  # one of the two is right where it is
        if start <= now.place[target] < start + length:
            continue  # the target is within the phrase
        for index in _targets(now.place, target, length):
            tried += 1
            if (start, length, index) in found:
                continue
            moved = _moved(words, start, length, index)
            after = distance(extend(table[: min(start, index) + 1], to, moved), to, moved)
            found[start, length, index] = after
            best = max(best, (now.distance - after, length, -start, -index))
        if tried >= MAX_TRIED:
            break
    gain, length, start, index = best
    return (gain, _moved(words, -start, length, -index), tried) if gain > 0 else (0, words, tried)


def _phrases(to: Reference, words: list[str]) -> Iterator[tuple[int, int, int]]:
    """(start in the hypothesis, start in the reference, length) of each phrase that both texts contain."""
    for start, word in enumerate(words):
        for target in to.places.get(word, ()):
            if abs(target - start) > MAX_DISTANCE:
                continue
            most = min(MAX_PHRASE, len(words) - start, len(to.words) - target)
            for length in range(1, most + 1):
                if words[start + length - 1] != to.words[target + length - 1]:
                    break
                yield start, target, length


def _targets(place: list[int], target: int, length: int) -> Iterator[int]:
    """The places in the hypothesis before which the phrase may go: after the word of each place in the reference."""
    previous = -1
    for at in range(target - 1, min(target + length, len(place))):
        index = 0 if at == -1 else place[at] + 1
        if index != previous:
            yield index
        previous = index


def _moved(words: list[str], start: int, length: int, index: int) -> list[str]:
    """The words after the phrase at `start` has moved before the word `index`; by `index - start` if that is in the phrase."""
    phrase, rest = words[start : start + length], words[:start] + words[start + length :]
    at = index - length if index > start + length else index
    return rest[:at] + phrase + rest[at:]
