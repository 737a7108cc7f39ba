"""Texts as the rows of a language model: windows of tokens, one or several documents in a row."""

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
import tyro
from jaxtyping import Int

from mmjax.data.byte_level import ByteLevel
from mmjax.data.custom.table import is_missing
from mmjax.data.dataset import Column, Data, Dataset, Rows, identity
from mmjax.data.decode import DataError
from mmjax.data.few import load_once
from mmjax.data.splits import folds_of, with_fold
from mmjax.data.text import TokenizerTrainer
from mmjax.nn.checks import positive
from mmjax.types import Declared

__all__ = ["Documents", "PackedDocuments", "nothing", "packed_rows", "parse_nothing", "windows"]


def nothing(number: int) -> np.ndarray:
    """The input of a model without inputs, Float[0]."""
    del number
    return np.zeros(0, np.float32)


def parse_nothing(raw: Any) -> np.ndarray:
    """`nothing` for any raw input."""
    del raw
    return nothing(0)


@dataclasses.dataclass(frozen=True)
class Documents:
    """The texts of a metadata column as the data of a language model: the target `target`, token ids Int[n m].

    A document has its ids and the end token, and is cut into windows of `window_tokens` ids. A window is a row, -1 beyond its
    end, and begins without the text before it. A text that occurs several times in a split counts once. There is one modality,
    named as the target, without content (`encoders.NoTokens`). The metadata of a row are those of its document, with the text
    of the window under the name of the target; rows of one group stay in one split.

    data: any data set. column: the metadata column. target: the name of the target and of the modality. document_tokenizer:
    trained on the training texts. window_tokens: ids of a window. max_characters: longer texts are left out, so that models
    with different tokenizers read whole texts; None for all.
    Raises DataError if the data lack the column or a split has no texts.
    """

    data: Annotated[Declared[Data], tyro.conf.arg(name="")]
    column: str = "text"
    target: str = "text"
    document_tokenizer: Declared[TokenizerTrainer] = ByteLevel()
    window_tokens: int = 256
    max_characters: int | None = None

    def __post_init__(self):
        positive(self, "window_tokens", "max_characters")

    @property
    def folds(self) -> int:
        return folds_of(self.data)

    def at_fold(self, fold: int) -> "Documents":
        """The same documents with this test fold."""
        return dataclasses.replace(self, data=with_fold(self.data, fold))

    def load(self) -> Dataset:
        data = load_once(self.data)
        texts = {split: _texts(data, split, self.column) for split in data.splits}
        kept = {split: _up_to(of, split, self.max_characters) for split, of in texts.items()}
        left_out = sum(map(len, texts.values())) - sum(map(len, kept.values()))
        texts, dropped = kept, {f"texts of more than {self.max_characters} characters": left_out} if left_out else {}
        tokenizer = self.document_tokenizer.train(texts["train"].values())
        splits, metadata, count = {}, {}, 0
        sha = hashlib.sha256(f"{data.fingerprint} {self.column} {self.target} {tokenizer.library.to_str()}".encode())
        for split, of in texts.items():
            row, values = windows(
                {number: [*tokenizer.ids(text), tokenizer.end] for number, text in of.items()}, self.window_tokens
            )
            weight = np.asarray(data.splits[split].weight)[row]
            pointer = np.arange(count, count + len(row), dtype=np.int32)  # other items, since rows with equal inputs are a leak
            splits[split], count = Rows({self.target: pointer}, {self.target: values}, weight), count + len(row)
            metadata[split] = _metadata(data.metadata[split], row, tokenizer, values, self.target)
            sha.update(values.tobytes())
        return Dataset(
            columns={self.target: Column(count, nothing, identity, parse=parse_nothing)},
            splits=splits,
            metadata=metadata,
            fingerprint=sha.hexdigest(),
            sizes={self.target: {"vocabulary": tokenizer.vocabulary, "length": self.window_tokens}},
            tokenizers={self.target: tokenizer},
            dropped={**data.dropped, **dropped},
            source=data.source,
        )


