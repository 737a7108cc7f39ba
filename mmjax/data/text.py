"""Words -> numbers, by tokenisers of the `tokenizers` library that have seen the training split alone.

A kind of tokeniser is a value, such as `BPE(vocabulary=1000)`; its `train(texts)` gives the same `Tokeniser` in each run.
Texts are in Unicode's form NFKC and lower case; number 0 is padding, 1 unknown.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mmjax.data.decode import DataError
from mmjax.types import Padded

PAD, UNKNOWN = "[PAD]", "[UNK]"
TWICE = 2  # what occurs once in training becomes [UNK]: otherwise that would mean something new in the test split

STOP_WORDS = tuple(
    "i me my myself we us our ours ourselves you your yours yourself yourselves he him his himself she her hers herself it its "
    "itself they them their theirs themselves what which who whom this that these those am is are was were be been being have "
    "has had having do does did doing would should could ought a an the and but if or because as until while of at by for with "
    "about against between into through during before after above below to from up down in out on off over under again further "
    "then once here there when where why how all any both each few more most other some such no nor not only own same so than "
    "too very s t d ll m re ve don".split()
)
"""English words that say little of what a text is about: Snowball's list (Porter, 2001), whose contractions, such as "don't",
are in pieces here ("don", "t"), as the tokenisers cut them."""


@dataclass(frozen=True)
class Tokeniser:
    """A tokeniser that has been trained; `library`: a `tokenizers.Tokenizer`, whose `to_str()` is all there is to it."""

    library: Any

    @property
    def vocabulary(self) -> int:
        """How many different numbers it gives, padding and unknown among them."""
        return self.library.get_vocab_size()

    def numbers(self, text: str) -> list[int]:
        """The text's tokens, all of them; [] where there is nothing to be kept."""
        return self.library.encode(text).ids

    def encode(self, text: str, most: int) -> Padded:
        """One text -> Padded without the batch dimension: x int32 [most], length int32 []; cut after `most` tokens."""
        numbers = self.numbers(text)[:most]
        x = np.zeros(most, np.int32)
        x[: len(numbers)] = numbers
        return Padded(x, np.int32(len(numbers)))


@dataclass(frozen=True)
class BPE:
    """Byte-pair encoding (Sennrich et al., 2016) inside words; digits stand alone, so that all numbers can be written.

    vocabulary: the most tokens there may be, unless the characters alone are more.
    No mark at the end of words: the library numbers such marks in the order of a hash table, anew in each run.
    """

    vocabulary: int = 1000

    def __post_init__(self):
        _check_vocabulary(self)

    def train(self, texts: Iterable[str]) -> Tokeniser:
        library = _library()
        tokenizer = _blank(library.models.BPE(unk_token=UNKNOWN), _pieces())
        return _trained(tokenizer, library.trainers.BpeTrainer(min_frequency=TWICE, **_options(self.vocabulary)), texts)


@dataclass(frozen=True)
class Words:
    """A number for each word, number or run of punctuation that occurs twice or more in training; the rest is unknown.

    vocabulary: the most tokens there may be; the most frequent are kept. stop_words: are left out, such as STOP_WORDS.
    """

    vocabulary: int = 1000
    stop_words: tuple[str, ...] = ()

    def __post_init__(self):
        _check_vocabulary(self)

    def train(self, texts: Iterable[str]) -> Tokeniser:
        library = _library()
        tokenizer = _blank(library.models.WordLevel(unk_token=UNKNOWN), library.pre_tokenizers.Whitespace())
        if self.stop_words:
            stop = "|".join(_escaped(tokenizer.normalizer.normalize_str(word)) for word in self.stop_words)
            without = library.pre_tokenizers.Split(library.Regex(rf"\A(?:{stop})\z"), "removed")
            tokenizer.pre_tokenizer = library.pre_tokenizers.Sequence([tokenizer.pre_tokenizer, without])
        return _trained(tokenizer, library.trainers.WordLevelTrainer(min_frequency=TWICE, **_options(self.vocabulary)), texts)


@dataclass(frozen=True)
class WordPiece:
    """Pieces of words, the longest that fits first; those inside a word begin with ## (Devlin et al., 2019).

    Which pieces there are is learnt by BPE's merges, as the library does it, not by likelihood (Schuster and Nakajima, 2012).
    vocabulary: the most tokens there may be, unless the characters alone are more. A word with an unknown character is unknown.
    """

    vocabulary: int = 1000

    def __post_init__(self):
        _check_vocabulary(self)

    def train(self, texts: Iterable[str]) -> Tokeniser:
        library = _library()
        # The library's own trainer numbers the ##-characters in the order of a hash table, anew in each run. So characters
        # inside words become other characters, in Unicode's private planes, and the pieces of plain BPE are renamed.
        words = _blank(library.models.BPE(), _pieces())
        cut = words.pre_tokenizer.pre_tokenize_str
        marked = [
            " ".join(word[0] + "".join(map(_inside, word[1:])) for word, _ in cut(words.normalizer.normalize_str(text)))
            for text in texts
        ]
        pieces = library.Tokenizer(library.models.BPE(unk_token=UNKNOWN))
        pieces.pre_tokenizer = library.pre_tokenizers.WhitespaceSplit()
        pieces = _trained(pieces, library.trainers.BpeTrainer(min_frequency=TWICE, **_options(self.vocabulary)), marked)
        numbers = pieces.library.get_vocab()
        names = dict.fromkeys(_piece(token) for token in sorted(numbers, key=numbers.get))  # "###" may be the name of two
        vocabulary = {name: number for number, name in enumerate(names)}
        return Tokeniser(_blank(library.models.WordPiece(vocabulary, unk_token=UNKNOWN), _pieces()))


