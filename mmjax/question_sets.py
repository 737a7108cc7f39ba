"""Public sets of questions about images: how their files are read, what follows each question, and how answers are scored."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmjax.data.formats import visual_questions as sets
from mmjax.data.formats.visual_questions import LETTERS, VisualQuestion
from mmjax.metrics.answers import ANSWER_METRICS, chosen_letter
from mmjax.metrics.answers_vlmevalkit import option_letter

__all__ = ["LETTER", "POPE", "SETS", "SHORT", "QuestionSet", "prompt_of"]

SHORT = "\nAnswer the question using a single word or phrase."
LETTER = "\nAnswer with the option's letter from the given choices directly."
POPE = tuple(name for name in ANSWER_METRICS if name.startswith("pope"))


@dataclass(frozen=True)
class QuestionSet:
    """A public set.

    read: (files, folder of images) -> questions. files: what they are, for the help. scores: of `ANSWER_METRICS`, the first one
    is the headline. instruction: after each question. letter: (answer, options) -> the letter that a free answer gives, None
    for none. together: also the share of groups whose answers are all right.
    """

    read: Callable[[Sequence[Path], Path | None], list[VisualQuestion]]
    files: tuple[str, ...]
    scores: tuple[str, ...]
    instruction: str = SHORT
    letter: Callable[[str, Sequence[str]], str | None] | None = None
    together: bool = False


SETS = {
    "vqa_v2": QuestionSet(lambda files, images: sets.vqa_v2(*files, images), ("QUESTIONS", "ANNOTATIONS"), ("vqa",)),
    "gqa": QuestionSet(lambda files, images: sets.gqa(*files, images), ("QUESTIONS",), ("gqa",)),
    "text_vqa": QuestionSet(lambda files, images: sets.text_vqa(*files, images), ("QUESTIONS",), ("textvqa",)),
    "doc_vqa": QuestionSet(lambda files, images: sets.doc_vqa(*files, images), ("QUESTIONS",), ("anls",)),
    "science_qa": QuestionSet(lambda files, images: sets.science_qa(*files, images), ("PROBLEMS",), ("first_letter",), LETTER),
    "mmmu": QuestionSet(lambda files, images: sets.mmmu(files), ("PARQUET...",), ("first_letter",), LETTER, chosen_letter),
    "mm_bench": QuestionSet(
        lambda files, images: sets.mm_bench(*files), ("TSV",), ("first_letter",), LETTER, option_letter, together=True
    ),
    "pope": QuestionSet(lambda files, images: sets.pope(*files, images), ("QUESTIONS",), POPE),
    "mme": QuestionSet(lambda files, images: sets.mme(*files), ("FOLDER",), ("mme",), together=True),
}
"""{name: set}."""


def prompt_of(question: VisualQuestion, instruction: str) -> str:
    """The text of a question: the hint, the question, its options with letters, and the instruction."""
    hint = [f"Context: {question.hint}"] if question.hint else []
    options = [f"{letter}. {option}" for letter, option in zip(LETTERS, question.options)]
    text = "\n".join([*hint, question.text.replace(" Please answer yes or no.", ""), *options])  # MME has its own instruction
    for number in range(1, len(question.images) + 1):
        text = text.replace(f"<image {number}>", f"(image {number})")
    return text + instruction