@dataclasses.dataclass(frozen=True)
class PackedDocuments:
    """Data whose training rows hold several documents each, one after the other, for `decoders.PackedDecoder`.

    The other splits keep a document or a window of it per row, so that every text is scored by itself. A training row is named
    after its first document.

    data: `Documents`, or other data with one target of token ids. packed_target: its name. row_tokens: ids of a packed row.
    Raises DataError if `row_tokens` is smaller than a row of the data.
    """

    data: Annotated[Declared[Data], tyro.conf.arg(name="")]
    packed_target: str = "text"
    row_tokens: int = 512

    @property
    def folds(self) -> int:
        return folds_of(self.data)

    def at_fold(self, fold: int) -> "PackedDocuments":
        """The same rows with this test fold."""
        return dataclasses.replace(self, data=with_fold(self.data, fold))

    def load(self) -> Dataset:
        data = load_once(self.data)
        rows, end = data.splits["train"], data.tokenizers[self.packed_target].end
        values = np.asarray(rows.targets[self.packed_target])
        if values.shape[1] > self.row_tokens:
            raise DataError(
                f"PackedDocuments.row_tokens is {self.row_tokens}; rows of the data have up to {values.shape[1]} tokens"
            )
        first, values = packed_rows(values, end, self.row_tokens)
        pointer = {name: of[first] for name, of in rows.pointer.items()}
        packed = Rows(pointer, {self.packed_target: values}, np.ones(len(first), np.float32))
        metadata = {name: np.asarray(of)[first] for name, of in data.metadata["train"].items()}
        sha = hashlib.sha256(f"{data.fingerprint} packed {self.row_tokens}".encode())
        splits = {split: _padded(of, self.packed_target, self.row_tokens) for split, of in data.splits.items()}
        return dataclasses.replace(
            data,
            splits={**splits, "train": packed},
            metadata={**data.metadata, "train": metadata},
            fingerprint=sha.hexdigest(),
            sizes={**data.sizes, self.packed_target: {**data.sizes.get(self.packed_target, {}), "length": self.row_tokens}},
            training_weight=None,
        )


def _padded(rows: Rows, target: str, tokens: int) -> Rows:
    """The rows with targets of the length of packed ones."""
    values = np.asarray(rows.targets[target])
    wider = np.pad(values, ((0, 0), (0, tokens - values.shape[1])), constant_values=-1)
    return rows.replace(targets={target: wider})


def _texts(data: Dataset, split: str, column: str) -> dict[int, str]:
    """{row: text} of the first row of each text. DataError if the split lacks the column or has no texts."""
    known = data.metadata[split]
    if column not in known:
        raise DataError(f"Documents.column: the data have no metadata column {column!r}; they have {', '.join(sorted(known))}")
    found: dict[str, int] = {}
    for row, text in enumerate(known[column]):
        if not is_missing(text) and str(text).strip():
            found.setdefault(str(text), row)
    if not found:
        raise DataError(f"Documents.column: no row of the {split} split has a {column!r}")
    return {row: text for text, row in found.items()}


def _up_to(texts: dict[int, str], split: str, characters: int | None) -> dict[int, str]:
    """The texts of at most this number of characters. DataError if there are none."""
    kept = {row: text for row, text in texts.items() if characters is None or len(text) <= characters}
    if not kept:
        raise DataError(f"Documents.max_characters is {characters}, but all texts of the {split} split are longer")
    return kept


def windows(ids: Mapping[int, list[int]], tokens: int) -> tuple[Int[np.ndarray, " w"], Int[np.ndarray, "w n"]]:
    """{row: ids} -> (the row of each window, its ids, -1 beyond the end)."""
    cut = [(row, of[start : start + tokens]) for row, of in ids.items() for start in range(0, len(of), tokens)]
    values = np.full((len(cut), tokens), -1, np.int32)
    for window, (_, of) in zip(values, cut):
        window[: len(of)] = of
    return np.array([row for row, _ in cut], np.int64), values


def _metadata(known: Mapping[str, Any], row: np.ndarray, tokenizer: Any, values: np.ndarray, target: str) -> dict[str, Any]:
    """The metadata of the windows. A window that is not the first of its document has its number in the id."""
    taken = {name: np.asarray(of)[row] for name, of in known.items()}
    number = np.arange(len(row)) - np.searchsorted(row, row)  # the windows of a row are adjacent, in order of rows
    ids = [f"{name}/{n}" if n else str(name) for name, n in zip(taken["id"], number)]
    return taken | {"id": np.array(ids), target: np.array([tokenizer.text(of) for of in values])}


def packed_rows(
    values: Int[np.ndarray, "n m"], end: int, tokens: int
) -> tuple[Int[np.ndarray, " r"], Int[np.ndarray, "r tokens"]]:
    """(the first row in each packed row, ids): long rows first, each in the first packed row with room (Johnson, 1974).

    A row without its end token, a window of a longer document, is the last in a packed row.
    """
    length = (values >= 0).sum(axis=1)
    bins: list[list[int]] = []
    room: list[int] = []
    for row in np.argsort(-length, kind="stable"):
        place = next((place for place, left in enumerate(room) if left >= length[row]), None)
        if place is None:
            place = len(bins)
            bins.append([])
            room.append(tokens)
        bins[place].append(int(row))
        ended = values[row, length[row] - 1] == end
        room[place] = room[place] - int(length[row]) if ended else 0
    packed = np.full((len(bins), tokens), -1, np.int32)
    for line, rows in zip(packed, bins):
        ids = np.concatenate([values[row, : length[row]] for row in rows])
        line[: len(ids)] = ids
    return np.array([rows[0] for rows in bins], np.int64), packed
