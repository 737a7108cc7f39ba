"""Near-duplicate texts: the Jaccard similarity of shingles of characters, or the share of equal letters in equal order.

MinHash (datasketch) proposes candidates. The shingles ignore the order of words; the letters find one typing error in a name of
few words, which changes many of its shingles. Different numbers and single letters are different texts, as in "card 4" and
"card 5". A paraphrase that shares few words with the original is not found.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from mmjax.data.build.nearest import Pairs, best_pairs

__all__ = [
    "ACCENTS", "CANDIDATE", "NUMBERS", "PERMUTATIONS", "SHINGLE", "ShingledText", "jaccard", "normalized", "shingled",
    "shingles", "spelling", "text_duplicates", "text_pairs", "weights",
]  # fmt: skip

PERMUTATIONS = 64
CANDIDATE = 0.3  # Jaccard similarity at which half of all pairs become candidates
SHINGLE = 3  # characters
NUMBERS = re.compile(r"\d+|(?<!\S)\S(?!\S)")  # digits and single letters: what distinguishes the items of a series
ACCENTS = frozenset({1, *range(10, 37), *range(200, 241)})
"""Canonical combining classes of overlays, of the points of Hebrew, Arabic and Syriac, and of signs around a letter. Marks of
other classes are parts of letters: vowels of Indic scripts and Thai, viramas, tones of Thai and Lao, voicing signs of kana."""


def normalized(text: str) -> str:
    """Lowercase without accents, punctuation and repeated spaces. A text without letters and digits, such as an emoji, does not
    change."""
    return " ".join(_words(text)) or text.strip()


def _words(text: str) -> list[str]:
    """Letters and digits with the marks that follow them; marks of other signs, such as an emoji, are left out with these."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if unicodedata.combining(c) not in ACCENTS)
    kinds = "".join(unicodedata.category(c)[0] for c in plain)  # L is a letter, M a mark, N a number
    return [plain[word.start() : word.end()] for word in re.finditer("[LN][LMN]*", kinds)]


def shingles(text: str) -> frozenset[str]:
    """Three characters at a time within words, marked at their ends; words in any order give the same set. A text without words
    is one shingle."""
    parts = {f"<{word}>"[at : at + SHINGLE] for word in _words(text) for at in range(max(1, len(word) + 3 - SHINGLE))}
    return frozenset(parts) or frozenset({text.strip()})


class ShingledText(NamedTuple):
    """A text for comparison. plain: the normalised text. parts: its shingles."""

    plain: str
    parts: frozenset[str]


def shingled(text: str) -> ShingledText:
    return ShingledText(normalized(text), shingles(text))


def spelling(a: str, b: str) -> float:
    """1 - edits / length of the longer text (Levenshtein, 1966); 0 for texts with different numbers or single letters, or if it
    is below 0.7."""
    longest = max(len(a), len(b))
    if not longest or abs(len(a) - len(b)) > 0.3 * longest or NUMBERS.findall(a) != NUMBERS.findall(b):
        return 0.0
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, right in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (left != right))
        if min(row) > 0.3 * longest:
            return 0.0
    score = 1 - row[-1] / longest
    return score if score >= 0.7 else 0.0


def weights(sets: Sequence[frozenset[str]]) -> Callable[[str], float]:
    """The weight of a shingle, log(1 + n / number of the n sets that have it): rare words count more than "a" and "the"."""
    frequency = Counter(part for own in sets for part in own)
    return lambda part: float(np.log1p(len(sets) / max(1, frequency[part])))


def jaccard(a: frozenset[str], b: frozenset[str], weight: Callable[[str], float]) -> float:
    """The weighted Jaccard similarity: the weight of the common shingles as a share of the weight of all."""
    return sum(map(weight, sorted(a & b))) / max(1e-9, sum(map(weight, sorted(a | b))))


def text_pairs(queries: Sequence[ShingledText], keys: Sequence[ShingledText] | None = None) -> Pairs:
    """Scored candidate pairs of texts, or among the queries if keys is None (then i < j).

    score: the larger of the exact Jaccard similarity of shingles, with the weights of the keys, and of `spelling`; MinHash only
    proposes candidates.
    """
    same = keys is None
    keys = queries if keys is None else keys
    if not queries or not keys:
        return Pairs(np.zeros((0, 2), np.int64), np.zeros(0))
    index = _minhash("MinHashLSH")(threshold=CANDIDATE, num_perm=PERMUTATIONS)
    signatures = _signatures([key.parts for key in keys])
    for j, signature in enumerate(signatures):
        index.insert(j, signature)
    own = signatures if same else _signatures([query.parts for query in queries])
    found = [(i, j) for i, signature in enumerate(own) for j in index.query(signature) if not (same and i == j)]
    pairs = np.array(sorted(found), np.int64).reshape(-1, 2)
    weight = weights([key.parts for key in keys])
    score = np.array([_score(queries[i], keys[j], weight) for i, j in pairs.tolist()])
    return best_pairs(pairs[:, 0], pairs[:, 1], score, same)


def text_duplicates(texts: Sequence[ShingledText], threshold: float, known: np.ndarray) -> Pairs:
    """`text_pairs` among the texts, as MinHash does not limit the number of candidates."""
    del threshold, known
    return text_pairs(texts)


def _score(a: ShingledText, b: ShingledText, weight: Callable[[str], float]) -> float:
    return max(jaccard(a.parts, b.parts, weight), spelling(a.plain, b.plain))


def _signatures(sets: Sequence[frozenset[str]]) -> list[Any]:
    encoded = [sorted(part.encode() for part in own) for own in sets]
    return list(_minhash("MinHash").bulk(encoded, num_perm=PERMUTATIONS, seed=1))


def _minhash(name: str) -> Any:
    try:
        import datasketch
    except ImportError as error:
        raise ImportError("near-duplicate texts need datasketch: pip install 'mmjax[build]'") from error
    return getattr(datasketch, name)
