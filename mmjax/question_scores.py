"""Scores of answers to public questions about images, with intervals over groups: of all, and of each category."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mmjax.data.formats.visual_questions import VisualQuestion
from mmjax.evaluate.statistics.estimates import Estimate, estimates
from mmjax.metrics.answers import ANSWER_METRICS
from mmjax.metrics.text import text_outcomes
from mmjax.metrics.weighted import mean
from mmjax.question_sets import QuestionSet
from mmjax.types import Metric, Outcomes

__all__ = ["ALL", "CategoryScore", "majority", "scored", "with_same"]

ALL = "all"
_MEAN = ANSWER_METRICS["gqa"].metric  # of the outcome "gqa"


@dataclass(frozen=True)
class CategoryScore:
    """100 (mean of "accuracy" + mean of "all_right") of the groups of each code in "category", summed over the codes; of all
    groups without codes. MME's score (Fu et al., 2023, section 2.2). NaN if a category has no weight."""

    codes: tuple[int, ...] = ()

    def __call__(self, outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
        both = outcomes["accuracy"] + outcomes["all_right"]
        if not self.codes:
            return 100 * mean(both, weight)
        of_code = weight[:, None] * (outcomes["category"][:, None] == jnp.array(self.codes)[None])
        return 100 * jnp.sum(jax.vmap(mean, (None, 1))(both, of_code))


class _Units(NamedTuple):
    """metrics: of all. of_category: of one category. group, category: of each unit."""

    metrics: dict[str, Metric]
    of_category: dict[str, Metric]
    outcomes: Outcomes
    group: np.ndarray
    category: np.ndarray

    def estimates(self, category: str) -> dict[str, Estimate]:
        weight = np.ones(len(self.group)) if category == ALL else self.category == category
        metrics = self.metrics if category == ALL else self.of_category
        return estimates(metrics, {name: x[None] for name, x in self.outcomes.items()}, weight, self.group)


def scored(
    questions: Sequence[VisualQuestion], set_: QuestionSet, answers: Sequence[str]
) -> dict[str, dict[str, Estimate]]:
    """{"all": {score: estimate}}, and the same of each category if there are several; intervals are over groups.

    "all_right" is the share of groups whose answers are all right. The totals of a set, such as MME's "perception", are those
    of all questions; they are left out if a category of theirs is missing.
    """
    given = [set_.read(text, question) for question, text in zip(questions, answers, strict=True)]
    metrics = {name: ANSWER_METRICS[name] for name in set_.scores}
    outcomes = text_outcomes(metrics.values(), given, [question.answers for question in questions])
    values = {name: metric.metric for name, metric in metrics.items()}
    group = np.unique([question.group for question in questions], return_inverse=True)[1]
    category = np.array([question.category for question in questions])
    units = [_Units(values, values, outcomes, group, category)]
    if set_.together:
        right = np.asarray(outcomes.get("mme_right", outcomes.get(set_.scores[0]) == 1), np.float32)
        units.append(_of_groups(set_, right, group, category))
    found = list(dict.fromkeys(category.tolist()))
    wanted = [ALL, *(name for name in found if name and len(found) > 1)]
    return {name: {score: e for one in units for score, e in one.estimates(name).items()} for name in wanted}


def _of_groups(set_: QuestionSet, right: np.ndarray, group: np.ndarray, category: np.ndarray) -> _Units:
    """The groups as units. right: Float32[u] of the questions."""
    accuracy = np.float32(np.bincount(group, right) / np.bincount(group))
    category = category[np.unique(group, return_index=True)[1]]
    names, code = np.unique(category, return_inverse=True)
    all_right = np.float32(accuracy == 1)
    outcomes = {"gqa": all_right, "all_right": all_right, "accuracy": accuracy, "category": code}
    codes = {name: np.searchsorted(names, of).tolist() for name, of in set_.totals.items() if set(of) <= set(names.tolist())}
    totals = {
        name: Metric(CategoryScore(tuple(of)), bounds=(0.0, 200.0 * len(of))) for name, of in codes.items()
    }
    score = {"score": Metric(CategoryScore(), bounds=(0.0, 200.0))} if set_.totals else {}
    share = {"all_right": _MEAN}
    return _Units(share | totals, share | score, outcomes, np.arange(len(code)), category)


def with_same(
    questions: Sequence[VisualQuestion], rows: Mapping[str, dict[str, Estimate]], answers: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, Estimate]]:
    """The rows with "same", the share of answers that are those with the right images: 1 if a model ignores the images.

    rows: {images: scores}. answers: {images: of each question}. As they are without other images than the right ones.
    """
    if "right" not in answers or len(answers) < 3:  # one of them is the majority
        return dict(rows)
    group = np.unique([question.group for question in questions], return_inverse=True)[1]
    found = {}
    for images, texts in answers.items():
        equal = np.array([a == b for a, b in zip(texts, answers["right"])], np.float32)
        found[images] = rows[images] | estimates({"same": _MEAN}, {"gqa": equal[None]}, np.ones(len(equal)), group)
    return found


def majority(questions: Sequence[VisualQuestion]) -> list[str]:
    """The most frequent answer of all, for each question: a baseline that knows the answers but not the questions."""
    most = Counter(answer for question in questions for answer in question.answers).most_common(1)[0][0]
    return [most] * len(questions)
