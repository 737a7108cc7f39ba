"""`python -m mmjax.questions WEIGHTS pope FILE --images DIR`: answers public questions about images, and scores them.

Prompts and scores equal those of lmms-eval's functions (`mmjax.metrics.answers`), and intervals are clustered by
image. Answers are written to a file as they come, so that a stopped run continues. The table has the baselines: the same
questions without images and with wrong ones, and the most frequent answer.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from mmjax.data.decode import DataError, open_image
from mmjax.data.formats.visual_questions import VisualQuestion, rotations
from mmjax.evaluate.statistics.estimates import Estimate, finite
from mmjax.question_scores import ALL, majority, scored, with_same
from mmjax.question_sets import COMPARED_WITH, SETS, QuestionSet, parts_of

__all__ = ["SHOWN", "answered", "circular", "first_groups", "main", "shown_images"]

SHOWN = ("right", "none", "wrong")


def shown_images(questions: Sequence[VisualQuestion], shown: str) -> list[tuple[Any, ...]]:
    """The images of each question: its own ("right"), "none", or the next other ones ("wrong").

    Raises DataError if all questions have the same images, so that there are no wrong ones.
    """
    if shown == "none":
        return [() for _ in questions]
    if shown == "right":
        return [question.images for question in questions]
    different = list(dict.fromkeys(question.images for question in questions))
    if len(different) < 2:
        raise DataError("all questions are about the same image: raise --limit, or leave out wrong ones by --shown right none")
    following = dict(zip(different, [*different[1:], different[0]]))
    return [following[question.images] for question in questions]


def first_groups(questions: Sequence[VisualQuestion], count: int | None) -> list[VisualQuestion]:
    """The first `count` questions and the others of their groups; None for all."""
    groups = {question.group for question in questions[:count]}
    return [question for question in questions if question.group in groups]


def circular(name: str, questions: Sequence[VisualQuestion]) -> tuple[list[VisualQuestion], QuestionSet]:
    """(all `rotations` of the questions, their set, in which an answer is right together with the others of its group).

    name: of `SETS`; MMBench's questions come rotated. Raises DataError if the set has no multiple choice.
    """
    if not any(question.options for question in questions):
        raise DataError(f"--circular is for questions with options, and {name} has none")
    if SETS[name].together:
        return list(questions), SETS[name]
    return [turned for question in questions for turned in rotations(question)], replace(SETS[name], together=True)


def answered(
    questions: Sequence[VisualQuestion],
    set_: QuestionSet,
    shown: str,
    answer: Callable[[list[dict[str, Any]]], list[str]],
    file: Path,
    batch: int = 8,
    metadata: Mapping[str, Any] = MappingProxyType({}),
    report: Callable[[int], None] = lambda done: None,
) -> list[str]:
    """The answers, from the file as far as it has them.

    answer: a batch of {"text", "images"} -> texts. file: JSON lines with "id", "prompt", "images", "answer" and `metadata`,
    such as the name of the weights; appended to. report: called with the number of answers so far. Raises DataError if the file
    has other questions, images or metadata.
    """
    prompts = [set_.prompt(question) for question in questions]
    images = shown_images(questions, shown)
    entries = [
        {"id": question.id, "prompt": prompt, "images": [_name(image) for image in own], **metadata}
        for question, prompt, own in zip(questions, prompts, images)
    ]
    found = _previous(file, entries)
    with file.open("a") as lines:
        for start in range(len(found), len(questions), batch):
            rows = range(start, min(start + batch, len(questions)))
            texts = answer([{"text": prompts[row], "images": [_opened(image) for image in images[row]]} for row in rows])
            for row, text in zip(rows, texts, strict=True):
                lines.write(json.dumps(entries[row] | {"answer": text}) + "\n")
            lines.flush()
            found += texts
            report(len(found))
    return found


def _name(image: Path | bytes) -> str:
    """What identifies an image in the file of answers."""
    return image.name if isinstance(image, Path) else hashlib.sha256(image).hexdigest()[:16]


def _opened(image: Path | bytes) -> Any:
    content, name = (image, "an image") if isinstance(image, bytes) else (image.read_bytes(), str(image))
    return open_image(content, name)


def _previous(file: Path, expected: Sequence[Mapping[str, Any]]) -> list[str]:
    """The answers in the file, without an incomplete last line, which is removed. expected: the other fields of each line."""
    if not file.is_file():
        return []
    lines, found = file.read_text().splitlines(keepends=True), []
    for number, line in enumerate(lines):
        try:
            entry = json.loads(line)
            text = entry.pop("answer")
        except (ValueError, KeyError, AttributeError):
            entry, text = None, None
        if number == len(expected):  # answers to more questions than are asked now
            break
        if number == len(lines) - 1 and (entry is None or not line.endswith("\n")):
            file.write_text("".join(lines[:-1]))
        elif entry != expected[number] or not isinstance(text, str):
            raise DataError(f"{file}: line {number + 1} does not answer the question in this place; choose another --out")
        else:
            found.append(text)
    return found


def _answerer(weights: Any, max_tokens: int, batch: int) -> Callable[[list[dict[str, Any]]], list[str]]:
    """A batch of questions -> answers; lengths of texts are rounded up, so that fewer programs are compiled.

    Raises DataError if the weights came without a tokenizer.
    """
    from mmjax.pretrained.answering import answer_ids, interleaved
    from mmjax.pretrained.paligemma import PrefixText

    if weights.preprocessing.texts is None:
        raise DataError("the weights came without tokenizer.json, so they cannot answer questions")
    run, library = answer_ids(weights, max_tokens), weights.preprocessing.texts.library
    one_line = isinstance(weights.preprocessing.compose, PrefixText)
    positions = weights.module.decoders["text"].model.positions

    def answer(rows: list[dict[str, Any]]) -> list[str]:
        texts = [row["text"].replace("\n", " ") if one_line else row["text"] for row in rows]
        examples = [interleaved(weights, parts_of(text, row["images"])) for text, row in zip(texts, rows)]
        prompts = weights.preprocessing.batch([*examples, *[examples[-1]] * (batch - len(examples))])
        length = prompts.ids.x.shape[1]
        missing = max(0, min(-length % 32, positions - max_tokens - length))
        x = np.pad(np.asarray(prompts.ids.x), ((0, 0), (0, missing)))
        found = run(prompts._replace(ids=prompts.ids.replace(x=x)))
        return [library.decode(ids[:length].tolist()).strip() for ids, length, _ in zip(found.x, found.length, rows)]

    return answer


def main(arguments: Iterable[str] | None = None) -> None:
    """Reads the command line, prints a table. Exits with one line for an error."""
    parser = argparse.ArgumentParser(
        prog="python -m mmjax.questions", description="Answers public questions about images, and scores them."
    )
    parser.add_argument("weights", help="of a vision-language model: a folder, or owner/model of a hub")
    kinds = "; ".join(f"{name} {' '.join(of.files)}" for name, of in SETS.items())
    parser.add_argument("set", choices=SETS, help=f"with its files: {kinds}")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--images", type=Path, metavar="DIR", help="the folder of the images, if they are apart")
    shown = "images that the model sees: those of the questions, none, or those of others (default: all three, in three times "
    shown += "the time of one; right alone leaves these baselines out, and a later run adds them)"
    parser.add_argument("--shown", nargs="+", choices=SHOWN, default=SHOWN, help=shown)
    turns = "ask each question once for each rotation of its options, as MMBench always does, in as many times the time"
    parser.add_argument("--circular", action="store_true", help=turns)
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N questions, and the others about their images")
    parser.add_argument("--batch", type=int, default=8, help="questions at once (default: %(default)s)")
    parser.add_argument("--max-tokens", type=int, default=16, help="of an answer (default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="of answers and scores (default: runs/SET, or SET_circular)")
    given = parser.parse_args(None if arguments is None else list(arguments))
    from mmjax.pretrained import WeightsError

    try:
        _run(given)
    except (DataError, WeightsError, ImportError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")


def _run(given: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.progress import Progress

    from mmjax.pretrained import load
    from mmjax.pretrained.image_prompts import ImagePrompts

    set_, out = SETS[given.set], given.out or Path("runs") / f"{given.set}{'_circular' * given.circular}"
    if len(given.files) != len(set_.files) and not set_.files[0].endswith("..."):
        raise DataError(f"{given.set} takes {len(set_.files)} files: {' '.join(set_.files)}")
    if min(given.batch, given.max_tokens, 1 if given.limit is None else given.limit) < 1:
        raise DataError("--batch, --max-tokens and --limit must be at least 1")
    questions = first_groups(set_.load(given.files, given.images or given.files[0].parent), given.limit)
    if given.circular:
        questions, set_ = circular(given.set, questions)
    for shown in given.shown:
        shown_images(questions, shown)  # an error comes before hours of answers
    weights = load(given.weights)
    if not isinstance(weights.preprocessing, ImagePrompts):
        raise DataError(f"{given.weights} is no vision-language model, but a {type(weights.module).__name__}")
    out.mkdir(parents=True, exist_ok=True)
    metadata = {"weights": given.weights, "max_tokens": given.max_tokens}
    answer, said = _answerer(weights, given.max_tokens, given.batch), {}
    for shown in dict.fromkeys(given.shown):
        with Progress(console=Console(stderr=True)) as bars:
            bar = bars.add_task(f"{given.set}, images: {shown}", total=len(questions))
            update = lambda done, bar=bar, bars=bars: bars.update(bar, completed=done)
            said[shown] = answered(questions, set_, shown, answer, out / f"{shown}.jsonl", given.batch, metadata, update)
    said["majority"] = majority(questions)
    scores = {shown: scored(questions, set_, texts) for shown, texts in said.items()}
    rows = with_same(questions, {shown: of[ALL] for shown, of in scores.items()}, said)
    kinds = {shown: {name: of for name, of in found.items() if name != ALL} for shown, found in scores.items()}
    (out / "scores.json").write_text(json.dumps(_summary(given, set_, questions, rows, kinds), indent=1))
    console, first = Console(width=None if sys.stdout.isatty() else 128), next(iter(said))
    groups = len({question.group for question in questions})
    title = f"{given.set}: {len(questions):,} questions about {groups:,} images, mean [95 % interval over images]"
    console.print(_table("images", rows, title))
    if kinds[first]:
        console.print(_table("category", kinds[first], f"images: {first}"))


def _summary(
    given: argparse.Namespace,
    set_: QuestionSet,
    questions: Sequence[VisualQuestion],
    rows: Mapping[str, Mapping[str, Estimate]],
    kinds: Mapping[str, Mapping[str, Mapping[str, Estimate]]],
) -> dict[str, Any]:
    """What the scores depend on, and the scores. Prompts and scorers are those of this version of mmjax, and equal those of the
    named versions of lmms-eval and VLMEvalKit. kinds: {images: {category: scores}}."""
    import mmjax

    content = json.dumps([[q.id, set_.prompt(q), q.answers] for q in questions]).encode()
    values = lambda of: {name: [finite(x) for x in (e.mean, e.low, e.high)] for name, e in of.items()}
    version = lambda program: f"{program} {COMPARED_WITH[program]}"
    return {
        "weights": given.weights, "set": given.set, "files": [file.name for file in given.files],
        "sha256 of prompts and answers": hashlib.sha256(content).hexdigest(), "questions": len(questions),
        "max_tokens": given.max_tokens, "circular": given.circular,
        "prompt": set_.prompt(questions[0]), "mmjax": mmjax.__version__,
        "prompts as in": version("lmms_eval"), "scorer": list(set_.scores), "scorer as in": version(set_.rules),
        "scores": {shown: values(found) for shown, found in rows.items()},
        "categories": {shown: {name: values(of) for name, of in found.items()} for shown, found in kinds.items()},
    }  # fmt: skip


def _table(first: str, rows: Mapping[str, Mapping[str, Estimate]], title: str) -> Any:
    from rich.table import Table

    table = Table(first, *next(iter(rows.values())), title=title)
    for name, found in rows.items():
        table.add_row(name, *map(_cell, found.values()))
    return table


def _cell(e: Estimate) -> str:
    """With three decimals, one if the score may exceed 1; without an interval if there is none."""
    digits = 3 if e.metric.bounds == (0.0, 1.0) else 1
    interval = f" [{e.low:.{digits}f}, {e.high:.{digits}f}]" if np.isfinite(e.low) else ""
    return f"{e.mean:.{digits}f}{interval}"


if __name__ == "__main__":
    main()
