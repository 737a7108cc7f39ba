"""Text -> token ids, by tokenizers of the `tokenizers` library that are trained on the training split alone.

A trainer is a frozen dataclass, such as `BPE(vocabulary=1000)`; its `train(texts)` returns the same tokenizer in every run.
Text is normalised to Unicode NFKC and lowercased. Id 0 is padding, id 1 is an unknown token.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int

from mmjax.data.decode import DataError
from mmjax.types import Padded

__all__ = [
    "BPE", "MIN_COUNT", "PAD", "PRIVATE", "PRIVATE_SIZE", "STOP_WORDS", "UNKNOWN", "Characters", "Subwords",
    "Tokenizer", "TokenizerTrainer", "TrainedTokenizer", "WordPiece", "Words", "text_targets",
]

PAD, UNKNOWN = "[PAD]", "[UNK]"
MIN_COUNT = 2  # a token that occurs once in training becomes [UNK]; otherwise the embedding of [UNK] would not be trained

STOP_WORDS = tuple(
    "i me my myself we us our ours ourselves you your yours yourself yourselves he him his himself she her hers herself it its "
    "itself they them their theirs themselves what which who whom this that these those am is are was were be been being have "
    "has had having do does did doing would should could ought a an the and but if or because as until while of at by for with "
    "about against between into through during before after above below to from up down in out on off over under again further "
    "then once here there when where why how all any both each few more most other some such no nor not only own same so than "
    "too very s t d ll m re ve don".split()
)
"""English stop words: the Snowball list (Porter, 2001). Contractions, such as "don't", are split as by the tokenizers ("don",
"t")."""


@runtime_checkable
class Tokenizer(Protocol):
    """Text -> token ids, and back.

    library: the `tokenizers.Tokenizer`; its `to_str()` defines it completely. vocabulary: the number of token ids. end: id of
    the token after every text that a decoder writes.
    """

    library: Any
    vocabulary: int
    end: int

    def ids(self, text: str) -> list[int]:
        """All token ids of a text; [] for a blank text."""
        ...

    def encode(self, text: str, max_tokens: int) -> Padded:
        """One text -> Padded without batch dimension: x int32 [max_tokens], length int32 []; longer texts are truncated."""
        ...

    def text(self, ids: Sequence[int] | Int[np.ndarray, " n"]) -> str:
        """The text of token ids up to the first negative one, without padding and unknown tokens."""
        ...


@runtime_checkable
class TokenizerTrainer(Protocol):
    """Training texts -> tokenizer; a frozen dataclass."""

    def train(self, texts: Iterable[str]) -> Tokenizer: ...


@dataclass(frozen=True)
class TrainedTokenizer:
    """A `Tokenizer` around a trained `tokenizers.Tokenizer`. definition: its JSON."""

    definition: str

    @cached_property
    def library(self) -> Any:
        """The `tokenizers.Tokenizer`."""
        return _library().Tokenizer.from_str(self.definition)

    @property
    def vocabulary(self) -> int:
        """The number of token ids, padding and unknown included."""
        return self.library.get_vocab_size()

    @property
    def end(self) -> int:
        """The id of padding."""
        return 0

    def ids(self, text: str) -> list[int]:
        return self.library.encode(text).ids

    def encode(self, text: str, max_tokens: int) -> Padded:
        ids = self.ids(text)[:max_tokens]
        x = np.zeros(max_tokens, np.int32)
        x[: len(ids)] = ids
        return Padded(x, np.int32(len(ids)))

    def text(self, ids: Sequence[int] | Int[np.ndarray, " n"]) -> str:
        valid = [int(token) for token in itertools.takewhile(lambda token: token >= 0, ids) if token > 1]
        return self.library.decode(valid, skip_special_tokens=False).strip()


@dataclass(frozen=True)
class BPE:
    """Byte-pair encoding (Sennrich et al., 2016) within words. Every digit is a token, so every number can be encoded.

    vocabulary: the largest number of tokens, unless there are more characters. Raises DataError if it is not positive.
    There is no end-of-word marker: the library numbers such tokens in the order of a hash table, which differs between runs.
    So the text of its ids has a space between all tokens; for texts that a model generates, use `Subwords`.
    """

    vocabulary: int = 1000

    def __post_init__(self):
        _check_vocabulary(self)

    def train(self, texts: Iterable[str]) -> TrainedTokenizer:
        library = _library()
        tokenizer = _untrained(library.models.BPE(unk_token=UNKNOWN), _words_and_digits())
        return _trained(tokenizer, library.trainers.BpeTrainer(min_frequency=MIN_COUNT, **_options(self.vocabulary)), texts)


@dataclass(frozen=True)
class Subwords:
    """Byte-pair encoding of words that begin with a space, as in SentencePiece (Kudo and Richardson, 2018), so that ids become
    text again. Every digit is a token.

    vocabulary: the largest number of tokens, unless there are more characters. lowercase: whether text is lowercased. Raises
    DataError if the vocabulary is not positive.
    """

    vocabulary: int = 1000
    lowercase: bool = True

    def __post_init__(self):
        _check_vocabulary(self)

    def train(self, texts: Iterable[str]) -> TrainedTokenizer:
        library = _library()
        words = library.pre_tokenizers.Metaspace(prepend_scheme="always")
        cut = library.pre_tokenizers.Sequence([words, library.pre_tokenizers.Digits(True)])
        tokenizer = _untrained(library.models.BPE(unk_token=UNKNOWN), cut)
        if not self.lowercase:
            tokenizer.normalizer = library.normalizers.NFKC()
        tokenizer.decoder = library.decoders.Metaspace(prepend_scheme="always")
        return _trained(tokenizer, library.trainers.BpeTrainer(min_frequency=MIN_COUNT, **_options(self.vocabulary)), texts)


@dataclass(frozen=True)
class Words:
    """One token per word, number or run of punctuation that occurs at least twice in training; all others are unknown.

    vocabulary: the largest number of tokens; the most frequent are kept. stop_words: words to remove, such as STOP_WORDS.
    Raises DataError if the vocabulary is not positive.
    """

    vocabulary: int = 1000
    stop_words: tuple[str, ...] = ()

    def __post_init__(self):
        _check_vocabulary(self)

    def train(self, texts: Iterable[str]) -> TrainedTokenizer:
        library = _library()
        tokenizer = _untrained(library.models.WordLevel(unk_token=UNKNOWN), library.pre_tokenizers.Whitespace())
        if self.stop_words:
            stop = "|".join(_escaped(tokenizer.normalizer.normalize_str(word)) for word in self.stop_words)
            remove = library.pre_tokenizers.Split(library.Regex(rf"\A(?:{stop})\z"), "removed")
            tokenizer.pre_tokenizer = library.pre_tokenizers.Sequence([tokenizer.pre_tokenizer, remove])
        options = _options(self.vocabulary)
        return _trained(tokenizer, library.trainers.WordLevelTrainer(min_frequency=MIN_COUNT, **options), texts)


@dataclass(frozen=True)
class WordPiece:
    """WordPiece (Devlin et al., 2019): the longest matching pieces of a word; pieces inside a word begin with ##.

    The pieces come from BPE merges, as in the library, not from likelihoods (Schuster and Nakajima, 2012).
    vocabulary: the largest number of tokens, unless there are more characters. Raises DataError if it is not positive.
    A word with an unknown character is unknown.
    """

    vocabulary: int = 1000

    def __post_init__(self):
        _check_vocabulary(self)

    def train(self, texts: Iterable[str]) -> TrainedTokenizer:
        library = _library()
        # The library's own trainer numbers the ##-characters in the order of a hash table, which differs between runs. So
        # characters inside words are mapped to Unicode's private planes, and the pieces of plain BPE are renamed.
        words = _untrained(library.models.BPE(), _words_and_digits())
        cut = words.pre_tokenizer.pre_tokenize_str
        marked = [
            " ".join(word[0] + "".join(map(_to_private, word[1:])) for word, _ in cut(words.normalizer.normalize_str(text)))
            for text in texts
        ]
        pieces = library.Tokenizer(library.models.BPE(unk_token=UNKNOWN))
        pieces.pre_tokenizer = library.pre_tokenizers.WhitespaceSplit()
        pieces = _trained(pieces, library.trainers.BpeTrainer(min_frequency=MIN_COUNT, **_options(self.vocabulary)), marked)
        ids = pieces.library.get_vocab()
        names = dict.fromkeys(_piece(token) for token in sorted(ids, key=ids.get))  # two tokens may have the name "###"
        vocabulary = {name: number for number, name in enumerate(names)}
        tokenizer = _untrained(library.models.WordPiece(vocabulary, unk_token=UNKNOWN), _words_and_digits())
        tokenizer.decoder = library.decoders.WordPiece("##")
        return TrainedTokenizer(tokenizer.to_str())


@dataclass(frozen=True)
class Characters:
    """One token per character that occurs in training. Runs of white space become one space; the ends are stripped."""

    def train(self, texts: Iterable[str]) -> TrainedTokenizer:
        library = _library()
        normal, split = library.normalizers, library.pre_tokenizers.Split(library.Regex("."), "isolated")
        tokenizer = _untrained(library.models.WordLevel(unk_token=UNKNOWN), split)
        spaces = [normal.Replace(library.Regex(r"\s+"), " "), normal.Strip()]
        tokenizer.normalizer = normal.Sequence([tokenizer.normalizer, *spaces])
        tokenizer.decoder = library.decoders.Fuse()
        all_characters = 1_114_112  # the number of Unicode code points
        return _trained(tokenizer, library.trainers.WordLevelTrainer(**_options(all_characters)), texts)


def text_targets(
    tokenizer: Tokenizer, texts: Mapping[int, str], rows: int, length: int
) -> tuple[Int[np.ndarray, "n m"], int]:
    """({row: text} -> the targets of a decoder, int32 [rows length], number of truncated texts).

    A row has the ids of its text, the end token, and then -1; a truncated text has no end token. Other rows are -1.
    """
    values, truncated = np.full((rows, length), -1, np.int32), 0
    for row, text in texts.items():
        ids = [*tokenizer.ids(text), tokenizer.end]
        truncated += len(ids) > length
        values[row, : len(ids)] = ids[:length]
    return values, truncated


def _library() -> Any:
    try:
        import tokenizers
        import tokenizers.decoders
        import tokenizers.models
        import tokenizers.normalizers
        import tokenizers.pre_tokenizers
        import tokenizers.trainers
    except ImportError as error:
        raise ImportError("text needs the tokenizers library: pip install 'mmjax[text]'") from error
    return tokenizers


def _check_vocabulary(trainer: Any) -> None:
    if trainer.vocabulary <= 0:
        raise DataError(f"{type(trainer).__name__}.vocabulary is {trainer.vocabulary}; it must be above 0")


def _untrained(model: Any, pre_tokenizer: Any) -> Any:
    """A library tokenizer with this model and pre-tokenizer, over NFKC and lower case."""
    library = _library()
    tokenizer = library.Tokenizer(model)
    tokenizer.normalizer = library.normalizers.Sequence([library.normalizers.NFKC(), library.normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizer
    return tokenizer


def _words_and_digits() -> Any:
    """A pre-tokenizer that splits text into words, runs of punctuation and single digits."""
    pre_tokenizers = _library().pre_tokenizers
    return pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Digits(True)])


def _options(vocabulary: int) -> dict[str, Any]:
    return {"vocab_size": vocabulary, "special_tokens": [PAD, UNKNOWN], "show_progress": False}


def _trained(tokenizer: Any, trainer: Any, texts: Iterable[str]) -> TrainedTokenizer:
    tokenizer.train_from_iterator(sorted(texts), trainer)  # sorted: the merges must not depend on the order of examples
    return TrainedTokenizer(tokenizer.to_str())


def _escaped(word: str) -> str:
    """A word as a regular expression of the library that matches it literally."""
    return "".join(c if c.isalnum() else rf"\x{{{ord(c):x}}}" for c in word)


PRIVATE, PRIVATE_SIZE = 0xF0000, 0x20000  # the private planes have room for the first two planes of Unicode


def _to_private(character: str) -> str:
    """The substitute of a character inside a word. All characters beyond the second plane (rare ideographs) share one."""
    return chr(PRIVATE + (ord(character) if ord(character) < PRIVATE_SIZE else ord("\ufffd")))


def _piece(token: str) -> str:
    """The word piece of a token, which has plain characters or their substitutes; ## marks pieces inside a word."""
    plain = "".join(chr(ord(c) - PRIVATE) if ord(c) >= PRIVATE else c for c in token)
    return f"##{plain}" if ord(token[0]) >= PRIVATE else plain
