"""Short answers to questions: generated texts that are compared with all reference answers of a question."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from mmjax.data.dataset import Dataset
from mmjax.metrics.answers import ANSWER_METRICS
from mmjax.metrics.answers_vlmevalkit import VLMEVALKIT_METRICS
from mmjax.metrics.text import TEXT_METRICS, TextMetric
from mmjax.tasks.generate import Generate, normal_form
from mmjax.types import Units

__all__ = ["Answer"]


@dataclass(frozen=True)
class Answer(Generate):
    """`Generate` with the scores of question answering, and several answers of different people to a question.

    A unit is a row, and its group is usually the image, whose questions are not independent.

    output, target, search, per, nearest: as in `Generate`. scores: names of `TEXT_METRICS`, `metrics.answers.ANSWER_METRICS` or
    `metrics.answers_vlmevalkit.VLMEVALKIT_METRICS`, such as "vqa", "textvqa", "anls", "relaxed", "gqa", "first_letter" or
    "pope"; the first one is the headline metric.
    references: the metadata column with a JSON list of texts per row, repetitions included; empty ones do not count. None if
    the text of the target is the only right answer.
    """

    scores: tuple[str, ...] = ("vqa",)
    references: str | None = None
    known: ClassVar[Mapping[str, TextMetric]] = {**TEXT_METRICS, **ANSWER_METRICS, **VLMEVALKIT_METRICS}

    def check(self, outputs: Mapping[str, Any], data: Dataset) -> None:
        if self.references is not None and self.per:
            raise ValueError(f"Answer.per is {self.per!r}; it must be () if a column has the answers of each row")
        super().check(outputs, data)

    def units(self, data: Dataset, split: str) -> Units:
        """As of `Generate`, with all reference answers of a row. Raises ValueError if the column is not as described."""
        units = super().units(data, split)
        if self.references is None:
            return units
        metadata = data.metadata[split]
        if self.references not in metadata:
            known = ", ".join(sorted(metadata))
            raise ValueError(f"Answer.references: the {split} split has no metadata column {self.references!r}; it has {known}")
        cells = metadata[self.references]
        answers = [_texts(str(cell), f"Answer.references: row {row} of the {split} split") for row, cell in enumerate(cells)]
        answers = [[normal_form(units.tokenizer, text) for text in of_row] for of_row in answers]
        width = max(map(len, answers), default=0)
        reference = np.array([[*of_row, *[""] * (width - len(of_row))] for of_row in answers], dtype=np.str_)
        return units._replace(target={"reference": reference})


def _texts(cell: str, where: str) -> list[str]:
    try:
        texts = json.loads(cell)
    except ValueError:
        texts = None
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{where} has {cell[:60]!r}; it must be a JSON list of at least one text")
    return texts
