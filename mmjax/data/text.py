"""Words -> numbers, by a tokeniser of the `tokenizers` library that has seen the training split alone."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from mmjax.types import Sequence

PAD, UNKNOWN = "[PAD]", "[UNK]"


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> Any:
    """Byte-pair encoding (Sennrich et al., 2016) inside words, over NFKC and lower case; number 0 is padding, 1 unknown.

    vocabulary: the most tokens there may be, unless the characters alone are more. Returns a `tokenizers.Tokenizer`.
    No mark at the end of words: the library numbers such marks in the order of a hash table, anew in each run.
    """
    try:
        from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
    except ImportError as error:
        raise ImportError("text needs the tokenizers library: pip install 'mmjax[text]'") from error
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Digits(True)])
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        special_tokens=[PAD, UNKNOWN],
        show_progress=False,
    )
    tokenizer.train_from_iterator(sorted(texts), trainer)  # sorted: the merges must not depend on the order of examples
    return tokenizer


def encode(tokenizer: Any, text: str, most: int) -> Sequence:
    """One text -> Sequence of one example without the batch dimension: x int32 [most], length int32 []; cut after `most`."""
    numbers = tokenizer.encode(text).ids[:most]
    x = np.zeros(most, np.int32)
    x[: len(numbers)] = numbers
    return Sequence(x, np.int32(len(numbers)))
