"""Near-duplicate texts by MinHash (datasketch): the Jaccard similarity of shingles of characters and words.

It finds copies with other case, punctuation, spelling, order or a few other words. It cannot find a paraphrase that shares few
words with the original.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mmjax.data.build.nearest import Pairs, best_pairs

__all__ = ["CANDIDATE", "PERMUTATIONS", "SHINGLE", "jaccard", "normalized", "shingles", "text_pairs", "weights"]

PERMUTATIONS = 64
CANDIDATE = 0.3  # Jaccard similarity at which half of all pairs become candidates
SHINGLE = 3  # characters


def normalized(text: str) -> str:
    """Lowercase without accents, punctuation and repeated spaces."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c))
    return " ".join(re.findall(r"\w+", plain))


def shingles(text: str) -> frozenset[str]:
    """Three characters at a time within words, marked at their ends; words in any order give the same set."""
    words = normalized(text).split()
    parts = {f"{f'<{word}>'[at : at + SHINGLE]}" for word in words for at in range(max(1, len(word) + 3 - SHINGLE))}
    return frozenset(parts) or frozenset({text.strip()})


def weights(sets: Sequence[frozenset[str]]) -> Callable[[str], float]:
    """The weight of a shingle, log(1 + n / number of the n sets that have it): rare words count more than "a" and "the"."""
    frequency = Counter(part for own in sets for part in own)
    return lambda part: float(np.log1p(len(sets) / max(1, frequency[part])))


def jaccard(a: frozenset[str], b: frozenset[str], weight: Callable[[str], float]) -> float:
    """The weighted Jaccard similarity: the weight of the common shingles as a share of the weight of all."""
    return sum(map(weight, sorted(a & b))) / max(1e-9, sum(map(weight, sorted(a | b))))


def text_pairs(queries: Sequence[frozenset[str]], keys: Sequence[frozenset[str]] | None = None) -> Pairs:
    """Scored candidate pairs of sets of shingles, or among the queries if keys is None (then i < j).

    score: their exact Jaccard similarity with the weights of the keys; MinHash only proposes candidates.
    """
    same = keys is None
    keys = queries if keys is None else keys
    if not queries or not keys:
        return Pairs(np.zeros((0, 2), np.int64), np.zeros(0))
    index = _minhash("MinHashLSH")(threshold=CANDIDATE, num_perm=PERMUTATIONS)
    signatures = _signatures(keys)
    for j, signature in enumerate(signatures):
        index.insert(j, signature)
    own = signatures if same else _signatures(queries)
    found = [(i, j) for i, signature in enumerate(own) for j in index.query(signature) if not (same and i == j)]
    pairs = np.array(sorted(found), np.int64).reshape(-1, 2)
    weight = weights(keys)
    score = np.array([jaccard(queries[i], keys[j], weight) for i, j in pairs.tolist()])
    return best_pairs(pairs[:, 0], pairs[:, 1], score, same)


def _signatures(sets: Sequence[frozenset[str]]) -> list[Any]:
    encoded = [sorted(part.encode() for part in own) for own in sets]
    return list(_minhash("MinHash").bulk(encoded, num_perm=PERMUTATIONS, seed=1))


def _minhash(name: str) -> Any:
    try:
        import datasketch
    except ImportError as error:
        raise ImportError("near-duplicate texts need datasketch: pip install 'mmjax[build]'") from error
    return getattr(datasketch, name)
