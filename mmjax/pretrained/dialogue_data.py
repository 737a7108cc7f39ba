"""Dialogues about images as the data of a vision-language model: several of them in a training row, with a loss on answers."""

import dataclasses
import hashlib
import json
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import jax
import numpy as np
import tyro

from mmjax.data.dataset import Column, Data, Dataset, Rows, stack
from mmjax.data.decode import DataError
from mmjax.data.dialogues import Dialogue, PackedRow, packed_dialogues
from mmjax.data.few import RowMedia, load_once
from mmjax.data.formats.dialogue_files import read_messages, written_messages
from mmjax.data.splits import check_splits, folds_of, with_fold
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
            data=Dialogues(DialogueFile("talks.jsonl"), vectors=16),
            encoders={"image": EachImage(ViT(...))},
            fusion=llava_mlp(576),
            decoders={"text": Factored(Interleaved(smollm2_135m(), (BEGIN,)))},
            loss=On("text", CrossEntropy(), target="answer"),
            tasks={"text": Likelihood("text", target="answer")},
        )

    A training row has several dialogues, each behind a `decoders.interleaved.BEGIN`, and the images of all of them; its weight
    is the number of its answers' tokens. Rows of the other splits have one dialogue. Dialogues with more tokens or images than
    a row are left out, and `Dataset.dropped` counts them.

    data: any data set with images, such as `mmjax.data.formats.dialogue_files.DialogueFile`. column: the metadata column of
    dialogues, each a JSON list of {"role": "user" or "assistant", "content": a text or a list of parts}. A part is {"type":
    "text", "text": "..."} or {"type": "image", "image": the number of an item of the modality}; the first one is the item that
    the row points to. The place of null is empty. Without numbers, the dialogue has the row's item alone, at a part {"type":
    "image"} or at a marker in a text. The parts of a content follow one another, with nothing between them.
    modality: the images. marker: the place of an image in a text. vectors: as many as the encoder and the connector make of
    one image, since ids count them. source: the language model, with its tokenizer and chat template. target: the name of the
    ids. row_tokens, row_images: of a row. Raises DataError for a dialogue that is no such list, that the template refuses, or
    with more or fewer markers than images, and for ids or groups in two splits.
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
        check_splits(data)  # before packing: a packed row has the id and the group of its first dialogue alone
        splits, metadata, items, first, images, dropped = {}, {}, [], {}, {}, Counter(data.dropped)
        for split, rows in data.splits.items():
            pointer = np.asarray(rows.pointer[self.modality])
            images[split], dialogues = self._dialogues(
                split, data.metadata[split], pointer, column.count, template, tokenizer
            )
            excess = {row: self._excess(one) for row, one in dialogues.items()}
            dropped.update(filter(None, excess.values()))
            made = self._rows(split, {row: one for row, one in dialogues.items() if not excess[row]}, tokenizer.vocabulary)
            first[split] = np.array([row.numbers[0] for row in made], np.int64)
            shown = [[image for number in row.numbers for image in images[split][number]] for row in made]
            own = {self.modality: np.array([len(items) + place if of else -1 for place, of in enumerate(shown)], np.int32)}
            items += shown
            targets = {self.target: np.stack([row.ids for row in made]), "answer": np.stack([row.answer for row in made])}
            known = targets["answer"] >= 0
            weight = known.sum(axis=1) if split == "train" else np.asarray(rows.weight)[first[split]]
            splits[split] = Rows(own, targets, weight.astype(np.float32))
            texts = np.array([tokenizer.text(of[valid]) for of, valid in zip(targets["answer"], known)], dtype=np.str_)
            metadata[split] = {name: np.asarray(of)[first[split]] for name, of in data.metadata[split].items()}
            metadata[split] |= {self.target: texts, "answer": texts}
        _warn_of_shared(images)
        settings = f"{data.fingerprint} {dataclasses.replace(self, data=None)} {template.source} {tokenizer.definition}"
        stacked = Stacked(column.read, items, self.row_images)
        return Dataset(
            columns={self.modality: Column(len(items), stacked, EachOf(column.preprocess))},
            splits=splits,
            metadata=metadata,
            fingerprint=hashlib.sha256(settings.encode()).hexdigest(),
            sizes={**data.sizes, self.target: {"vocabulary": tokenizer.vocabulary, "length": self.row_tokens}},
            tokenizers={self.target: tokenizer},
            dropped=dict(dropped),
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
        self, split: str, metadata: Mapping[str, Any], pointer: np.ndarray, count: int, template: ChatTemplate, tokenizer: Any
    ) -> tuple[dict[int, list[int]], dict[int, Dialogue]]:
        """(the items of each row in their order, its dialogue). count: of all items."""
        if self.column not in metadata:
            known = ", ".join(sorted(metadata))
            raise DataError(f"Dialogues.column: the data have no metadata column {self.column!r}; they have {known}")
        images, found = {}, {}
        for row, cell in enumerate(metadata[self.column]):
            where = f"Dialogues.column: row {row} ({metadata['id'][row]}) of the {split} split"
            try:
                messages = _messages(cell)
                images[row] = _items(messages, int(pointer[row]), count)
                pieces, vectors = dialogue_pieces(template, written_messages(messages, self.marker)), [self.vectors]
                found[row] = dialogue_with_vectors(
                    pieces, tokenizer.library, tokenizer.vocabulary, self.marker, vectors * len(images[row])
                )
            except (ChatTemplateError, ValueError) as error:
                raise DataError(f"{where}: {error}") from None
        return images, found

    def _excess(self, dialogue: Dialogue) -> str:
        """What a dialogue has too much of for a row; "" if nothing."""
        if dialogue.vectors > self.row_images * self.vectors:
            return f"dialogues of more than {self.row_images} images"
        return f"dialogues of more than {self.row_tokens} tokens" if len(dialogue.ids) > self.row_tokens else ""

    def _rows(self, split: str, dialogues: Mapping[int, Dialogue], vocabulary: int) -> list[PackedRow]:
        """The rows of a split; their numbers are those of the data."""
        if not dialogues:
            sizes = f"row_tokens is {self.row_tokens} and row_images {self.row_images}"
            raise DataError(f"Dialogues.{sizes}, but all dialogues of the {split} split are larger")
        together = [list(dialogues)] if split == "train" else [[number] for number in dialogues]
        size, found = (vocabulary, BEGIN, self.row_tokens, self.row_images * self.vectors), []
        for numbers in together:
            for row in packed_dialogues([dialogues[number] for number in numbers], *size):
                found.append(row._replace(numbers=[numbers[place] for place in row.numbers]))
        return found


