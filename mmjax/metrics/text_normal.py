"""Normalisers (text -> text) and word splitters (text -> words) of the text metrics, on the host.

The score of a text metric depends on its words, so each definition has a name. No definition here removes accents.
"""

import re
import unicodedata
from functools import cache

__all__ = ["caption_words", "lower_without_punctuation", "whisper_basic", "words_13a", "words_intl"]

_ASCII_PUNCTUATION = re.compile(r"""([ !"#$%&()*+/:;<=>?@\[\\\]^_`{|}~])""")  # all but ' , - and .
_MARK_AFTER_NON_DIGIT = re.compile(r"([^0-9])([.,])")
_MARK_BEFORE_NON_DIGIT = re.compile(r"([.,])([^0-9])")
_DASH_AFTER_DIGIT = re.compile(r"([0-9])(-)")
_ENTITIES = (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"))  # in this order, as in mteval-v13a.pl

_CLITIC = re.compile(r"(?<=\w)(n't|'(?:s|m|d|re|ve|ll))(?!\w)")
_CAPTION_WORD = re.compile(r"n't(?!\w)|'(?:s|m|d|re|ve|ll)(?!\w)|\w+(?:[-.,/]\w+)*")


@cache
def _category(character: str) -> str:
    """The first letter of the Unicode category: P for punctuation, S for symbols, M for combining marks, N for numbers."""
    return unicodedata.category(character)[0]


def lower_without_punctuation(text: str) -> str:
    """Lower case, without Unicode punctuation (category P), with single spaces: "Well-known, isn't it?" -> "wellknown isnt it".

    The composition of jiwer's ToLowerCase, RemovePunctuation, RemoveMultipleSpaces and Strip.
    """
    return " ".join("".join(c for c in text.lower() if _category(c) != "P").split())


def whisper_basic(text: str) -> str:
    """Whisper's normaliser of all languages but English (Radford et al., 2022, appendix C).

    Lower case and NFKC; text in brackets or parentheses is removed; punctuation, symbols and combining marks become spaces;
    single spaces, none at the ends. For English, see `mmjax.metrics.text_english.whisper_english`.
    """
    text = re.sub(r"[<\[][^>\]]*[>\]]", "", text.lower())
    text = unicodedata.normalize("NFKC", re.sub(r"\([^)]+\)", "", text))
    return " ".join("".join(" " if _category(c) in "MSP" else c for c in text).lower().split())


def words_13a(text: str) -> list[str]:
    """The words of the script mteval-v13a.pl, which defines BLEU at WMT: sacrebleu's default tokenizer "13a".

    ASCII punctuation except apostrophes is split off; periods and commas stay between digits, hyphens stay between letters.
    Case is kept.
    """
    text = text.rstrip().replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for entity, character in _ENTITIES:
        text = text.replace(entity, character)
    text = _ASCII_PUNCTUATION.sub(r" \1 ", f" {text} ")
    text = _MARK_AFTER_NON_DIGIT.sub(r"\1 \2 ", text)
    text = _MARK_BEFORE_NON_DIGIT.sub(r" \1 \2", text)
    return _DASH_AFTER_DIGIT.sub(r"\1 \2 ", text).split()


def words_intl(text: str) -> list[str]:
    """The words of mteval-v14.pl --international-tokenization, for all scripts: sacrebleu's tokenizer "intl".

    Unicode punctuation is split off unless it stands between numbers, and every Unicode symbol is a word. Case is kept.
    """
    text = _split_pairs(text.rstrip(), "first")
    text = _split_pairs(text, "second")
    return "".join(f" {c} " if _category(c) == "S" else c for c in text).split()


def _split_pairs(text: str, role: str) -> str:
    """Splits disjoint pairs of characters, from left to right.

    role: "first" splits (not a number, punctuation) after both; "second" splits (punctuation, not a number) before both.
    """
    pieces, i = [], 0
    while i < len(text):
        pair = text[i : i + 2]
        kinds = [_category(c) for c in pair]
        if role == "first" and len(pair) == 2 and kinds[0] != "N" and kinds[1] == "P":
            pieces.append(f"{pair[0]} {pair[1]} ")
            i += 2
        elif role == "second" and len(pair) == 2 and kinds[0] == "P" and kinds[1] != "N":
            pieces.append(f" {pair[0]} {pair[1]}")
            i += 2
        else:
            pieces.append(text[i])
            i += 1
    return "".join(pieces)


def caption_words(text: str) -> list[str]:
    """The words of a caption: "The dog's black-and-white." -> ["the", "dog", "'s", "black-and-white"].

    Lower case, without punctuation and symbols; English clitics are split off.
    Similar to the Penn Treebank words of the COCO caption evaluation, but defined by mmjax: the original is Stanford's Java
    tokenizer. Words joined by a hyphen, slash, period or comma are one word. Lower-case words without punctuation, separated by
    spaces, stay as they are.
    """
    text = unicodedata.normalize("NFC", text.lower()).replace("’", "'")
    return _CAPTION_WORD.findall(_CLITIC.sub(r" \1", text))
