"""ROUGE-L: F-scores of the longest common subsequence of words (Lin, "ROUGE: a package for automatic evaluation of summaries",
2004), by two definitions that differ.

- `rouge_l` and `rouge_l_stem`: as in the package rouge-score, without and with its stemmer. Words are runs of a-z and 0-9 in
  lower case, so letters with accents and other scripts separate words and are lost. F1; the best reference counts.
- `rouge_l_coco`: as in the COCO caption evaluation. Words are those of a caption; F with beta 1.2, of the highest precision and
  the highest recall over the references.

Outcomes: {the name of the metric: Float64[u] in 0..1}, the scores of the units; a metric is their weighted mean.
"""

import re
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Array, Float

from mmjax.metrics.edits import common_subsequence
from mmjax.metrics.porter import stem
from mmjax.metrics.text_normal import caption_words
from mmjax.metrics.texts import check_texts
from mmjax.metrics.weighted import mean
from mmjax.types import Outcomes

__all__ = [
    "BETA", "rouge_l", "rouge_l_coco", "rouge_l_coco_statistics", "rouge_l_statistics", "rouge_l_stem",
    "rouge_l_stem_statistics",
]

BETA = 1.2  # of COCO's F-score: recall counts BETA times as much as precision
_WORD = re.compile("[a-z0-9]+")


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _stems(text: str) -> list[str]:
    """The words; those of more than three letters are reduced to Porter stems."""
    return [stem(word) if len(word) > 3 else word for word in _words(text)]


def _shares(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], words: Callable[[str], list[str]]
) -> list[np.ndarray]:
    """Float64[r 2] per unit: the common subsequence as a share of the hypothesis and of the reference; 0 for empty texts."""
    check_texts(hypotheses, references)
    shares = []
    for hypothesis, candidates in zip(hypotheses, references):
        own = words(hypothesis)
        others = [words(text) for text in candidates]
        common = [common_subsequence(other, own) for other in others]
        shares.append(np.array([[k / max(len(own), 1), k / max(len(other), 1)] for k, other in zip(common, others)]))
    return shares


def _f1(hypotheses: Sequence[str], references: Sequence[Sequence[str]], words: Callable[[str], list[str]]) -> np.ndarray:
    """Float64[u]: the highest F1 over the references."""
    best = lambda share: np.max(2 * share.prod(axis=1) / np.where(share.any(axis=1), share.sum(axis=1), 1))
    return np.array([best(share) for share in _shares(hypotheses, references, words)], np.float64)


def rouge_l_statistics(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Outcomes:
    """{"rouge_l": Float64[u]}, as rouge-score's rougeL."""
    return {"rouge_l": _f1(hypotheses, references, _words)}


def rouge_l_stem_statistics(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Outcomes:
    """{"rouge_l_stem": Float64[u]}, as rouge-score's rougeL with `use_stemmer=True`."""
    return {"rouge_l_stem": _f1(hypotheses, references, _stems)}


def rouge_l_coco_statistics(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], words: Callable[[str], list[str]] = caption_words
) -> Outcomes:
    """{"rouge_l_coco": Float64[u]}. words: text -> words, such as `str.split` for texts that are tokenised already."""
    best = [share.max(axis=0) for share in _shares(hypotheses, references, words)]
    precision, recall = np.array(best, np.float64).reshape(-1, 2).T
    weighted = recall + BETA**2 * precision
    return {"rouge_l_coco": (1 + BETA**2) * precision * recall / np.where(weighted > 0, weighted, 1)}


def rouge_l(outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
    """The mean ROUGE-L of rouge-score, in 0..1; NaN if all weights are 0."""
    return mean(outcomes["rouge_l"], weight)


def rouge_l_stem(outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
    """The mean ROUGE-L of rouge-score with stems, in 0..1; NaN if all weights are 0."""
    return mean(outcomes["rouge_l_stem"], weight)


def rouge_l_coco(outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
    """The mean ROUGE-L of the COCO caption evaluation, in 0..1; NaN if all weights are 0."""
    return mean(outcomes["rouge_l_coco"], weight)
