"""A small wheel of seglearn with a file in the real format: a pickled dict in an .npy file."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.data.exercises.files import CHANNELS, MEMBER, WHEEL

EXERCISES = ["PEN", "ABD", "FEL", "IR", "ER", "TRAP", "ROW"]


def content(subjects: int = 5, steps: int = 150) -> dict[str, Any]:
    """Every subject does every exercise once; the frequency of channel 0 is that of the exercise."""
    rng = np.random.default_rng(0)
    series, y, subject, side = [], [], [], []
    for person in range(1, subjects + 1):
        for exercise in range(7):
            x = rng.normal(size=(steps + 10 * person, 6)) * 0.1
            x[:, 0] += np.sin(np.arange(len(x)) * (exercise + 1) / 8)
            series.append(x)
            y.append(exercise)
            subject.append(person)
            side.append(float((person + exercise) % 2))
    return {
        "X": series, "X_labels": list(CHANNELS), "y": np.array(y), "y_labels": EXERCISES,
        "subject": np.array(subject), "side": np.array(side),
    }  # fmt: skip


def npy(value: Any) -> bytes:
    array = np.empty((), object)
    array[()] = value
    np.save(file := io.BytesIO(), array, allow_pickle=True)
    return file.getvalue()


def write_wheel(folder: Path, value: Any = None, data: bytes | None = None) -> Path:
    """Writes the wheel into the folder, which it returns. data: the bytes of the .npy file."""
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / WHEEL, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("seglearn/__init__.py", "raise SystemExit('it was imported')")
        file.writestr(MEMBER, npy(content() if value is None else value) if data is None else data)
    return folder
