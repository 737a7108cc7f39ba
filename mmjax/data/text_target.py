"""A text target from a metadata column of any data set: what a captioner, a translator or a speech recogniser learns."""

import dataclasses
import hashlib
from typing import Annotated

import numpy as np
import tyro

from mmjax.data.custom.table import is_missing
from mmjax.data.dataset import Data, Dataset
from mmjax.data.decode import DataError
from mmjax.data.few import keep_rows, load_once
from mmjax.data.splits import folds_of, with_fold
from mmjax.data.text import Subwords, TokenizerTrainer, text_targets
from mmjax.nn.checks import positive
from mmjax.types import Declared

__all__ = ["TextTarget"]


@dataclasses.dataclass(frozen=True)
class TextTarget:
    """A data set with a further target, the texts of a metadata column; rows without a text are left out.

    data: any data set. column: the metadata column. target: the name of the new target. target_tokenizer: trained on the
    training texts. target_tokens: longer texts are truncated; None: the longest training text and its end token.
    Raises DataError if the data lack the column or a split has no texts.
    """

    data: Annotated[Declared[Data], tyro.conf.arg(name="")]
    column: str = "text"
    target: str = "caption"
    target_tokenizer: Declared[TokenizerTrainer] = Subwords()
    target_tokens: int | None = None

    def __post_init__(self):
        positive(self, "target_tokens")

    @property
    def folds(self) -> int:
        return folds_of(self.data)

    def at_fold(self, fold: int) -> "TextTarget":
        """The same target for the data with this test fold."""
        return dataclasses.replace(self, data=with_fold(self.data, fold))

    def load(self) -> Dataset:
        data = load_once(self.data)
        if self.column not in data.metadata["train"]:
            known = ", ".join(sorted(data.metadata["train"]))
            raise DataError(f"TextTarget.column: the data have no metadata column {self.column!r}; they have {known}")
        if self.target in {**data.columns, **data.splits["train"].targets}:
            raise DataError(f"TextTarget.target: {self.target!r} is the name of a modality or another target; choose another")
        data, without = _with_texts(data, self.column)
        tokenizer = self.target_tokenizer.train(str(text) for text in data.metadata["train"][self.column])
        longest = max(len(tokenizer.ids(str(text))) for text in data.metadata["train"][self.column])
        length, truncated, splits = self.target_tokens or longest + 1, 0, {}
        for split, rows in data.splits.items():
            texts = dict(enumerate(map(str, data.metadata[split][self.column])))
            values, cut = text_targets(tokenizer, texts, len(texts), length)
            splits[split], truncated = rows.replace(targets={**rows.targets, self.target: values}), truncated + cut
        texts = hashlib.sha256(f"{self.column} {self.target} {tokenizer.library.to_str()} {length}".encode())
        for values in splits.values():
            texts.update(values.targets[self.target].tobytes())
        dropped = {f"rows without {self.column}": without, f"{self.target} truncated to {length} tokens": truncated}
        return dataclasses.replace(
            data,
            splits=splits,
            metadata={split: {**of, self.target: of[self.column]} for split, of in data.metadata.items()},
            fingerprint=hashlib.sha256(f"{data.fingerprint} {texts.hexdigest()}".encode()).hexdigest(),
            sizes={**data.sizes, self.target: {"vocabulary": tokenizer.vocabulary, "length": length}},
            tokenizers={**data.tokenizers, self.target: tokenizer},
            dropped={**data.dropped, **{reason: count for reason, count in dropped.items() if count}},
        )


def _with_texts(data: Dataset, column: str) -> tuple[Dataset, int]:
    """(the data without rows that lack a text, number of these rows). DataError if a split has none left."""
    kept = {}
    for split, rows in data.splits.items():
        texts = np.asarray(data.metadata[split][column])
        if texts.dtype.kind not in "UO" or len(texts) != len(rows):
            raise DataError(f"TextTarget.column: {column!r} of the {split} split needs one text per row")
        kept[split] = np.flatnonzero([not is_missing(text) and bool(str(text).strip()) for text in texts])
        if not len(kept[split]):
            raise DataError(f"TextTarget.column: no row of the {split} split has a {column!r}")
    without = sum(len(rows) - len(kept[split]) for split, rows in data.splits.items())
    return keep_rows(data, kept), without
