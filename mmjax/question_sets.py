"""Public sets of questions about images: how their files are read, their prompts, and how answers are scored.

Prompts are the default ones of lmms-eval (Zhang et al., 2024).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmjax.data.formats import visual_questions as sets
from mmjax.data.formats.visual_questions import LETTERS, VisualQuestion
from mmjax.metrics.answers import ANSWER_METRICS, chosen_letter
from mmjax.metrics.answers_mmmu import named_reference
from mmjax.metrics.answers_vlmevalkit import option_letter

__all__ = ["COMPARED_WITH", "LETTER", "MME", "POPE", "SETS", "SHORT", "QuestionSet", "parts_of"]

COMPARED_WITH = {"lmms_eval": "0.7.3", "VLMEvalKit": "e8e78f05"}
"""{program: the version or revision}: the tests compare prompts and scores with these."""

SHORT = "\nAnswer the question using a single word or phrase."
LETTER = "\nAnswer with the option's letter from the given choices directly."
POPE = tuple(name for name in ANSWER_METRICS if name.startswith("pope"))
MME = {
    "perception": ("existence", "count", "position", "color", "posters", "celebrity", "scene", "landmark", "artwork", "OCR"),
    "cognition": ("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning"),
}
"""{total: its categories}."""


@dataclass(frozen=True)
class QuestionSet:
    """A public set.

    load: (files, folder of images) -> questions. files: what they are, for the help. scores: of `ANSWER_METRICS`, the first one
    is the headline. prompt: question -> the text that the model reads, with "<image 1>" where the first image stands in it.
    read: (answer, question) -> the text that is scored, such as the letter that a free answer gives, "" for none. together:
    also the share of groups whose answers are all right. totals: {name: the categories whose scores are added up}; a category's
    score is 100 (mean accuracy of its groups + share of those that are all right). rules: whose scorer ours equals.
    """

    load: Callable[[Sequence[Path], Path | None], list[VisualQuestion]]
    files: tuple[str, ...]
    scores: tuple[str, ...]
    prompt: Callable[[VisualQuestion], str] = lambda question: question.text + SHORT
    read: Callable[[str, VisualQuestion], str] = lambda answer, question: answer
    together: bool = False
    totals: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    rules: str = "lmms_eval"


def _lettered(question: VisualQuestion) -> str:
    return "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, question.options))


def _text_vqa(question: VisualQuestion) -> str:
    return question.text.capitalize() + SHORT


def _science_qa(question: VisualQuestion) -> str:
    hint = f"Context: {question.hint}\n" if question.hint else ""
    return f"{hint}{question.text}\n{_lettered(question)}{LETTER}"


def _mmmu(question: VisualQuestion) -> str:
    return f"{question.text}\n{_lettered(question)}\n{LETTER}" if question.options else f"{question.text}\n{SHORT}"


def _mmmu_answer(answer: str, question: VisualQuestion) -> str:
    """The letter, or the reference of an open question, that the answer gives."""
    options = question.options
    return (chosen_letter(answer, options) if options else named_reference(answer, question.answers)) or ""


def _mm_bench(question: VisualQuestion) -> str:
    hint, options = f"{question.hint} " if question.hint else "", _lettered(question).rstrip("\n")
    return f"{hint}{question.text} There are several options:\n{options}\n{LETTER}"


def _mme(question: VisualQuestion) -> str:
    return question.text.replace(" Please answer yes or no.", "") + SHORT


SETS = {
    "vqa_v2": QuestionSet(lambda files, images: sets.vqa_v2(*files, images), ("QUESTIONS", "ANNOTATIONS"), ("vqa",)),
    "gqa": QuestionSet(lambda files, images: sets.gqa(*files, images), ("QUESTIONS",), ("gqa",)),
    "text_vqa": QuestionSet(lambda files, images: sets.text_vqa(*files, images), ("QUESTIONS",), ("textvqa",), _text_vqa),
    "doc_vqa": QuestionSet(lambda files, images: sets.doc_vqa(*files, images), ("QUESTIONS",), ("anls",)),
    "science_qa": QuestionSet(
        lambda files, images: sets.science_qa(*files, images), ("PROBLEMS",), ("first_letter",), _science_qa
    ),
    "mmmu": QuestionSet(lambda files, images: sets.mmmu(files), ("PARQUET...",), ("first_letter",), _mmmu, _mmmu_answer),
    "mm_bench": QuestionSet(
        lambda files, images: sets.mm_bench(*files), ("TSV",), ("first_letter",), _mm_bench, together=True, rules="VLMEvalKit",
        read=lambda answer, question: option_letter(answer, question.options) or "",
    ),
    "pope": QuestionSet(lambda files, images: sets.pope(*files, images), ("QUESTIONS",), POPE),
    "mme": QuestionSet(lambda files, images: sets.mme(*files), ("FOLDER",), ("mme",), _mme, together=True, totals=MME),
}  # fmt: skip
"""{name: set}."""


def parts_of(prompt: str, images: Sequence[Any]) -> list[Any]:
    """Texts and images in the order in which a model reads them.

    An image stands wherever the prompt has its number, as in "<image 1>", and is left out if it has no place. Images stand
    before a prompt without such places. Numbers of images that are not there stay in the text.
    """
    numbers = "|".join(str(number) for number in range(1, len(images) + 1))
    pieces = re.split(f"<image ({numbers})>", prompt)
    if len(pieces) == 1:
        return [*images, prompt]
    parts = [images[int(piece) - 1] if place % 2 else piece.strip() for place, piece in enumerate(pieces)]
    return [part for part in parts if not isinstance(part, str) or part]
