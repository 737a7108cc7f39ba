"""Whisper's normaliser of English (Radford et al., 2022, appendix C), which published word error rates use."""

import re
import unicodedata
from collections.abc import Mapping
from types import MappingProxyType

from mmjax.metrics.english_numbers import english_numbers

__all__ = ["whisper_english"]

_FILLERS = re.compile(r"\b(hmm|mm|mhm|mmm|uh|um)\b")
_WORDS = {
    "won't": "will not", "can't": "can not", "let's": "let us", "ain't": "aint", "y'all": "you all", "wanna": "want to",
    "gotta": "got to", "gonna": "going to", "i'ma": "i am going to", "imma": "i am going to", "woulda": "would have",
    "coulda": "could have", "shoulda": "should have", "ma'am": "madam",
}  # fmt: skip
_TITLES = {
    "mr": "mister", "mrs": "missus", "st": "saint", "dr": "doctor", "prof": "professor", "capt": "captain", "gov": "governor",
    "ald": "alderman", "gen": "general", "sen": "senator", "rep": "representative", "pres": "president", "rev": "reverend",
    "hon": "honorable", "asst": "assistant", "assoc": "associate", "lt": "lieutenant", "col": "colonel", "jr": "junior",
    "sr": "senior", "esq": "esquire",
}  # fmt: skip
_ENDINGS = {
    "'d been": " had been", "'s been": " has been", "'d gone": " had gone", "'s gone": " has gone", "'d done": " had done",
    "'s got": " has got", "n't": " not", "'re": " are", "'s": " is", "'d": " would", "'ll": " will", "'t": " not",
    "'ve": " have", "'m": " am",
}  # fmt: skip
_RULES = [(re.compile(rf"\b{word}\b"), text) for word, text in _WORDS.items()]
_RULES += [(re.compile(rf"\b{word}\b"), f"{text} ") for word, text in _TITLES.items()]
_RULES += [(re.compile(rf"{word}\b"), text) for word, text in _ENDINGS.items()]  # in this order: "'s been" before "'s"
_LETTERS = {"œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "æ": "ae", "Æ": "AE", "ß": "ss", "ẞ": "SS", "đ": "d", "Đ": "D"}
_LETTERS |= {"ð": "d", "Ð": "D", "þ": "th", "Þ": "th", "ł": "l", "Ł": "L"}
"""Letters that Unicode does not decompose into a letter and a mark."""


def whisper_english(text: str, spellings: Mapping[str, str] = MappingProxyType({})) -> str:
    """Whisper's normaliser of English: "Mr. Brown's twenty-two cafés (laughs)" -> "mister brown is 22 cafes".

    Lower case; text in brackets or parentheses and fillers ("uh") are removed; contractions and titles are written out, numbers
    as digits (`english_numbers`); accents are removed, punctuation and symbols become spaces; single spaces, none at the ends.

    spellings: {British: American} spelling of words, which the original reads from the file normalizer.json beside the weights;
    it replaces single words at the end. By default no spelling changes.
    """
    text = re.sub(r"[<\[][^>\]]*[>\]]", "", text.lower())
    text = _FILLERS.sub("", re.sub(r"\([^)]+\)", "", text))
    text = re.sub(r"\s+'", "'", text)
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    text = re.sub(r"(\d),(\d)", r"\1\2", text)
    text = re.sub(r"\.([^0-9]|$)", r" \1", text)
    text = english_numbers("".join(map(_plain, unicodedata.normalize("NFKD", text))))
    text = " ".join(spellings.get(word, word) for word in text.split())
    text = re.sub(r"[.$¢€£]([^0-9])", r" \1", text)  # symbols stay beside numbers only
    return " ".join(re.sub(r"([^0-9])%", r"\1 ", text).split())


def _plain(character: str) -> str:
    """A decomposed character without accents and punctuation, except for the symbols of numbers."""
    if character in ".%$¢€£":
        return character
    if character in _LETTERS:
        return _LETTERS[character]
    category = unicodedata.category(character)
    return "" if category == "Mn" else " " if category[0] in "MSP" else character
