"""The questions as a TFDS set in array_record, written without TensorFlow."""

from pathlib import Path

from mmjax.data.build.write_tfds import write_tfds
from mmjax.data.easy_vqa.files import Questions

__all__ = ["NAME", "build_tfds"]

NAME = "easy_vqa"


def build_tfds(folder: Path, root: Path | None = None) -> Path:
    """Writes folder/tfds/easy_vqa/<version>, one example per question in the official splits; returns it.

    An example has "id", "question", "answer", "image" (bytes of a PNG) and "group" (the number of the image). root: as in
    `EasyVQA`. Raises FileExistsError if the folder has media, and DataError.
    """
    cells = Questions(root).read().cells
    (folder / "media").mkdir(parents=True)
    numbers = {group: number for number, group in enumerate(dict.fromkeys(cells["group"]))}
    rows = []
    for image, question, answer, split, group, name in zip(*cells.values(), strict=True):
        file = f"media/{group.replace(' ', '-')}.png"
        (folder / file).write_bytes(image)
        row = {"id": name, "split": split, "group": numbers[group]}
        rows.append(row | {"question": question, "answer": answer, "image": file})
    return write_tfds(folder, NAME, rows, {"image": "image"}, "MIT")
