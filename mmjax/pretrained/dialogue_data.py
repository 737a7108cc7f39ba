"""Dialogues about images as the data of a vision-language model: several of them in a training row, with a loss on answers."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import jax
import numpy as np
import tyro

from mmjax.data.dataset import Column, Data, Dataset, Rows, stack
from mmjax.data.decode import DataError
from mmjax.data.dialogues import Dialogue, PackedRow, packed_dialogues
from mmjax.data.few import RowMedia, load_once
from mmjax.data.splits import folds_of, with_fold
from mmjax.decoders.interleaved import BEGIN
from mmjax.nn.checks import positive
from mmjax.pretrained.chat_sandbox import ChatTemplateError
from mmjax.pretrained.chat_template import ChatTemplate
from mmjax.pretrained.dialogues import dialogue_pieces, dialogue_with_vectors
from mmjax.pretrained.language_text import LanguageText
from mmjax.types import Declared, Padded

__all__ = ["Dialogues", "EachOf", "Stacked"]


@dataclass(frozen=True)
class Dialogues:
    """A data set whose rows are dialogues: the target `target` has all token ids, "answer" those of answers, -1 elsewhere.

        Experiment(
            data=Dialogues(data, vectors=16),
            encoders={"image": EachImage(ViT(...))},
            fusion=llava_mlp(576),
            decoders={"text": Factored(Interleaved(smollm2_135m(), (BEGIN,)))},
            loss=On("text", CrossEntropy(), target="answer"),
            tasks={"text": Likelihood("text", target="answer")},
        )

    A training row has several dialogues, each behind a `decoders.interleaved.BEGIN`, and the images of all of them; its weight
    is the number of its answers' tokens. Rows of the other splits have one dialogue. Dialogues that are longer than a row are
    left out.

    data: any data set with images. column: the metadata column of dialogues, each a JSON list of {"role": "user" or
    "assistant", "content": "..."}. modality: the images, one per dialogue or none. marker: the place of the image in a content.
    vectors: that the connector makes of an image. source: the language model, with its tokenizer and chat template. target: the
    name of the ids. row_tokens, row_images: of a row. Raises DataError for a dialogue that is no such list, that the template
    refuses, or with more or fewer markers than images.
    """

    data: Annotated[Declared[Data], tyro.conf.arg(name="")]
    column: str = "messages"
    modality: str = "image"
    marker: str = "<image>"
    vectors: int = 16
    source: str = "smollm2-135m-instruct"
    target: str = "text"
    row_tokens: int = 512
    row_images: int = 4

    def __post_init__(self):
        positive(self, "vectors", "row_tokens", "row_images")

    @property
    def folds(self) -> int:
        return folds_of(self.data)

    def at_fold(self, fold: int) -> "Dialogues":
        """The same dialogues with this test fold."""
        return dataclasses.replace(self, data=with_fold(self.data, fold))

    def load(self) -> Dataset:
        data = load_once(self.data)
        tokenizer, template = LanguageText(self.source).train(()), self._template()
        column = data.columns.get(self.modality)
        if column is None:
            raise DataError(f"Dialogues.modality: the data have no {self.modality!r}; they have {', '.join(data.columns)}")
        splits, metadata, items, first, left_out = {}, {}, [], {}, 0
        for split, rows in data.splits.items():
            pointer = np.asarray(rows.pointer[self.modality])
            dialogues = self._dialogues(split, data.metadata[split], pointer, template, tokenizer)
            fits = {row: one for row, one in dialogues.items() if len(one.ids) <= self.row_tokens}
            left_out += len(dialogues) - len(fits)
            made = self._rows(split, fits, tokenizer.vocabulary)
            first[split] = np.array([row.numbers[0] for row in made], np.int64)
            shown = [[int(pointer[number]) for number in row.numbers if pointer[number] >= 0] for row in made]
            own = {self.modality: np.array([len(items) + place if of else -1 for place, of in enumerate(shown)], np.int32)}
            items += shown
            targets = {self.target: np.stack([row.ids for row in made]), "answer": np.stack([row.answer for row in made])}
            known = targets["answer"] >= 0
            weight = known.sum(axis=1) if split == "train" else np.asarray(rows.weight)[first[split]]
            splits[split] = Rows(own, targets, weight.astype(np.float32))
            texts = np.array([tokenizer.text(of[valid]) for of, valid in zip(targets["answer"], known)], dtype=np.str_)
            metadata[split] = {name: np.asarray(of)[first[split]] for name, of in data.metadata[split].items()}
            metadata[split] |= {self.target: texts, "answer": texts}
        dropped = {f"dialogues of more than {self.row_tokens} tokens": left_out} if left_out else {}
        settings = f"{data.fingerprint} {dataclasses.replace(self, data=None)} {template.source} {tokenizer.definition}"
        stacked = Stacked(column.read, items, self.row_images)
        return Dataset(
            columns={self.modality: Column(len(items), stacked, EachOf(column.preprocess))},
            splits=splits,
            metadata=metadata,
            fingerprint=hashlib.sha256(settings.encode()).hexdigest(),
            sizes={**data.sizes, self.target: {"vocabulary": tokenizer.vocabulary, "length": self.row_tokens}},
            tokenizers={self.target: tokenizer},
            dropped={**data.dropped, **dropped},
            media=RowMedia(data.media, first["test"]),
            source=data.source,
        )

    def _template(self) -> ChatTemplate:
        from mmjax.pretrained import load
        from mmjax.pretrained.chat_template import read_chat_template

        file = load(self.source).preprocessing.file
        found = read_chat_template(file if file.suffix == ".gguf" else file.parent)
        if found is None:
            raise DataError(f"Dialogues.source: {self.source} has no chat template")
        return found

    def _dialogues(
        self, split: str, metadata: Mapping[str, Any], pointer: np.ndarray, template: ChatTemplate, tokenizer: Any
    ) -> dict[int, Dialogue]:
        if self.column not in metadata:
            known = ", ".join(sorted(metadata))
            raise DataError(f"Dialogues.column: the data have no metadata column {self.column!r}; they have {known}")
        found = {}
        for row, cell in enumerate(metadata[self.column]):
            where = f"Dialogues.column: row {row} ({metadata['id'][row]}) of the {split} split"
            vectors = [self.vectors] if pointer[row] >= 0 else []
            try:
                pieces = dialogue_pieces(template, _messages(cell))
                found[row] = dialogue_with_vectors(pieces, tokenizer.library, tokenizer.vocabulary, self.marker, vectors)
            except (ChatTemplateError, ValueError) as error:
                raise DataError(f"{where}: {error}") from None
        return found

    def _rows(self, split: str, dialogues: Mapping[int, Dialogue], vocabulary: int) -> list[PackedRow]:
        """The rows of a split; their numbers are those of the data."""
        if not dialogues:
            raise DataError(f"Dialogues.row_tokens is {self.row_tokens}, but all dialogues of the {split} split are longer")
        together = [list(dialogues)] if split == "train" else [[number] for number in dialogues]
        size, found = (vocabulary, BEGIN, self.row_tokens, self.row_images * self.vectors), []
        for numbers in together:
            for row in packed_dialogues([dialogues[number] for number in numbers], *size):
                found.append(row._replace(numbers=[numbers[place] for place in row.numbers]))
        return found


def _messages(cell: Any) -> list[dict[str, str]]:
    try:
        messages = json.loads(str(cell))
    except ValueError:
        messages = None
    is_text = lambda one: isinstance(one, dict) and all(isinstance(one.get(name), str) for name in ("role", "content"))
    if not isinstance(messages, list) or not messages or not all(map(is_text, messages)):
        raise ValueError(f'{str(cell)[:60]!r} is no JSON list of {{"role": "user" or "assistant", "content": "..."}}')
    return messages


@dataclass(frozen=True, eq=False)
class Stacked:
    """Number of a row -> Padded, its items as x [k ...] and their number. items: of each row. size: k."""

    read: Callable[[int], Any]
    items: list[list[int]]
    size: int

    def __call__(self, number: int) -> Padded:
        found = [np.asarray(self.read(item)) for item in self.items[number]]
        length, empty = np.int32(len(found)), np.zeros_like(found[0]) if found else np.asarray(self.read(0))
        return Padded(stack([*found, *[empty] * (self.size - len(found))]), length)


@dataclass(frozen=True, eq=False)
class EachOf:
    """The preprocessing of each of k items, Padded [b k ...]. preprocess: of a batch [b ...]."""

    preprocess: Callable[[Any], Any]

    def __call__(self, batch: Padded) -> Padded:
        size = batch.x.shape[:2]
        y = self.preprocess(batch.x.reshape(-1, *batch.x.shape[2:]))
        return batch.replace(x=jax.tree.map(lambda leaf: leaf.reshape(*size, *leaf.shape[1:]), y))
