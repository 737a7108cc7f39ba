"""Rule-based scores of short answers to questions about images, as the data sets' authors and lmms-eval define them.

An answer is compared with the reference answers of its question. VQA accuracy (Antol et al., 2015; Goyal et al., 2017), ANLS
(Biten et al., 2019, "Scene text visual question answering", equation 1), relaxed accuracy of numbers (Masry et al., 2022,
"ChartQA", section 5.1), and questions with the answers yes and no as POPE counts them (Li et al., 2023, "Evaluating object
hallucination in large vision-language models").
"""

import re
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Array, Float

from mmjax.metrics.edits import edits
from mmjax.metrics.text import TextMetric
from mmjax.metrics.texts import check_texts
from mmjax.metrics.weighted import mean, ratio, total
from mmjax.types import Metric, Outcomes

__all__ = [
    "ANSWER_METRICS", "MARKS", "AnswerScore", "AnswerScores", "YesNo", "YesNoScore", "anls", "chosen_letter", "exact_yes_no",
    "first_letter", "gqa_match", "leave_one_out", "relaxed_match", "textvqa_accuracy", "textvqa_normal", "vqa_accuracy",
    "vqa_normal", "without_articles", "yes_no", "yes_no_accuracy", "yes_no_precision",
]  # fmt: skip

_NUMBERS = dict(zip("none zero one two three four five six seven eight nine ten".split(), (0, *range(11))))
_ARTICLES = {"a", "an", "the"}
MARKS = ';/[]"{}()=+\\_-><@`,?!'
_COMMA = re.compile(r"\d,+\d")
_PERIOD = re.compile(r"\.(?!\d)")
# Words that get their apostrophe back; of several, one may be missing.
_CONTRACTIONS = (
    "ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've "
    "he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't not've "
    "o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's "
    "someone'd someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've "
    "there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's "
    "what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've "
    "wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've"
)


@cache
def _contractions() -> dict[str, str]:
    """{a contraction without one of its apostrophes: the contraction}, and an oddity of the official table."""
    found = {"somebody'd": "somebodyd"}
    for word in _CONTRACTIONS.split():
        for at in (at for at, character in enumerate(word) if character == "'"):
            found[word[:at] + word[at + 1 :]] = word
    return found


def _without_punctuation(text: str) -> str:
    """Marks beside a space, and all marks of a text with a number such as 1,000, are removed; others become spaces."""
    found = text
    for mark in MARKS:
        removed = f"{mark} " in text or f" {mark}" in text or _COMMA.search(text) is not None
        found = found.replace(mark, "" if removed else " ")
    return _PERIOD.sub("", found, count=int(re.UNICODE))  # the official code passes the flag as the count: 32 periods


def vqa_normal(text: str) -> str:
    """The normal form of VQA v2's official evaluation: number words as digits; no articles, no marks; contractions."""
    return without_articles(_without_punctuation(text.replace("\n", " ").replace("\t", " ").strip()))


def without_articles(text: str) -> str:
    """The text in lower case, with single spaces: number words as digits, no articles, and apostrophes in contractions."""
    words = [str(_NUMBERS.get(word, word)) for word in text.lower().split()]
    return " ".join(_contractions().get(word, word) for word in words if word not in _ARTICLES)


def textvqa_normal(text: str) -> str:
    """The normal form of EvalAI's evaluation of TextVQA: as `vqa_normal`, but commas and question marks are removed first and
    "'s" is a word."""
    return vqa_normal(text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip())


def leave_one_out(answer: str, references: Sequence[str]) -> float:
    """The mean over people of min(1, others who gave this answer / 3)."""
    same = [reference == answer for reference in references]
    return float(np.mean([min(1.0, (sum(same) - own) / 3) for own in same]))


def vqa_accuracy(answer: str, references: Sequence[str]) -> float:
    """min(1, people who gave this answer / 3), over all choices of all but one of the people (usually ten), in the form
    `vqa_normal`."""
    return leave_one_out(vqa_normal(answer), [vqa_normal(reference) for reference in references])


