"""The files of easy-VQA in its wheel: images, and questions with their answers."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmjax.data.custom.table import Table
from mmjax.data.decode import DataError
from mmjax.data.fetch import PYPI, fetch, members

__all__ = ["INSIDE", "PACKAGE", "Questions", "find_wheel", "read_questions"]

PACKAGE = ("easy-vqa", "1.0", "fcb51b309b78c7b00f97b64cdbcbcf5c105f94da1b39c0796cee5a787c4f650f")
"""Name, version and sha256."""
INSIDE = "easy_vqa/data/"


def find_wheel(root: Path | None = None) -> Path:
    """The wheel in the folder `root`, else the one in the cache, which is fetched through pip (3 MB). Raises DataError."""
    if root is None:
        return fetch(PYPI, *PACKAGE)
    found = sorted(Path(root).glob("easy_vqa-*.whl"))
    if len(found) != 1:
        raise DataError(f"{root} has {len(found)} files easy_vqa-*.whl; it must have one")
    return found[0]


@dataclass(frozen=True)
class Questions:
    """The questions of a wheel as a source of a table. root: as in `find_wheel`. images: as in `read_questions`."""

    root: Path | None = None
    images: tuple[int, int] | None = None

    def read(self) -> Table:
        return read_questions(find_wheel(self.root), self.images)


def read_questions(wheel: Path, images: tuple[int, int] | None = None) -> Table:
    """One row per question: "image" (bytes of a PNG), "question", "answer", "split" (train or test), "group" (the image, since
    the questions of one image are not independent) and "id".

    images: numbers of images of the two splits, drawn at random but always the same; None for all images.
    Raises DataError if a split has fewer images, and, naming the file and the question, if the files are not as described.
    """
    files = dict(members(wheel, INSIDE))
    answers = _file(files, wheel, "answers.txt").decode().split()
    cells: dict[str, list] = {name: [] for name in ("image", "question", "answer", "split", "group", "id")}
    for split, wanted in zip(("train", "test"), images or (None, None)):
        name = f"{split}/questions.json"
        try:
            questions = json.loads(_file(files, wheel, name))
        except ValueError as error:
            raise DataError(f"{wheel}: {name} is not JSON ({error})") from None
        for number, entry in enumerate(questions, 1):
            if not isinstance(entry, list) or [type(part) for part in entry] != [str, str, int]:
                raise DataError(f"{wheel}: {name}, question {number}: it must be [question, answer, number of the image]")
        chosen = _chosen({image for *_, image in questions}, wanted, f"{wheel}: {name}")
        for number, entry in enumerate(questions, 1):
            where = f"{wheel}: {name}, question {number}"
            if entry[2] not in chosen:
                continue
            question, answer, image = entry
            if answer not in answers:
                raise DataError(f"{where}: the answer {answer!r} is not in answers.txt; it has {', '.join(answers)}")
            png = _file(files, wheel, f"{split}/images/{image}.png")
            values = (png, question, answer, split, f"{split} {image}", f"{split} {number}")
            for column, value in zip(cells.values(), values):
                column.append(value)
    return Table(wheel.name, cells)


def _chosen(images: set[int], count: int | None, where: str) -> set[int]:
    """`count` of these images, None for all."""
    if count is None:
        return images
    if not 0 < count <= len(images):
        raise DataError(f"{where}: EasyVQA.images asks for {count:,} images; it must be from 1 to {len(images):,}")
    return set(np.random.default_rng(0).choice(sorted(images), count, replace=False).tolist())


def _file(files: dict[str, bytes], wheel: Path, name: str) -> bytes:
    if INSIDE + name not in files:
        raise DataError(f"{wheel}: there is no {INSIDE}{name}; it must be the wheel of easy-vqa 1.0")
    return files[INSIDE + name]
