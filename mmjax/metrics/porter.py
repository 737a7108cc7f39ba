"""Porter's stemmer for English (Porter, "An algorithm for suffix stripping", Program 14(3), 1980).

With the extensions of NLTK's `PorterStemmer`, which rouge-score and NLTK's METEOR use: irregular forms, words of at most two
letters stay, "ies" and "ied" after one letter become "ie", y becomes i only after a consonant, and further suffixes.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache

__all__ = ["stem"]

_IRREGULAR = {
    "skies": "sky", "dying": "die", "lying": "lie", "tying": "tie", "innings": "inning", "outings": "outing",
    "cannings": "canning",
    **{word: word for word in "sky news inning outing canning howe proceed exceed succeed".split()},
}  # fmt: skip
_STEP_2 = (
    ("ational", "ate"), ("tional", "tion"), ("enci", "ence"), ("anci", "ance"), ("izer", "ize"), ("bli", "ble"), ("alli", "al"),
    ("entli", "ent"), ("eli", "e"), ("ousli", "ous"), ("ization", "ize"), ("ation", "ate"), ("ator", "ate"), ("alism", "al"),
    ("iveness", "ive"), ("fulness", "ful"), ("ousness", "ous"), ("aliti", "al"), ("iviti", "ive"), ("biliti", "ble"),
    ("fulli", "ful"), ("logi", "log"),
)  # fmt: skip
_STEP_3 = (("icate", "ic"), ("ative", ""), ("alize", "al"), ("iciti", "ic"), ("ical", "ic"), ("ful", ""), ("ness", ""))
_STEP_4 = tuple((suffix, "") for suffix in (
    "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou", "ism", "ate", "iti", "ous",
    "ive", "ize",
))  # fmt: skip


def _kinds(word: str) -> str:
    """One letter per character: v for a vowel, c for a consonant. A y is a vowel after a consonant."""
    kinds = ""
    for character in word:
        vowel = character in "aeiou" or (character == "y" and kinds.endswith("c"))
        kinds += "v" if vowel else "c"
    return kinds


def _measure(word: str) -> int:
    """m in Porter's form [C](VC)^m[V] of a word."""
    return _kinds(word).count("vc")


def _is_short(word: str) -> bool:
    """Porter's *o: the word ends with consonant, vowel, consonant, the last not w, x or y. NLTK: or it is vowel, consonant."""
    kinds = _kinds(word)
    return (kinds.endswith("cvc") and word[-1] not in "wxy") or kinds == "vc"


def _is_double(word: str) -> bool:
    """Porter's *d: the word ends with a double consonant."""
    return len(word) >= 2 and word[-1] == word[-2] and _kinds(word)[-1] == "c"


def _replaced(word: str, rules: Sequence[tuple[str, str]], allowed: Callable[[str, str], bool]) -> str:
    """The word after the first rule (suffix, replacement) whose suffix it has, if the rule is allowed for (stem, suffix)."""
    for suffix, replacement in rules:
        if word.endswith(suffix):
            stem = word[: len(word) - len(suffix)]
            return stem + replacement if allowed(stem, suffix) else word
    return word


def _plurals(word: str) -> str:
    """Step 1a: plurals."""
    if word.endswith("ies") and len(word) == 4:
        return word[:-1]
    return _replaced(word, (("sses", "ss"), ("ies", "i"), ("ss", "ss"), ("s", "")), lambda stem, suffix: True)


def _participles(word: str) -> str:
    """Step 1b: -eed, -ed, -ing."""
    if word.endswith("ied"):
        return word[:-1] if len(word) == 4 else word[:-2]
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) > 0 else word
    stems = [word[: len(word) - len(suffix)] for suffix in ("ed", "ing") if word.endswith(suffix)]
    if not stems or "v" not in _kinds(stems[0]):
        return word
    stem = stems[0]
    if stem.endswith(("at", "bl", "iz")):
        return stem + "e"
    if _is_double(stem):
        return stem if stem[-1] in "lsz" else stem[:-1]
    return stem + "e" if _measure(stem) == 1 and _is_short(stem) else stem


def _step_2(word: str) -> str:
    """Step 2: double suffixes, such as -ization."""
    if word.endswith("alli") and _measure(word[:-4]) > 0:
        return _step_2(word[:-2])
    # the l of -logi counts as part of the stem
    return _replaced(word, _STEP_2, lambda stem, suffix: _measure(stem + "l" if suffix == "logi" else stem) > 0)


def _step_4(word: str) -> str:
    """Step 4: single suffixes of long stems; -ion only after s or t."""
    return _replaced(word, _STEP_4, lambda stem, suffix: _measure(stem) > 1 and (suffix != "ion" or stem[-1] in "st"))


def _final_e(word: str) -> str:
    """Step 5: a final e, and one l of a final ll."""
    if word.endswith("e") and (_measure(word[:-1]) > 1 or (_measure(word[:-1]) == 1 and not _is_short(word[:-1]))):
        word = word[:-1]
    return word[:-1] if word.endswith("ll") and _measure(word[:-1]) > 1 else word


@lru_cache(maxsize=2**16)
def stem(word: str) -> str:
    """The stem of an English word, in lower case."""
    word, short = word.lower(), len(word) <= 2
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if short:
        return word
    word = _participles(_plurals(word))
    if word.endswith("y") and len(word) > 2 and _kinds(word[:-1])[-1] == "c":  # step 1c
        word = word[:-1] + "i"
    return _final_e(_step_4(_replaced(_step_2(word), _STEP_3, lambda stem, suffix: _measure(stem) > 0)))
