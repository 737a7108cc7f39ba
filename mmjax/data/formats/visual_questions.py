"""Questions about images as their data sets publish them: VQA v2, GQA, TextVQA, DocVQA, ScienceQA, MMMU, MMBench, POPE and MME.

Each reader takes local files and returns a list of `VisualQuestion`. Images are not opened. Raises DataError, naming the file
and the entry, for files of another form, and for images that are not there.
"""

import ast
import base64
import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mmjax.data.decode import DataError, decode_text
from mmjax.data.formats import json_files
from mmjax.data.formats.json_files import read_json

__all__ = [
    "LETTERS", "VisualQuestion", "doc_vqa", "gqa", "mm_bench", "mme", "mmmu", "pope", "rotations", "science_qa",
    "text_vqa", "vqa_v2",
]  # fmt: skip

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class VisualQuestion:
    """id: of the question. images: files or bytes, in the order of the text. text: the question. answers: all reference
    answers, repetitions included; a letter if there are options. group: questions of one group are not independent: the image.
    category: as published, "" without. options: of a multiple-choice question, first A. hint: a text before the question.
    """

    id: str
    images: tuple[Path | bytes, ...] = field(repr=False)
    text: str
    answers: tuple[str, ...]
    group: str
    category: str = ""
    options: tuple[str, ...] = ()
    hint: str = ""


def rotations(question: VisualQuestion) -> list[VisualQuestion]:
    """The question once for each rotation of its options ("circular evaluation", Liu et al., 2024), under ids such as "7/1"; as
    it is without options. The right letter moves with its option, and so do images that have places in options."""
    options, right = question.options, LETTERS.find(question.answers[0])
    return [
        replace(question, id=f"{question.id}/{turn}", options=options[turn:] + options[:turn],
                answers=(LETTERS[(right - turn) % len(options)],))
        for turn in range(len(options))
    ] or [question]  # fmt: skip


def vqa_v2(questions: Path, annotations: Path, images: Path) -> list[VisualQuestion]:
    """VQA v2 (Goyal et al., 2017): v2_OpenEnded_mscoco_val2014_questions.json, v2_mscoco_val2014_annotations.json, and the
    folder of COCO's images."""
    notes = {note.name("question_id"): note for note in _entries(annotations, "annotations")}
    found = []
    for entry in _entries(questions, "questions"):
        name = entry.name("question_id")
        if name not in notes:
            raise DataError(f"{annotations}: there is no annotation of question_id {name}, which {questions.name} has")
        note = notes[name]
        answers = tuple(_Entry(one, annotations, f"question_id {name}").text("answer") for one in note.list("answers"))
        image, kind = (_coco_image(images, entry),), str(note.value.get("answer_type", ""))
        found.append(VisualQuestion(name, image, entry.text("question"), answers, entry.name("image_id"), kind))
    return _some(found, questions)


def gqa(questions: Path, images: Path) -> list[VisualQuestion]:
    """GQA (Hudson and Manning, 2019): such as testdev_balanced_questions.json, and the folder of the images."""
    found = []
    for name, entry in _named(questions):
        image, answers = entry.name("imageId"), (entry.text("answer"),)
        kinds = entry.value.get("types")
        kind = str(kinds.get("structural", "")) if isinstance(kinds, dict) else ""
        file = entry.image(images / f"{image}.jpg")
        found.append(VisualQuestion(name, (file,), entry.text("question"), answers, image, kind))
    return _some(found, questions)


def text_vqa(questions: Path, images: Path) -> list[VisualQuestion]:
    """TextVQA (Singh et al., 2019): TextVQA_0.5.1_val.json, and the folder of the images."""
    found = []
    for entry in _entries(questions, "data"):
        image, name = entry.name("image_id"), entry.name("question_id")
        file = entry.image(images / f"{image}.jpg")
        found.append(VisualQuestion(name, (file,), entry.text("question"), entry.texts("answers"), image))
    return _some(found, questions)


def doc_vqa(questions: Path, root: Path) -> list[VisualQuestion]:
    """DocVQA (Mathew et al., 2021): val_v1.0_withQT.json, and the folder that its names of images are relative to."""
    found = []
    for entry in _entries(questions, "data"):
        image, kinds = entry.text("image"), entry.value.get("question_types")
        kind = ", ".join(map(str, kinds)) if isinstance(kinds, list) else ""
        file, name = entry.image(root / image), entry.name("questionId")
        found.append(VisualQuestion(name, (file,), entry.text("question"), entry.texts("answers"), image, kind))
    return _some(found, questions)