def _messages(cell: Any) -> list[dict[str, Any]]:
    try:
        messages = json.loads(str(cell))
    except (ValueError, RecursionError):
        messages = str(cell)
    return read_messages(messages)


def _items(messages: Sequence[Mapping[str, Any]], own: int, count: int) -> list[int]:
    """The images that the messages name, else that of the row. own: the item of the row, -1 without. Raises ValueError for an
    image that is no number below `count`, or if the first one is not the row's."""
    parts = [part for message in messages for part in message["content"] if part["type"] == "image"]
    named = [part["image"] for part in parts if part.get("image") is not None]
    for image in named:
        if type(image) is not int or not 0 <= image < count:
            known = f"it must be a number from 0 to {count - 1}; DialogueFile reads names of files"
            raise ValueError(f"an image is {str(image)[:60]!r}; {known}")
    if named and named[0] != own:
        found = f"to {own}" if own >= 0 else "to none"
        raise ValueError(f"the first image is {named[0]}, but the row points {found}")
    return named or ([own] if own >= 0 else [])


def _warn_of_shared(images: Mapping[str, Mapping[int, list[int]]]) -> None:
    """Warns if dialogues have an image that training dialogues have too. images: {split: {row: its items}}."""
    train = {image for own in images["train"].values() for image in own}
    for split, of in images.items():
        shared = sum(not train.isdisjoint(own) for own in of.values())
        if split != "train" and shared:
            found = f"{shared:,} of {len(of):,} dialogues of the {split} split have an image that training dialogues have too"
            warnings.warn(f"{found}; put them into one group", stacklevel=3)


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
