"""The recordings as a TFDS set in array_record, written without TensorFlow."""

import io
from pathlib import Path

import numpy as np

from mmjax.data.build.write_tfds import write_tfds
from mmjax.data.exercises.files import SENSORS, SIDES, find_wheel, read_recordings
from mmjax.data.splits import grouped_folds, train_validation_test

__all__ = ["NAME", "build_tfds"]

NAME = "exercises"


def build_tfds(folder: Path, root: Path | None = None) -> Path:
    """Writes folder/tfds/exercises/<version>, one example per recording in the splits of `Exercises()`; returns it.

    An example has "id", "exercise", "side" (texts), "group" (the subject), and each sensor as the bytes of an .npy file,
    Float32[t 3]. root: as in `Exercises`. Raises FileExistsError if the folder has such a set, and DataError.
    """
    recordings = read_recordings(find_wheel(root))
    parts = train_validation_test(grouped_folds(recordings.subject, recordings.exercise, 5, 0), 0)
    (folder / "media").mkdir(parents=True)
    rows = []
    for split, numbers in parts.items():
        for number in numbers.tolist():
            row = {"id": str(number), "split": split, "group": int(recordings.subject[number])}
            row |= {"exercise": recordings.exercises[recordings.exercise[number]], "side": SIDES[recordings.side[number]]}
            for name, channels in SENSORS.items():
                row[name] = f"media/{number}-{name}.npy"
                np.save(file := io.BytesIO(), np.ascontiguousarray(recordings.series[number][:, channels]))
                (folder / row[name]).write_bytes(file.getvalue())
            rows.append(row)
    return write_tfds(folder, NAME, rows, dict.fromkeys(SENSORS, "series"), "BSD-3-Clause")
