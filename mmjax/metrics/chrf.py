"""chrF and chrF++ of a corpus (Popović, "chrF: character n-gram F-score for automatic MT evaluation", WMT 2015; "chrF++: words
helping character n-grams", WMT 2017).

Outcomes: {"chrf": Int32[u 6 3], of character n-grams, n = 1..6, without white space; "chrf++": Int32[u 8 3], of these and of
word n-grams, n = 1..2}. The last axis counts the n-grams of the hypothesis, of the reference, and of both. Among several
references, the one with the highest F-score counts.

Equal to sacrebleu's `CHRF()` and `CHRF(word_order=2)`, on the scale 0..1 instead of 0..100. Case counts.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mmjax.metrics.ngrams import character_ids, join, ngrams, word_ids
from mmjax.metrics.texts import check_texts, flat
from mmjax.metrics.weighted import ratio, total
from mmjax.types import Outcomes

__all__ = ["BETA", "CHARACTERS", "WORDS", "chrf", "chrf_plus_plus", "chrf_statistics"]

CHARACTERS, WORDS = 6, 2  # the longest n-grams
BETA = 2  # recall counts BETA times as much as precision
_PUNCTUATION = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")


def chrf_statistics(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Outcomes:
    """The outcomes of chrF and chrF++."""
    check_texts(hypotheses, references)
    flattened, owner = flat(references)
    texts = [*hypotheses, *flattened]
    characters = _counts(*character_ids(["".join(text.split()) for text in texts]), CHARACTERS, owner, len(hypotheses))
    words = _counts(*word_ids([_words(text) for text in texts]), WORDS, owner, len(hypotheses))
    both = np.concatenate([characters, words], axis=1)
    return {"chrf": _best(characters, owner, len(hypotheses)), "chrf++": _best(both, owner, len(hypotheses))}


def _words(text: str) -> list[str]:
    """The words, with one mark of ASCII punctuation split off at the end or, if there is none, at the start."""
    words = []
    for word in text.split():
        if len(word) > 1 and word[-1] in _PUNCTUATION:
            words += [word[:-1], word[-1]]
        elif len(word) > 1 and word[0] in _PUNCTUATION:
            words += [word[0], word[1:]]
        else:
            words.append(word)
    return words


def _counts(ids: np.ndarray, lengths: np.ndarray, order: int, owner: np.ndarray, units: int) -> np.ndarray:
    """Int64[r order 3]: the counts of each of r references and the hypothesis of its unit.

    The n-grams of the hypothesis do not count if the reference has none of this length.
    """
    own, other = (np.maximum(part[:, None] - np.arange(order), 0) for part in (lengths[:units][owner], lengths[units:]))
    shared = np.zeros((len(owner), order), np.int64)
    for n, grams in enumerate(ngrams(ids, lengths, order)):
        hypotheses, references = grams.split(units)
        i, j = join(hypotheses, references, owner)
        shared[:, n] = np.bincount(references.text[j], np.minimum(hypotheses.count[i], references.count[j]), len(owner))
    return np.stack([np.where(other > 0, own, 0), other, shared], axis=-1)


def _best(counts: np.ndarray, owner: np.ndarray, units: int) -> np.ndarray:
    """Int32[u n 3]: the counts of the reference with the highest F-score of each unit, the first one of several."""
    own, other, shared = np.moveaxis(counts, -1, 0)
    valid = (own > 0) & (other > 0)
    orders = np.maximum(valid.sum(axis=1), 1)
    precision, recall = (
        np.cumsum(np.where(valid, shared / np.maximum(of, 1), 0), axis=1)[:, -1] / orders for of in (own, other)
    )
    weighted = BETA**2 * precision + recall
    score = (1 + BETA**2) * precision * recall / np.where(weighted > 0, weighted, 1)
    order = np.lexsort((-score, owner))  # stable
    first = order[np.searchsorted(owner[order], np.arange(units))]
    return counts[first].astype(np.int32)


def _score(counts: Any, weight: Float[Array, " u"]) -> Float[Array, ""]:
    """The F-score of the mean precision and the mean recall over the n for which both texts have n-grams."""
    totals = jax.vmap(jax.vmap(total, (1, None)), (2, None))(counts, weight)
    own, other, shared = totals
    valid = (own > 0) & (other > 0)
    precision, recall = (ratio(jnp.sum(jnp.where(valid, ratio(shared, of), 0)), jnp.sum(valid)) for of in (own, other))
    score = ratio((1 + BETA**2) * precision * recall, BETA**2 * precision + recall)
    return jnp.where(jnp.sum(weight) > 0, score, jnp.nan)


def chrf(outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
    """chrF in 0..1: the F2-score of character 1-grams to 6-grams; 0 without common ones, NaN if all weights are 0."""
    return _score(outcomes["chrf"], weight)


def chrf_plus_plus(outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
    """chrF++ in 0..1: as `chrf`, with word 1-grams and 2-grams."""
    return _score(outcomes["chrf++"], weight)
