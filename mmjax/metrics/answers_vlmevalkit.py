"""Scores of short answers by VLMEvalKit's rules (Duan et al., 2024), where these differ from lmms-eval's in `metrics.answers`.

Its ANLS (DocVQA) and its relaxed accuracy (ChartQA) are `answers.anls` and `answers.relaxed_match`. Where its rules find no
answer, it can ask a language model; these functions count such an answer as wrong, as its option "exact_matching" does.
"""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from jaxtyping import Array

from mmjax.metrics.answers import (
    MARKS,
    AnswerScore,
    AnswerScores,
    YesNo,
    YesNoScore,
    leave_one_out,
    without_articles,
    yes_no_accuracy,
    yes_no_precision,
)
from mmjax.metrics.text import TextMetric
from mmjax.metrics.weighted import ratio, total
from mmjax.types import Metric

__all__ = ["VLMEVALKIT_METRICS", "equals_reference", "option_letter", "textvqa_score", "yes_or_no"]

_COMMA = re.compile(r"\d,\d")
_PERIOD = re.compile(r"(?<!\d)\.(?!\d)")  # unlike the official code, it keeps a period after a digit
_NO_WORD = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))
_ANSWER_IS = re.compile(r"answer\s+is\s+\**([ABCD])\**", re.IGNORECASE)


def _without_punctuation(text: str) -> str:
    found, in_number = text, _COMMA.search(text) is not None
    for mark in MARKS:
        found = found.replace(mark, "" if in_number or f"{mark} " in text or f" {mark}" in text else " ")
    return _PERIOD.sub("", found, count=int(re.UNICODE))  # as in the official code, the flag is the count: 32 periods


def textvqa_score(answer: str, references: Sequence[str]) -> float:
    """TextVQA: min(1, others who gave this answer / 3), the mean over people."""
    normal = lambda text: without_articles(_without_punctuation(text.replace("\n", " ").replace("\t", " ").strip()))
    return leave_one_out(normal(answer), [normal(reference) for reference in references])


def equals_reference(answer: str, references: Sequence[str]) -> float:
    """GQA and OCR-VQA: 1 if the answer equals a reference in lower case, without white space at the ends."""
    return float(answer.strip().lower() in {reference.strip().lower() for reference in references})


def yes_or_no(answer: str) -> str:
    """ "yes" or "no" if the answer has this word and not the other one, else "other": POPE, MME and other such questions."""
    words = _without_punctuation(answer.lower()).split()
    found = [word for word in ("yes", "no") if word in words]
    return found[0] if len(found) == 1 else "other"


def option_letter(answer: str, options: Sequence[str]) -> str | None:
    """MMBench and other multiple choice: the letter that a free answer gives; None without one.

    The only letter among its words, if it is one of the last four; then the letter after "answer is"; then, in an answer
    that is at most twice as long as all options, the only option whose text it has. (VLMEvalKit also knows refusals of hosted
    models.)
    """
    letters = [chr(ord("A") + number) for number in range(len(options))]
    words = answer.translate(_NO_WORD).split()
    found = [letter for letter in letters if letter in words]
    if len(found) == 1 and words.index(found[0]) > len(words) - 5:
        return found[0]
    if not found and "Z" in words:  # a refusal
        return None
    said = _ANSWER_IS.search(answer)
    if said and said[1].upper() in letters:
        return said[1].upper()
    low, texts = answer.lower(), [option.lower() for option in options]
    named = [letter for letter, text in zip(letters, texts) if text in low]
    return named[0] if len(named) == 1 and len(answer) <= 2 * sum(map(len, options)) else None


def _recall(right: Any, yes: Any, no: Any, is_yes: Any, weight: Array) -> Array:
    """Of all questions whose answer is yes; in lmms-eval, only those that are answered with yes or no."""
    return ratio(total(yes & is_yes, weight), total(is_yes, weight))


def _f1(*given: Any) -> Array:
    precision, recall = yes_no_precision(*given), _recall(*given)
    return ratio(2 * precision * recall, precision + recall)


_NAME = "vlmevalkit"
_OF_ONE = {f"{_NAME}_textvqa": textvqa_score, f"{_NAME}_exact": equals_reference}
_OF_ALL = {"yes_no": yes_no_accuracy, "precision": yes_no_precision, "recall": _recall, "f1": _f1}
VLMEVALKIT_METRICS: Mapping[str, TextMetric] = MappingProxyType(
    {name: TextMetric(AnswerScores(name, score), Metric(AnswerScore(name))) for name, score in _OF_ONE.items()}
    | {f"{_NAME}_{of}": TextMetric(YesNo(_NAME, yes_or_no), Metric(YesNoScore(_NAME, value))) for of, value in _OF_ALL.items()}
)
"""{name: metric} of answers, all in 0..1."""
