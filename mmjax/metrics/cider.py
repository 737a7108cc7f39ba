"""CIDEr and CIDEr-D (Vedantam, Zitnick and Parikh, "CIDEr: consensus-based image description evaluation", CVPR 2015).

Both are the mean similarity of a caption to its references: the cosine of tf-idf vectors of n-grams, averaged over n = 1..4.
The inverse document frequency of an n-gram is log(u / units in which a reference contains it), over the references of all u
units; units whose references have no words do not count. CIDEr-D neither stems words nor rewards repetition: counts are clipped
to those of the reference, and a Gaussian of the difference in length (sigma 6) is a factor. It is the "CIDEr" of the COCO
caption evaluation.

Outcomes: {"cider": Float64[u]} and {"cider_d": Float64[u]}, the scores of the units, times 10 as in that evaluation. They
depend on the references of all units. Weights do not change them: a metric is the weighted mean of the scores.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Array, Float

from mmjax.metrics.ngrams import Grams, join, ngrams, word_ids
from mmjax.metrics.porter import stem
from mmjax.metrics.text_normal import caption_words
from mmjax.metrics.texts import check_texts, flat
from mmjax.metrics.weighted import mean
from mmjax.types import Outcomes

__all__ = ["ORDER", "SIGMA", "cider", "cider_d", "cider_d_statistics", "cider_statistics"]

ORDER = 4
SIGMA = 6.0  # of the difference in length, in words


def cider_statistics(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], words: Callable[[str], list[str]] = caption_words
) -> Outcomes:
    """{"cider": Float64[u] in 0..10}. Words are reduced to Porter stems, as in the paper."""
    stems = lambda text: [stem(word) for word in words(text)]
    return {"cider": _scores(hypotheses, references, stems, clip=False)}


def cider_d_statistics(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], words: Callable[[str], list[str]] = caption_words
) -> Outcomes:
    """{"cider_d": Float64[u] in 0..10}. words: text -> words, such as `str.split` for texts that are tokenised already."""
    return {"cider_d": _scores(hypotheses, references, words, clip=True)}


def cider(outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
    """The mean CIDEr, in 0..10; NaN if all weights are 0."""
    return mean(outcomes["cider"], weight)


def cider_d(outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
    """The mean CIDEr-D, in 0..10; NaN if all weights are 0."""
    return mean(outcomes["cider_d"], weight)


def _scores(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], words: Callable[[str], list[str]], clip: bool
) -> np.ndarray:
    """Float64[u]: 10 times the mean over references and n of the similarity; all 0 for a single unit, whose idf are 0."""
    check_texts(hypotheses, references)
    flattened, owner = flat(references)
    units = len(hypotheses)
    ids, lengths = word_ids([words(text) for text in (*hypotheses, *flattened)])
    documents = len(np.unique(owner[lengths[units:] > 0]))
    similarity = np.zeros(len(flattened))
    for grams in ngrams(ids, lengths, ORDER):
        own, others = grams.split(units)
        idf = _idf(others, owner, documents)
        similarity += _cosine(own, others, owner, idf, clip) / ORDER
    if clip:
        pairs = np.maximum(lengths - 1, 0)  # the evaluation code counts pairs of words
        similarity *= np.exp(-np.square(pairs[:units][owner] - pairs[units:]) / (2 * SIGMA**2))
    return 10 * np.bincount(owner, similarity, units) / np.maximum(np.bincount(owner, minlength=units), 1)


def _idf(references: Grams, owner: np.ndarray, documents: int) -> np.ndarray:
    """Float64[kinds]: log(documents / the number of units whose references contain the n-gram, at least 1)."""
    kinds = max(references.kinds, 1)
    containing = np.unique(owner[references.text] * kinds + references.gram) % kinds
    return np.log(max(documents, 1)) - np.log(np.maximum(np.bincount(containing, minlength=kinds), 1))


def _cosine(own: Grams, others: Grams, owner: np.ndarray, idf: np.ndarray, clip: bool) -> np.ndarray:
    """Float64[r]: the cosine of each reference and the hypothesis of its unit; 0 if a vector is 0.

    clip: an n-gram contributes at most its weight in the reference.
    """
    a, b = (grams.count * idf[grams.gram] for grams in (own, others))
    i, j = join(own, others, owner)
    products = np.bincount(others.text[j], (np.minimum(a[i], b[j]) if clip else a[i]) * b[j], len(owner))
    length = lambda grams, x, texts: np.sqrt(np.bincount(grams.text, np.square(x), texts))
    lengths = length(own, a, int(owner.max(initial=-1)) + 1)[owner] * length(others, b, len(owner))
    return np.divide(products, lengths, out=np.zeros(len(owner)), where=lengths > 0)
