"""Trained cells that answer questions about images or recordings, such as those of `experiments/tiny_vlm.py`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmjax.chat.messages import KINDS, Message, media_of, text_of
from mmjax.results.cell import Cell
from mmjax.search.collection import kind_of
from mmjax.tasks import Classify, Generate

__all__ = ["ChatCell", "chat_cell"]


@dataclass(frozen=True, eq=False)
class ChatCell:
    """A cell with several inputs. It answers each message without those before, by the mean of its seeds, but sees the last
    image and recording of the conversation.

    inputs: {"text", "image" or "audio": modality}. task: of the answer.
    """

    cell: Cell
    inputs: Mapping[str, str]
    task: str

    @property
    def takes(self) -> tuple[str, ...]:
        """Of `messages.KINDS`, what messages may have beside a text."""
        return tuple(kind for kind in KINDS if kind in self.inputs)

    def answer(self, messages: Sequence[Message]) -> str:
        """The answer to the last message. Raises ValueError if that has several images or recordings, or what the cell does not
        take; DataError if a value cannot be read."""
        given: dict[str, list[Any]] = {}
        for kind in KINDS:
            new, found = media_of(messages[-1:], kind), media_of(messages, kind)
            if new and kind not in self.inputs:
                raise ValueError(f"cell {self.cell.name} takes no {kind}; it takes {', '.join(self.inputs)}")
            if len(new) > 1:
                raise ValueError(f"the message has {len(new)} {kind} files, and cell {self.cell.name} takes one")
            if found:
                given[self.inputs[kind]] = [found[-1]]
        if "text" in self.inputs:
            given[self.inputs["text"]] = [text_of(messages[-1]) or None]
        answers = self.cell.predict(given or {next(iter(self.inputs.values())): [None]}, batch=1)[self.task]
        return str(np.asarray(answers["predicted"])[0])


def chat_cell(cell: Cell) -> ChatCell:
    """ValueError if the cell has no input for messages, or several of one kind, or no task that answers."""
    model, inputs = cell.models[0], {}
    for modality, reader in model.readers.items():
        kind = {"sound": "audio"}.get(found := kind_of(reader), found)
        if kind in inputs:
            raise ValueError(f"cell {cell.name} has several inputs for one {kind}, {inputs[kind]} and {modality}")
        if kind is not None:
            inputs[kind] = modality
    task = next((name for name, task in cell.tasks.items() if isinstance(task, Generate | Classify)), None)
    if not inputs:
        raise ValueError(f"cell {cell.name} cannot answer messages: no input of it is a text, an image or a recording")
    if task is None:
        raise ValueError(f"cell {cell.name} has no task that answers with a text or a class")
    return ChatCell(cell, inputs, task)
