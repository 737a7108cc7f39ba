"""Multiple-choice questions from JSONL files, as tasks of lm-evaluation-harness have them, for `tasks.Choose`."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmjax.data.byte_level import ByteLevel
from mmjax.data.dataset import Column, Dataset, Rows, identity
from mmjax.data.decode import DataError
from mmjax.data.documents import nothing, parse_nothing
from mmjax.data.text import TokenizerTrainer
from mmjax.types import Declared

__all__ = ["SPLITS", "Question", "QuestionFiles", "choice_ids", "read_questions"]

SPLITS = ("train", "validation", "test")


class Question(NamedTuple):
    """context: the text before a choice, without white space at its end. choices: at least two. answer: the right one."""

    context: str
    choices: tuple[str, ...]
    answer: int


@dataclass(frozen=True)
class QuestionFiles:
    """Questions with choices as the data of a language model. A row is a question with one of its choices.

    Targets of a row: "text", the token ids of question and choice, and "choice", the same ids with -1 at those of the question.
    After the rows with the question come rows with the choices alone ("given" is 0). There is no end token, as in
    lm-evaluation-harness. Training weights are 1 for right choices with their question, else 0. Metadata: "question" (str),
    "option" (str), "number" (of the choice), "given" and "answer" (the number of the right choice). Equal questions are one
    group.

    train, validation, test: JSONL files, an object per line. prompt: the text before a choice, with names of fields in braces.
    choices: the field of the choices, a list of strings, or {"text": list, "label": list} as in ARC. answer: the field of the
    right choice: its number from 0, its text or its label. delimiter: between question and choice. tokenizer: trained on the
    right training texts. tokens: the longest row. Raises DataError, naming file and line.
    """

    train: Path
    validation: Path
    test: Path
    prompt: str = "Question: {question}\nAnswer:"
    choices: str = "choices"
    answer: str = "answer"
    delimiter: str = " "
    tokenizer: Declared[TokenizerTrainer] = ByteLevel()
    tokens: int = 256

    def load(self) -> Dataset:
        read = {split: read_questions(Path(getattr(self, split)), self.prompt, self.choices, self.answer) for split in SPLITS}
        right = [f"{of.context}{self.delimiter}{of.choices[of.answer]}" for of in read["train"]]
        tokenizer = self.tokenizer.train(right)
        groups: dict[str, int] = {}
        splits, metadata, count = {}, {}, 0
        sha = hashlib.sha256(f"{tokenizer.library.to_str()} {self.tokens}".encode())
        for split, questions in read.items():
            rows, metadata[split] = self._rows(split, questions, tokenizer, groups, count)
            splits[split], count = rows, count + len(rows)
            for values in (*rows.targets.values(), metadata[split]["answer"]):
                sha.update(values.tobytes())
        known = metadata["train"]
        return Dataset(
            columns={"text": Column(count, nothing, identity, parse=parse_nothing)},
            splits=splits,
            metadata=metadata,
            fingerprint=sha.hexdigest(),
            sizes={"text": {"vocabulary": tokenizer.vocabulary, "length": self.tokens}},
            tokenizers={"text": tokenizer},
            source=f"{Path(self.test).name} (questions)",
            training_weight=((known["given"] == 1) & (known["number"] == known["answer"])).astype(np.float32),
        )

    def _rows(
        self, split: str, questions: list[Question], tokenizer: Any, groups: dict[str, int], first: int
    ) -> tuple[Rows, dict[str, np.ndarray]]:
        """The rows of a split and their metadata. groups: {context: group} so far. first: the number of their first input."""
        entries = [(n, k, given) for n, of in enumerate(questions) for given in (1, 0) for k in range(len(of.choices))]
        text, choice = np.full((2, len(entries), self.tokens), -1, np.int32)
        for row, (n, k, given) in enumerate(entries):
            before = f"{questions[n].context}{self.delimiter}" if given else ""
            start, ids = choice_ids(tokenizer, before, questions[n].choices[k])
            if len(ids) > self.tokens:
                where = f"{getattr(self, split)}, question {n + 1}"
                raise DataError(f"{where}: with a choice it has {len(ids)} tokens, but QuestionFiles.tokens is {self.tokens}")
            text[row, : len(ids)], choice[row, start : len(ids)] = ids, ids[start:]
        number, option, given = np.array(entries).T
        metadata = {
            "id": np.array([f"{split}/{n}/{k}/{given}" for n, k, given in entries]),
            "group": np.array([groups.setdefault(questions[n].context, len(groups)) for n in number]),
            "question": np.array([questions[n].context for n in number]),
            "option": np.array([questions[n].choices[k] for n, k in zip(number, option)]),
            "number": option,
            "given": given,
            "answer": np.array([questions[n].answer for n in number]),
            "text": np.array([tokenizer.text(ids[ids >= 0]) for ids in text]),
        }
        pointer = {"text": np.arange(first, first + len(entries), dtype=np.int32)}
        return Rows(pointer, {"text": text, "choice": choice}, np.ones(len(entries), np.float32)), metadata


def choice_ids(tokenizer: Any, before: str, choice: str) -> tuple[int, list[int]]:
    """(the number of ids of the question, the ids of question and choice).

    White space at the end of `before` belongs to the choice, and the choice has what the ids of the whole text have beyond the
    number of ids of the question, as in lm-evaluation-harness (`TemplateLM._encode_pair`).
    """
    context = before.rstrip()
    whole = tokenizer.ids(before + choice)
    start = min(len(tokenizer.ids(context)) if context else 0, len(whole) - 1)
    return start, whole


def read_questions(file: Path, prompt: str, choices: str, answer: str) -> list[Question]:
    """The questions of a JSONL file. Raises DataError, naming the line and the field."""
    try:
        lines = [(number, line) for number, line in enumerate(file.read_text().splitlines(), 1) if line.strip()]
    except (OSError, UnicodeError) as error:
        raise DataError(f"{file}: cannot be read as UTF-8 text ({error})") from None
    found = [_question(f"{file}, line {number}", line, prompt, choices, answer) for number, line in lines]
    if not found:
        raise DataError(f"{file}: it has no questions; give a JSON object per line")
    return found


def _question(where: str, line: str, prompt: str, choices: str, answer: str) -> Question:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        raise DataError(f"{where}: it is not JSON; give an object per line") from None
    if not isinstance(fields, dict):
        raise DataError(f"{where}: it is {type(fields).__name__}; give an object")
    for field in (choices, answer):
        if field not in fields:
            raise DataError(f"{where}: there is no field {field!r}; the fields are {', '.join(map(repr, fields))}")
    given, labels = fields[choices], None
    if isinstance(given, Mapping):
        given, labels = given.get("text"), given.get("label")
    if not isinstance(given, list) or len(given) < 2 or not all(isinstance(one, str) and one for one in given):
        raise DataError(f"{where}: {choices!r} must be a list of at least two texts")
    names = prompt.replace("{", "\0{").split("\0")
    context = "".join(_filled(where, name, fields) for name in names)
    return Question(context.rstrip(), tuple(given), _answer(where, answer, fields[answer], given, labels))


def _filled(where: str, piece: str, fields: Mapping[str, Any]) -> str:
    """A piece of the prompt, "{name} and text after it", with the value of the field."""
    if not piece.startswith("{"):
        return piece
    name, closed, after = piece[1:].partition("}")
    if not closed or name not in fields:
        raise DataError(f"{where}: the prompt names {name!r}; the fields are {', '.join(map(repr, fields))}")
    return f"{fields[name]}{after}"


def _answer(where: str, field: str, answer: Any, choices: list[str], labels: Any) -> int:
    """The number of the right choice."""
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(choices):
        return answer
    for names in (labels, choices):
        if isinstance(names, list) and names.count(answer) == 1 and names.index(answer) < len(choices):
            return names.index(answer)
    raise DataError(f"{where}: {field!r} is {answer!r}; it must be a number from 0 to {len(choices) - 1}, a choice or a label")