@dataclass(frozen=True)
class Characters:
    """A number for each character that occurs in training; runs of white space are one blank, none at the ends."""

    def train(self, texts: Iterable[str]) -> Tokeniser:
        library = _library()
        normal, split = library.normalizers, library.pre_tokenizers.Split(library.Regex("."), "isolated")
        tokenizer = _blank(library.models.WordLevel(unk_token=UNKNOWN), split)
        blanks = [normal.Replace(library.Regex(r"\s+"), " "), normal.Strip()]
        tokenizer.normalizer = normal.Sequence([tokenizer.normalizer, *blanks])
        everything = 1_114_112  # Unicode's characters
        return _trained(tokenizer, library.trainers.WordLevelTrainer(**_options(everything)), texts)


@dataclass(frozen=True)
class Published:
    """The tokeniser that comes with published weights, its special tokens included; nothing is learnt from the data.

    source: as `mmjax.pretrained.load` takes it.
    """

    source: str = "minilm"

    def train(self, texts: Iterable[str]) -> "PublishedTokeniser":
        from mmjax.pretrained import encoder  # here, since it asks for libraries that other tokenisers can do without
        from mmjax.pretrained.texts import Texts

        texts = encoder(self.source).preprocessing
        if not isinstance(texts, Texts):
            raise DataError(f"Published.source: {self.source} comes with no tokeniser")
        return PublishedTokeniser(texts)


@dataclass(frozen=True)
class PublishedTokeniser:
    """As `Tokeniser`. texts: `pretrained.texts.Texts`."""

    texts: Any

    @property
    def library(self) -> Any:
        return self.texts.library

    @property
    def vocabulary(self) -> int:
        return self.library.get_vocab_size()

    def numbers(self, text: str) -> list[int]:
        """The text's tokens with the special ones; [] where there is nothing between them."""
        alone = self.library.encode(text, add_special_tokens=False).ids
        return self.library.encode(text).ids if alone else []

    def encode(self, text: str, most: int) -> Padded:
        """As `Tokeniser.encode`; of a longer text the special tokens stay."""
        if most > self.texts.most:
            raise DataError(f"max_tokens is {most}, and the published tokeniser cuts after {self.texts.most}")
        return replace(self.texts, most=most).read(text)


def _library() -> Any:
    try:
        import tokenizers
        import tokenizers.models
        import tokenizers.normalizers
        import tokenizers.pre_tokenizers
        import tokenizers.trainers
    except ImportError as error:
        raise ImportError("text needs the tokenizers library: pip install 'mmjax[text]'") from error
    return tokenizers


def _check_vocabulary(kind: Any) -> None:
    if kind.vocabulary <= 0:
        raise DataError(f"{type(kind).__name__}.vocabulary is {kind.vocabulary}; it must be above 0")


def _blank(model: Any, cut: Any) -> Any:
    """A tokeniser of this model over NFKC and lower case, cut so before the model sees it."""
    library = _library()
    tokenizer = library.Tokenizer(model)
    tokenizer.normalizer = library.normalizers.Sequence([library.normalizers.NFKC(), library.normalizers.Lowercase()])
    tokenizer.pre_tokenizer = cut
    return tokenizer


def _pieces() -> Any:
    """Cuts into words, runs of punctuation and single digits."""
    cut = _library().pre_tokenizers
    return cut.Sequence([cut.Whitespace(), cut.Digits(True)])


def _options(vocabulary: int) -> dict[str, Any]:
    return {"vocab_size": vocabulary, "special_tokens": [PAD, UNKNOWN], "show_progress": False}


def _trained(tokenizer: Any, trainer: Any, texts: Iterable[str]) -> Tokeniser:
    tokenizer.train_from_iterator(sorted(texts), trainer)  # sorted: the merges must not depend on the order of examples
    return Tokeniser(tokenizer)


def _escaped(word: str) -> str:
    """For a regular expression of the library: every character that is no letter or digit stands for itself."""
    return "".join(c if c.isalnum() else rf"\x{{{ord(c):x}}}" for c in word)


PRIVATE, ROOM = 0xF0000, 0x20000  # the private planes have room for the first two planes of Unicode


def _inside(character: str) -> str:
    """The stand-in of a character inside a word. What is beyond the second plane, rare ideographs, shares one."""
    return chr(PRIVATE + (ord(character) if ord(character) < ROOM else ord("\ufffd")))


def _piece(token: str) -> str:
    """The piece of a word that these characters stand for."""
    plain = "".join(chr(ord(c) - PRIVATE) if ord(c) >= PRIVATE else c for c in token)
    return f"##{plain}" if ord(token[0]) >= PRIVATE else plain