def science_qa(problems: Path, images: Path, split: str = "test", with_images: bool = True) -> list[VisualQuestion]:
    """ScienceQA (Lu et al., 2022): problems.json, and the folder with SPLIT/ID/image.png. with_images: only questions that have
    one (its subset IMG)."""
    found = []
    for name, entry in _named(problems):
        image = entry.get("image")
        if entry.get("split") != split or (with_images and not image):
            continue
        options = entry.texts("choices")
        answer = entry.letter(entry.get("answer"), options)
        files = (entry.image(images / split / name / str(image)),) if image else ()
        subject, hint = str(entry.value.get("subject", "")), str(entry.value.get("hint") or "")
        found.append(VisualQuestion(name, files, entry.text("question"), (answer,), name, subject, options, hint))
    return _some(found, problems, f" of the split {split!r}")


def mmmu(files: Sequence[Path]) -> list[VisualQuestion]:
    """MMMU (Yue et al., 2024): Parquet files of its subjects, such as Art/validation-00000-of-00001.parquet. Open questions
    have no options. "<image 1>" in the text stands for the first image. Needs pyarrow."""
    try:
        from pyarrow import ArrowInvalid, parquet
    except ImportError as error:
        raise ImportError("MMMU needs pyarrow: pip install 'mmjax[build]'") from error
    found = []
    for file in files:
        try:
            rows = parquet.read_table(file).to_pylist()
        except (OSError, ArrowInvalid) as error:
            raise DataError(f"{file}: it is not a Parquet file ({str(error).splitlines()[0]})") from None
        for number, row in enumerate(rows, 1):
            entry = _Entry(row, file, f"row {number}")
            kind = entry.get("question_type")
            if kind not in ("multiple-choice", "open"):
                known = "it must be multiple-choice or open"
                raise DataError(f"{file}: {entry.where}, field 'question_type': it is {kind!r}; {known}")
            options = _literal_list(entry, "options") if kind == "multiple-choice" else ()
            cells = [row[f"image_{k}"] for k in range(1, 8) if row.get(f"image_{k}")]
            images = tuple(cell.get("bytes") if isinstance(cell, dict) else None for cell in cells)
            if not all(isinstance(image, bytes) for image in images):
                raise DataError(f"{file}: {entry.where}: an image is not stored in the file")
            answers = (entry.letter(_place(entry.text("answer")), options),) if options else _open_answers(entry)
            name = entry.text("id")
            subject = "_".join(name.split("_")[1:-1])
            found.append(VisualQuestion(name, images, entry.text("question"), answers, name, subject, options))
    return _some(found, files[0] if files else "no file")


def mm_bench(file: Path, circular: bool = True) -> list[VisualQuestion]:
    """MMBench (Liu et al., 2024): a TSV such as MMBench_DEV_EN.tsv, with images in base64.

    circular: each question is asked in all its `rotations`, which are of one group.
    """
    csv.field_size_limit(1 << 30)
    found, images = [], {}
    for number, row in enumerate(csv.DictReader(io.StringIO(_content(file), newline=""), delimiter="\t"), 2):
        entry = _Entry(row, file, f"line {number}")
        options = tuple(row[letter] for letter in "ABCD" if row.get(letter) not in (None, "", "nan"))
        right = _place(entry.text("answer"))
        entry.letter(right, options)
        index, coded = entry.text("index"), entry.text("image")
        try:  # the index of a row stands for the image of that row
            images[index] = images[coded] if coded in images else base64.b64decode(coded, validate=True)
        except ValueError:
            raise DataError(f"{file}: {entry.where}, column 'image': it is not base64") from None
        hint = "" if row.get("hint") in (None, "nan") else str(row["hint"])
        kind, answer = str(row.get("category") or ""), LETTERS[right]
        one = VisualQuestion(index, (images[index],), entry.text("question"), (answer,), index, kind, options, hint)
        found += rotations(one) if circular else [one]
    return _some(found, file)


def pope(file: Path, images: Path) -> list[VisualQuestion]:
    """POPE (Li et al., 2023): coco_pope_random.json, with a JSON object per line, and the folder of COCO's images."""
    found = []
    for number, line in enumerate(_content(file).split("\n"), 1):
        if not line.strip():
            continue
        try:
            entry = _Entry(json.loads(line), file, f"line {number}")
        except (ValueError, RecursionError):
            raise DataError(f"{file}: line {number} is not JSON") from None
        image, answer = entry.text("image"), entry.text("label").strip().lower()
        if answer not in ("yes", "no"):
            raise DataError(f"{file}: {entry.where}, field 'label': it is {answer!r}; it must be yes or no")
        path = entry.image(images / image)
        found.append(VisualQuestion(entry.name("question_id"), (path,), entry.text("text").strip(), (answer,), image))
    return _some(found, file)


