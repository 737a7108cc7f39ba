"""METEOR with exact and stem matches (Lavie and Agarwal, "METEOR: an automatic metric for MT evaluation with high levels of
correlation with human judgments", WMT 2007), with the alignment and the parameters of NLTK's `meteor_score`.

Synonyms need WordNet and do not match here, so scores are lower than those of METEOR with all stages. The scores of the Java
program METEOR 1.5, which the COCO caption evaluation uses, differ from NLTK's.

Outcomes: {"meteor_exact_stem": Float64[u] in 0..1}, the score of the best reference of each unit.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Array, Float

from mmjax.metrics.porter import stem
from mmjax.metrics.text_normal import caption_words
from mmjax.metrics.texts import check_texts
from mmjax.metrics.weighted import mean
from mmjax.types import Outcomes

__all__ = ["ALPHA", "BETA", "GAMMA", "meteor_exact_stem", "meteor_statistics"]

ALPHA = 0.9  # weight of precision in the denominator of the mean of precision and recall
BETA, GAMMA = 3.0, 0.5  # exponent and largest value of the penalty of fragmentation

_Pairs = list[tuple[int, int]]


def meteor_statistics(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], words: Callable[[str], list[str]] = caption_words
) -> Outcomes:
    """{"meteor_exact_stem": Float64[u]}. words: text -> words; they are compared in lower case."""
    check_texts(hypotheses, references)
    lower = lambda text: [word.lower() for word in words(text)]
    best = [max(_score(lower(own), lower(text)) for text in of_unit) for own, of_unit in zip(hypotheses, references)]
    return {"meteor_exact_stem": np.array(best, np.float64)}


def meteor_exact_stem(outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
    """The mean METEOR with exact and stem matches, in 0..1; NaN if all weights are 0."""
    return mean(outcomes["meteor_exact_stem"], weight)


def _score(hypothesis: list[str], reference: list[str]) -> float:
    """METEOR of one pair: (1 - penalty) times the weighted harmonic mean; 0 if no word matches."""
    matches = _matches(list(enumerate(hypothesis)), list(enumerate(reference)))
    stems = lambda words, used: [(k, stem(word)) for k, word in enumerate(words) if k not in used]
    matches += _matches(stems(hypothesis, {i for i, _ in matches}), stems(reference, {j for _, j in matches}))
    if not matches:
        return 0.0
    matches.sort()
    precision, recall = len(matches) / len(hypothesis), len(matches) / len(reference)
    harmonic = precision * recall / (ALPHA * precision + (1 - ALPHA) * recall)
    chunks = 1 + sum(after != (i + 1, j + 1) for (i, j), after in pairwise(matches))
    return (1 - GAMMA * (chunks / len(matches)) ** BETA) * harmonic


def _matches(hypothesis: list[tuple[int, str]], reference: list[tuple[int, str]]) -> _Pairs:
    """[(i, j)] of equal words: from the last word of the hypothesis on, each takes the last free place in the reference."""
    places: dict[str, list[int]] = {}
    for j, word in reference:
        places.setdefault(word, []).append(j)
    return [(i, places[word].pop()) for i, word in reversed(hypothesis) if places.get(word)]
