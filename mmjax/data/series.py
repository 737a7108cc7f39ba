"""Labelled series of several channels, from the `.ts` files of the UEA and UCR archives that the package `aeon` bundles.

JapaneseVowels (Kudo et al., 1999): which of 9 men says "ae", from 12 coefficients of linear prediction, 7 to 29 steps; 270
training and 370 test series. BasicMotions: standing, walking, running or badminton, from 3 axes of an accelerometer and 3 of
a gyroscope at 10 Hz, 100 steps; 40 and 40. The package is never imported: its files are read where they lie.
"""

import dataclasses
import hashlib
import importlib.util
import io
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmjax.data.dataset import Column, Dataset, Rows
from mmjax.data.decode import DataError
from mmjax.data.scale import standardised
from mmjax.data.splits import grouped_folds
from mmjax.types import Padded


def read_ts(data: bytes, name: str) -> tuple[list[np.ndarray], list[str], list[str]]:
    """A `.ts` file: series [steps, channels] float32, the label of each, and the header's labels in its order.

    A line is an example: channels separated by ":", values by ",", the label last. name: what errors call the file.
    Raises DataError for time stamps, missing values, no labels, or channels of different length.
    """
    header, _, body = data.decode("utf-8", "replace").replace("\r", "").partition("@data\n")
    lines = (line.split() for line in header.splitlines() if line.startswith("@"))
    settings = {first.lower(): rest for first, *rest in lines}
    classes = settings.get("@classlabel", ["false"])[1:]
    if not classes or settings.get("@timestamps", ["false"])[0].lower() == "true":
        raise DataError(f"{name}: a file with class labels and without time stamps is needed; its header says otherwise")
    series, labels = [], []
    for number, line in enumerate(filter(str.strip, body.splitlines()), 1):
        *channels, label = line.strip().split(":")
        try:
            values = np.array([channel.split(",") for channel in channels], np.float32).T
        except ValueError as error:  # a "?" is a missing value
            raise DataError(f"{name}: example {number} has missing values or channels of different length") from error
        if label not in classes or values.ndim != 2 or not np.isfinite(values).all():
            raise DataError(f"{name}: example {number} (label {label!r}) is damaged; the labels are {', '.join(classes)}")
        series.append(values)
        labels.append(label)
    if not series:
        raise DataError(f"{name} has no examples; it should hold a line for each after @data")
    return series, labels, classes


def find_archive(root: Path | None = None) -> Path:
    """The folder that has a folder for each data set: `root`, else that in the installed `aeon`, without importing it."""
    if root is not None:
        return root
    found = importlib.util.find_spec("aeon")
    if found is None or not found.submodule_search_locations:
        raise DataError(
            "AeonSeries reads data that the package aeon bundles, and it is not installed: pip install --no-deps aeon==1.6.0 "
            "(its dependencies are not needed), or pass the folder that holds NAME/NAME_TRAIN.ts and NAME/NAME_TEST.ts as root"
        )
    return Path(found.submodule_search_locations[0]) / "datasets" / "data"


