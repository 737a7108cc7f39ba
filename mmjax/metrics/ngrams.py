"""Counts of n-grams in many texts at once: the arrays behind BLEU, chrF and CIDEr. Runs on the host."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["Grams", "character_ids", "join", "ngrams", "word_ids"]


class Grams(NamedTuple):
    """The g pairs of a text and one of its n-grams, sorted by text, then by n-gram.

    text: Int64[g]. gram: Int64[g] in 0..kinds-1; equal n-grams of any texts have the same number. count: Int64[g], at least 1.
    """

    text: np.ndarray
    gram: np.ndarray
    count: np.ndarray
    kinds: int

    def split(self, texts: int) -> tuple["Grams", "Grams"]:
        """(the first `texts` texts, the others, numbered from 0)."""
        at = int(np.searchsorted(self.text, texts))
        first, other = ([column[part] for column in self[:3]] for part in (slice(at), slice(at, None)))
        return Grams(*first, self.kinds), Grams(other[0] - texts, *other[1:], self.kinds)


def word_ids(texts: Sequence[Sequence[str]]) -> tuple[np.ndarray, np.ndarray]:
    """Words of t texts -> (Int64[total], equal numbers for equal words; Int64[t], the number of words of each text)."""
    known: dict[str, int] = {}
    ids = [known.setdefault(word, len(known)) for text in texts for word in text]
    return np.asarray(ids, np.int64), np.asarray([len(text) for text in texts], np.int64)


def character_ids(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """t texts -> (Int64[total] Unicode code points, Int64[t] lengths)."""
    code_points = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), "<u4")
    return code_points.astype(np.int64), np.asarray([len(text) for text in texts], np.int64)


def ngrams(ids: np.ndarray, lengths: np.ndarray, order: int) -> list[Grams]:
    """The n-grams of t texts for n = 1..order. ids: Int64[total], the tokens of all texts; lengths: Int64[t]."""
    text = np.repeat(np.arange(len(lengths)), lengths)
    left = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(ids))  # tokens from here to the end of the text
    _, token = np.unique(ids, return_inverse=True)
    gram, tokens = token, int(token.max(initial=-1)) + 1
    start, kinds, found = np.arange(len(ids)), tokens, []
    for n in range(1, order + 1):
        if n > 1:  # an n-gram is an (n - 1)-gram and a token; numbers below (number of tokens)^2 fit in 64 bits
            inside = left[start] >= n
            start = start[inside]
            values, gram = np.unique(gram[inside] * tokens + token[start + n - 1], return_inverse=True)
            kinds = len(values)
        keys, count = np.unique(text[start] * max(kinds, 1) + gram, return_counts=True)
        found.append(Grams(keys // max(kinds, 1), keys % max(kinds, 1), count, kinds))
    return found


def join(hypotheses: Grams, references: Grams, owner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(i, j), Int64[k] each: entry i of the hypotheses and entry j of the references are the same n-gram of the same unit.

    owner: Int64[r], the unit of each reference; hypothesis u belongs to unit u.
    """
    kinds = max(hypotheses.kinds, 1)
    keys = hypotheses.text * kinds + hypotheses.gram
    wanted = owner[references.text] * kinds + references.gram
    if not len(keys):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    shared = np.flatnonzero(keys[at] == wanted)
    return at[shared], shared
