"""Open questions of MMMU by the rules of its official evaluation (Yue et al., 2024), which lmms-eval uses too."""

import re
from collections.abc import Sequence

__all__ = ["named_reference"]

_NUMBERS = (
    re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b"),  # 1,000
    re.compile(r"-?\d+(?:\.\d+)?[eE][+-]?\d+"),
    re.compile(r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])"),
)
_BEFORE_AN_ANSWER = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")


def named_reference(answer: str, references: Sequence[str]) -> str | None:
    """The first reference that a free answer to an open question gives, None without one.

    The lines of an answer are cut to what follows words such as "is" or "answer", or "=" in the last one. A number equals one
    of the answer, rounded to two decimals; another text is a part of the answer in lower case.
    """
    given = {form for part in _parts(answer) for text in (part, *_numbers(part)) for form in _forms(text)}
    texts = [form for form in given if isinstance(form, str)]
    for reference in references:
        for form in _forms(reference):
            if any(form in text for text in texts) if isinstance(form, str) else form in given:
                return reference
    return None


def _parts(answer: str) -> list[str]:
    """The shortest end of each line after a word that announces an answer; the whole answer if there is none."""
    answer = answer.strip().strip(".").lower()
    lines, found = answer.split("\n"), []
    for number, line in enumerate(lines, 1):
        shortest = ""
        for word in (*_BEFORE_AN_ANSWER, *(("=",) if number == len(lines) else ())):
            end = line.rsplit(word, 1)[-1].strip()
            if word in line and (not shortest or len(end) < len(shortest)):
                shortest = end
        if shortest and shortest not in ":,.!?;'":
            found.append(shortest)
    return found or [answer]


def _numbers(text: str) -> list[str]:
    return [number for form in _NUMBERS for number in form.findall(text)]


def _forms(text: str) -> list[str | float]:
    """A number to two decimals, or the text in lower case; one character with a space before or after it."""
    text = text.strip()
    try:
        return [round(float(text.replace(",", "")), 2)]
    except ValueError:
        text = text.lower()
        return [f" {text}", f"{text} "] if len(text) == 1 else [text]
