"""Byte-level byte-pair encoding: no text has unknown tokens, and none is changed."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from mmjax.data.decode import DataError
from mmjax.data.text import MIN_COUNT, PAD, UNKNOWN, TrainedTokenizer

__all__ = ["SMALLEST", "ByteLevel", "ByteLevelTokenizer"]

SMALLEST = 258  # 256 bytes, padding and an unknown token that never occurs


@dataclass(frozen=True)
class ByteLevel:
    """Byte-pair encoding of UTF-8 bytes within words, which begin with their space (Radford et al., 2019, section 2.2).

    Capitals and line breaks stay, so ids become exactly the same text again. vocabulary: the largest number of tokens, at least
    258. Raises DataError if there are fewer.
    """

    vocabulary: int = 1024

    def __post_init__(self):
        if self.vocabulary < SMALLEST:
            raise DataError(f"ByteLevel.vocabulary is {self.vocabulary}; it must be at least {SMALLEST}")

    def train(self, texts: Iterable[str]) -> "ByteLevelTokenizer":
        """The tokenizer of the most frequent pairs of these texts."""
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

        library = Tokenizer(models.BPE())
        library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        library.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=self.vocabulary,
            special_tokens=[PAD, UNKNOWN],
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            min_frequency=MIN_COUNT,
            show_progress=False,
        )
        library.train_from_iterator(sorted(texts), trainer)  # sorted: the merges must not depend on the order of examples
        return ByteLevelTokenizer(library.to_str())


@dataclass(frozen=True)
class ByteLevelTokenizer(TrainedTokenizer):
    """A `Tokenizer` whose `text` keeps the white space at both ends."""

    def text(self, ids: Sequence[int] | Int[np.ndarray, " n"]) -> str:
        valid = [int(token) for token in itertools.takewhile(lambda token: token >= 0, ids) if token > 1]
        return self.library.decode(valid, skip_special_tokens=False)
