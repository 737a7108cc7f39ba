"""BLEU of a corpus (Papineni et al., "BLEU: a method for automatic evaluation of machine translation", ACL 2002).

Outcomes: {"bleu_matches": Int32[u 4], the n-grams of the hypothesis that occur in a reference, n = 1..4, each at most as often
as in the reference with most of them; "bleu_ngrams": Int32[u 4], the n-grams of the hypothesis; "bleu_words": Int32[u], its
length; "bleu_reference_words": Int32[u], the closest length of a reference, the shorter one if two are equally close}.

Equal to sacrebleu (Post, 2018) with `max_ngram_order=1..4` and its defaults, on the scale 0..1 instead of 0..100.
"""

from collections.abc import Callable, Sequence
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mmjax.metrics.ngrams import join, ngrams, word_ids
from mmjax.metrics.text_normal import words_13a
from mmjax.metrics.texts import check_texts, flat
from mmjax.metrics.weighted import ratio, total
from mmjax.types import Outcomes

__all__ = ["ORDER", "bleu", "bleu_statistics"]

ORDER = 4


def bleu_statistics(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], words: Callable[[str], list[str]] = words_13a
) -> Outcomes:
    """The outcomes of BLEU. words: text -> words, such as `words_intl`, or `str.split` for texts that are tokenised already."""
    check_texts(hypotheses, references)
    flattened, owner = flat(references)
    units = len(hypotheses)
    ids, lengths = word_ids([words(text) for text in (*hypotheses, *flattened)])
    matches = np.zeros((units, ORDER), np.int32)
    for n, grams in enumerate(ngrams(ids, lengths, ORDER)):
        own, others = grams.split(units)
        i, j = join(own, others, owner)
        most = np.zeros(len(own.count), np.int64)
        np.maximum.at(most, i, others.count[j])
        matches[:, n] = np.bincount(own.text, np.minimum(own.count, most), units)
    own = lengths[:units]
    return {
        "bleu_matches": matches,
        "bleu_ngrams": np.maximum(own[:, None] - np.arange(ORDER), 0).astype(np.int32),
        "bleu_words": own.astype(np.int32),
        "bleu_reference_words": _closest(own, lengths[units:], owner),
    }


def _closest(own: np.ndarray, lengths: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """Int32[u]: the length of the closest reference of each unit, the shorter one if two are equally close."""
    order = np.lexsort((lengths, np.abs(lengths - own[owner]), owner))
    first = np.unique(owner[order], return_index=True)[1]
    return lengths[order[first]].astype(np.int32)


@cache
def bleu(order: int) -> Callable[[Outcomes, Array], Array]:
    """The metric BLEU-`order`, order in 1..4: brevity penalty times the geometric mean of the precisions of 1..order-grams.

    If some, but not all precisions are 0, the first one becomes 1 / (2 total), the second one 1 / (4 total), and so on (method
    3 of Chen and Cherry, 2014, as in mteval-v13a.pl). 0 if no word matches or no hypothesis has `order` words.
    """
    if not 1 <= order <= ORDER:
        raise ValueError(f"the order of BLEU must be in 1..{ORDER}, not {order}")

    def value(outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
        totals = jax.vmap(total, (1, None))
        matches, ngrams = (totals(outcomes[name], weight)[:order] for name in ("bleu_matches", "bleu_ngrams"))
        own, reference = (total(outcomes[name], weight) for name in ("bleu_words", "bleu_reference_words"))
        missed = matches == 0
        smoothed = jnp.where(missed, 0.5 ** jnp.cumsum(missed), matches)
        some = jnp.any(~missed) & jnp.all(ngrams > 0)
        logarithms = jnp.log(jnp.where(some, smoothed, 1) / jnp.where(some, ngrams, 1))
        brevity = jnp.minimum(1 - ratio(reference, own), 0)
        score = jnp.where(some, jnp.exp(jnp.mean(logarithms) + brevity), 0)
        return jnp.where(jnp.sum(weight) > 0, score, jnp.nan)

    return value