@dataclasses.dataclass(frozen=True)
class AeonSeries:
    """What the models see of one data set of the archive.

    name: of the data set. channels: how many consecutive ones make a modality: 1 makes each channel one ("channel00",
    "channel01", ...), 3 the two sensors of BasicMotions ("channels00to02", "channels03to05"), all of them a single one.
    folds, fold, split_seed: validation is fold `fold` of the training series, stratified by class; the test split is the
    published one. root: the folder with a folder for each data set, None for the installed aeon's.
    """

    name: str = "JapaneseVowels"
    channels: int = 1
    folds: int = 5
    fold: int = 0
    split_seed: int = 0
    root: Path | None = None

    def __post_init__(self):
        if self.folds < 2 or not 0 <= self.fold < self.folds:
            raise DataError(f"AeonSeries.fold is {self.fold} of {self.folds} folds; there must be 2 or more, the first is 0")

    def load(self) -> Dataset:
        """Reads both files; z-scores of each channel come from the training split alone."""
        digest = hashlib.sha256(json.dumps({k: v for k, v in dataclasses.asdict(self).items() if k != "root"}).encode())
        parts = {part: read_ts(*self._file(part, digest)) for part in ("TRAIN", "TEST")}
        classes = tuple(parts["TRAIN"][2])
        series = parts["TRAIN"][0] + parts["TEST"][0]
        self._check(series, classes, parts["TEST"][2])
        label = np.array([classes.index(name) for _, labels, _ in parts.values() for name in labels], np.int32)
        known = len(parts["TRAIN"][0])
        fold_of = grouped_folds(np.arange(known), label[:known], self.folds, self.split_seed)
        numbers = {
            "train": np.flatnonzero(fold_of != self.fold),
            "validation": np.flatnonzero(fold_of == self.fold),
            "test": np.arange(known, len(series)),
        }
        width, most = series[0].shape[1], max(map(len, series))
        modalities = self.modalities(width)
        columns = {name: Column(len(series), partial(_read, series, most, at), _as_it_is) for name, at in modalities.items()}
        ids = np.array([f"{part.lower()} {i}" for part, (x, _, _) in parts.items() for i in range(len(x))])
        return Dataset(
            columns={name: standardised(column, numbers["train"], known) for name, column in columns.items()},
            splits={
                part: Rows(
                    {name: which.astype(np.int32) for name in modalities},
                    {"label": label[which]},
                    np.ones(len(which), np.float32),
                )
                for part, which in numbers.items()
            },
            classes={"label": classes},
            sizes={name: {"steps": most, "channels": self.channels} for name in modalities},
            about={part: {"id": ids[which], "group": which.astype(np.int32)} for part, which in numbers.items()},
            dropped={},
            fingerprint=digest.hexdigest(),
            media=partial(_media, series[known:]),
            source=f"{self.name}_TRAIN.ts and _TEST.ts",
        )

    def modalities(self, width: int) -> dict[str, slice]:
        """{name: its channels}, of a data set with `width` channels."""

        def name(first: int) -> str:
            return f"channel{first:02}" if self.channels == 1 else f"channels{first:02}to{first + self.channels - 1:02}"

        return {name(first): slice(first, first + self.channels) for first in range(0, width, self.channels)}

    def _file(self, part: str, digest: Any) -> tuple[bytes, str]:
        """Bytes and name of one part's file; the digest has seen the bytes."""
        archive = find_archive(self.root)
        path = archive / self.name / f"{self.name}_{part}.ts"
        if not path.is_file():
            known = sorted(file.parent.name for file in archive.glob("*/*_TRAIN.ts"))
            raise DataError(f"AeonSeries.name is {self.name!r}: there is no {path}; there are {', '.join(known) or 'none'}")
        data = path.read_bytes()
        digest.update(data)
        return data, path.name

    def _check(self, series: list[np.ndarray], classes: tuple[str, ...], test_classes: list[str]) -> None:
        widths = sorted({x.shape[1] for x in series})
        if len(widths) > 1 or tuple(test_classes) != classes:
            raise DataError(f"{self.name}: examples have {widths} channels, and classes {classes} and {test_classes}")
        if self.channels < 1 or widths[0] % self.channels:
            raise DataError(f"AeonSeries.channels is {self.channels}, which does not divide the {widths[0]} channels")


def _read(series: list[np.ndarray], most: int, at: slice, number: int) -> Padded:
    """These channels of one series, padded with zeros to the longest one's steps."""
    values = series[number][:, at]
    return Padded(np.pad(values, ((0, most - len(values)), (0, 0))), np.int32(len(values)))


def _as_it_is(raw: Padded) -> Padded:
    return raw


def _media(series: list[np.ndarray], row: int) -> dict[str, Any]:
    """A picture of the series as PNG: a row for each channel, time to the right, black lowest, white highest."""
    low, high = series[row].min(axis=0), series[row].max(axis=0)
    grey = ((series[row] - low) / np.maximum(high - low, 1e-6)).T * 255
    steps, channels = series[row].shape
    picture = Image.fromarray(grey.astype(np.uint8)).resize((8 * steps, 8 * channels), Image.Resampling.NEAREST)
    picture.save(file := io.BytesIO(), "PNG")
    return {"image": file.getvalue()}