def mme(folder: Path) -> list[VisualQuestion]:
    """MME (Fu et al., 2023): a folder for each category, with images and texts of the same name, or both in the folders images
    and questions_answers_YN. A text has a line "question<tab>answer" for each of two questions."""
    found = []
    for category in sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else ():
        apart = (category / "questions_answers_YN").is_dir()
        texts, images = (category / name if apart else category for name in ("questions_answers_YN", "images"))
        for file in sorted(texts.glob("*.txt")):
            named = [images / f"{file.stem}{suffix}" for suffix in (".jpg", ".png", ".jpeg")]
            image = next((one for one in named if one.is_file()), None)
            if image is None:
                raise DataError(f"{file}: there is no image {named[0]} or .png")
            for number, line in enumerate(_content(file).strip().splitlines(), 1):
                text, tab, answer = line.rpartition("\t")
                answer, group = answer.strip().lower(), f"{category.name}/{file.stem}"
                if not tab or answer not in ("yes", "no"):
                    raise DataError(f"{file}: line {number} must be a question, a tab, and Yes or No")
                found.append(VisualQuestion(f"{group}/{number}", (image,), text.strip(), (answer,), group, category.name))
    return _some(found, folder)


@dataclass(frozen=True)
class _Entry:
    """An object of a file. where: for errors, with the file."""

    value: Any
    file: Path
    where: str

    def get(self, name: str) -> Any:
        return json_files.field(self.value, name, self.file, self.where)

    def text(self, name: str) -> str:
        return json_files.text(self.get(name), f"{self.file}: {self.where}, field {name!r}")

    def name(self, name: str) -> str:
        """A text or an integer, as a text."""
        value = self.get(name)
        if not isinstance(value, (str, int)):
            raise DataError(f"{self.file}: {self.where}, field {name!r}: it is {type(value).__name__}; it should be a name")
        return str(value)

    def list(self, name: str) -> "list[Any]":
        value = self.get(name)
        if not isinstance(value, list) or not value:
            raise DataError(f"{self.file}: {self.where}, field {name!r}: it must be a list with at least one entry")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        return tuple(map(str, self.list(name)))

    def image(self, file: Path) -> Path:
        """The file, if it is there."""
        if not file.is_file():
            raise DataError(f"{self.file}: {self.where}: there is no image {file}")
        return file

    def letter(self, number: Any, options: Sequence[str]) -> str:
        """The letter of an option."""
        if not isinstance(number, int) or not 0 <= number < len(options) <= len(LETTERS):
            raise DataError(f"{self.file}: {self.where}: the answer is not one of the {len(options)} options")
        return LETTERS[number]


def _entries(file: Path, name: str) -> Iterator[_Entry]:
    """The objects of a list in a JSON file, one by one."""
    for number, value in enumerate(_Entry(read_json(file), file, "the file").list(name), 1):
        yield _Entry(value, file, f"{name}, entry {number}")


def _named(file: Path) -> Iterator[tuple[str, _Entry]]:
    """The objects of an object in a JSON file, with their names."""
    value = read_json(file)
    if not isinstance(value, dict):
        raise DataError(f"{file}: it is a {type(value).__name__}; it must be an object with an entry for each question")
    for name, entry in value.items():
        yield name, _Entry(entry, file, f"entry {name!r}")


def _content(file: Path) -> str:
    try:
        return decode_text(file.read_bytes(), str(file))
    except OSError as error:
        raise DataError(f"{file}: {error.strerror or error}; it must be a file of text") from None


def _place(letter: str) -> int:
    """The number of a letter, -1 for another text."""
    return LETTERS.find(letter) if len(letter) == 1 else -1


def _literal_list(entry: _Entry, name: str) -> tuple[str, ...]:
    """The texts of a field, a list in Python's notation of at least one."""
    try:
        texts = ast.literal_eval(entry.text(name))
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        texts = None
    if not isinstance(texts, list) or not texts:
        raise DataError(f"{entry.file}: {entry.where}, field {name!r}: it must be a list of at least one text")
    return tuple(map(str, texts))


def _open_answers(entry: _Entry) -> tuple[str, ...]:
    """The answer, or each of a list in Python's notation, any of which is right."""
    text = entry.text("answer")
    return _literal_list(entry, "answer") if text.startswith(("['", '["')) else (text,)


def _coco_image(images: Path, entry: _Entry) -> Path:
    """COCO_val2014_000000000001.jpg, or the same for another split, or without the beginning."""
    number = entry.get("image_id")
    if not isinstance(number, int):
        raise DataError(f"{entry.file}: {entry.where}, field 'image_id': it is {number!r}; it must be an integer")
    names = [f"COCO_{split}2014_{number:012}.jpg" for split in ("val", "train", "test")] + [f"{number:012}.jpg"]
    return next((images / name for name in names if (images / name).is_file()), None) or entry.image(images / names[0])


def _some(found: list[VisualQuestion], file: Any, of: str = "") -> list[VisualQuestion]:
    if not found:
        raise DataError(f"{file}: there are no questions{of}; there must be at least one")
    return found