def textvqa_accuracy(answer: str, references: Sequence[str]) -> float:
    """`vqa_accuracy` in the form `textvqa_normal`."""
    return leave_one_out(textvqa_normal(answer), [textvqa_normal(reference) for reference in references])


def anls(answer: str, references: Sequence[str]) -> float:
    """1 - the lowest edit distance to a reference, relative to the longer text, in lower case with single spaces; 0 if below
    0.5. Lengths are those of the texts as they are, as in lmms-eval."""
    normal = lambda text: " ".join(text.strip().lower().split())
    distances = []
    for reference in references:
        length = max(len(reference.upper()), len(answer.upper()))
        distances.append(sum(edits(normal(answer), normal(reference))) / length if length else 0.0)
    similarity = 1 - min(distances)
    return similarity if similarity >= 0.5 else 0.0


def _number(text: str) -> float | None:
    try:
        return float(text.rstrip("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None


def relaxed_match(answer: str, references: Sequence[str]) -> float:
    """1 if a number differs by at most 5 % from a reference that is a number, or another text equals it in lower case."""

    def matches(reference: str) -> bool:
        own, wanted = _number(answer), _number(reference)
        if own is not None and wanted:
            return abs(own - wanted) / abs(wanted) <= 0.05
        return answer.lower() == reference.lower()

    return float(any(map(matches, references)))


def gqa_match(answer: str, references: Sequence[str]) -> float:
    """1 if the answer equals a reference in lower case and without ASCII punctuation, as lmms-eval scores GQA."""
    normal = lambda text: text.lower().translate(str.maketrans("", "", string.punctuation))
    return float(normal(answer) in map(normal, references))


def first_letter(answer: str, references: Sequence[str]) -> float:
    """1 if the answer is the letter of the right choice, or begins with it and a period ("B. Frogs"), as in ScienceQA."""
    answer, letters = answer.strip(), {reference.strip().lower() for reference in references}
    begins = len(answer) >= 2 and answer[0].isupper() and answer[1] == "."
    return float(answer.lower() in letters or (begins and answer[0].lower() in letters))


def chosen_letter(answer: str, options: Sequence[str]) -> str | None:
    """The letter that a free answer to a multiple-choice question gives, by the rules of MMMU's official evaluation; None if
    there is none, where the official code draws one at random.

    Letters in parentheses count before letters before a space or a period; if there are none, the options' texts in answers of
    more than five words. Of several, the last one in the answer counts.
    """
    for mark in ",.!?;:'":
        answer = answer.strip(mark)
    answer, low = f" {answer} ", f" {answer} ".lower()
    letters = [chr(ord("A") + number) for number in range(len(options))]
    in_brackets = [letter for letter in letters if f"({letter})" in answer]
    if in_brackets:
        return max(in_brackets, key=lambda letter: answer.rfind(f"({letter})"))
    for end in (" ", "."):
        found = [letter for letter in letters if f"{letter}{end}" in answer]
        if found:  # where several end a word, the official code finds none of them, and takes the first
            return max(found, key=lambda letter: answer.rfind(f" {letter} "))
    if len(answer.split()) > 5:
        places = {letter: low.rfind(option.lower()) for letter, option in zip(letters, options) if option.lower() in low}
        if places:
            return max(places, key=places.get)
    return None


def yes_no(answer: str) -> str:
    """ "yes", "no" or "other", as MME reads an answer: the word itself, its first letter alone, or "yes" or "no" among the
    first four characters."""
    answer = answer.lower().strip().replace(".", "")
    if len(answer) == 1:
        return {"y": "yes", "n": "no"}.get(answer, "other")
    return next((word for word in ("yes", "no") if word in answer[:4]), "other")


@dataclass(frozen=True)
class AnswerScores:
    """`metrics.text.TextStatistics`: {name: Float32[u]}, the score of each answer. score: (answer, references) -> 0..1."""

    name: str
    score: Callable[[str, Sequence[str]], float]

    def __call__(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Outcomes:
        check_texts(hypotheses, references)
        return {self.name: np.array([self.score(*pair) for pair in zip(hypotheses, references)], np.float32)}


@dataclass(frozen=True)
class AnswerScore:
    """The mean of `AnswerScores` with this name; NaN if all weights are 0."""

    name: str

    def __call__(self, outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
        return mean(outcomes[self.name], weight)


def exact_yes_no(answer: str) -> str:
    """ "yes" or "no" if the answer is this word, in any case, else "other", as lmms-eval reads the answers to POPE."""
    answer = answer.lower().strip()
    return answer if answer in ("yes", "no") else "other"


@dataclass(frozen=True)
class YesNo:
    """`metrics.text.TextStatistics`: {"NAME_right", "NAME_yes", "NAME_no", "NAME_is_yes": Bool[u]}, whether the answer is
    right, whether it is yes or no, and whether yes is right. If the first reference is neither, no answer is right.

    name: the prefix of the outcomes' names. read: answer -> "yes", "no" or another text.
    """

    name: str
    read: Callable[[str], str]

    def __call__(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Outcomes:
        check_texts(hypotheses, references)
        given, wanted = [self.read(text) for text in hypotheses], [self.read(of_unit[0]) for of_unit in references]
        columns = {
            "right": [a == b and b in ("yes", "no") for a, b in zip(given, wanted)],
            "yes": [a == "yes" for a in given],
            "no": [a == "no" for a in given],
            "is_yes": [b == "yes" for b in wanted],
        }
        return {f"{self.name}_{name}": np.array(of, bool) for name, of in columns.items()}


@dataclass(frozen=True)
class YesNoScore:
    """A metric of the outcomes of `YesNo`, from (right, yes, no, is_yes) and weights. name: the prefix."""

    name: str
    value: Callable[..., Array]

    def __call__(self, outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
        return self.value(*(outcomes[f"{self.name}_{name}"] for name in ("right", "yes", "no", "is_yes")), weight)


def yes_no_accuracy(right: Any, yes: Any, no: Any, is_yes: Any, weight: Array) -> Array:
    """The share of right answers; a value of `YesNoScore`."""
    return mean(right, weight)


def yes_no_precision(right: Any, yes: Any, no: Any, is_yes: Any, weight: Array) -> Array:
    """Of the answers yes, the share that are right; a value of `YesNoScore`."""
    return ratio(total(yes & is_yes, weight), total(yes, weight))


def _recall(right: Any, yes: Any, no: Any, is_yes: Any, weight: Array) -> Array:
    """Of the answers that are yes or no, as in lmms-eval."""
    return ratio(total(yes & is_yes, weight), total((yes | no) & is_yes, weight))


def _f1(*given: Any) -> Array:
    precision, recall = yes_no_precision(*given), _recall(*given)
    return ratio(2 * precision * recall, precision + recall)


def _yes_rate(right: Any, yes: Any, no: Any, is_yes: Any, weight: Array) -> Array:
    """POPE's yes ratio. (lmms-eval's function of this name counts the references instead.)"""
    return mean(yes, weight)


_OF_ONE = {
    "vqa": vqa_accuracy,
    "textvqa": textvqa_accuracy,
    "anls": anls,
    "relaxed": relaxed_match,
    "gqa": gqa_match,
    "first_letter": first_letter,
}
_OF_ALL = {
    "pope": yes_no_accuracy, "pope_precision": yes_no_precision, "pope_recall": _recall, "pope_f1": _f1,
    "pope_yes_rate": _yes_rate,
}  # fmt: skip
ANSWER_METRICS: Mapping[str, TextMetric] = MappingProxyType(
    {name: TextMetric(AnswerScores(name, score), Metric(AnswerScore(name))) for name, score in _OF_ONE.items()}
    | {name: TextMetric(YesNo("pope", exact_yes_no), Metric(YesNoScore("pope", value))) for name, value in _OF_ALL.items()}
    | {"mme": TextMetric(YesNo("mme", yes_no), Metric(YesNoScore("mme", yes_no_accuracy)))}
)
"""{name: metric} of answers, all in 0..1; beside `TEXT_METRICS`."""
