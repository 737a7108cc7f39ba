"""Labelled series with several channels, from the `.ts` files of the UEA and UCR archives in the package `aeon`.

Classification. JapaneseVowels (Kudo et al., 1999): which of 9 men says "ae", from 12 coefficients of linear prediction, 7 to 29
steps; 270 training and 370 test series. BasicMotions: standing, walking, running or badminton, from 3 axes of an accelerometer
and 3 of a gyroscope at 10 Hz, 100 steps; 40 training and 40 test series.
Regression (Tan et al., "Time series extrinsic regression", 2021). CardanoSentiment: the sentiment of a day's news about a
currency, from its hourly price and traded volume, 24 steps; 74 training and 33 test series. Covid3Month: the death rate of a
country, from its daily cases, 84 steps; 140 training and 61 test series.
The package is not imported; its files are read in place.
"""

import dataclasses
import hashlib
import importlib.util
import io
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmjax.data.dataset import Column, Dataset, Rows, identity
from mmjax.data.decode import DataError
from mmjax.data.inputs import SeriesInput
from mmjax.data.scale import standardized
from mmjax.data.splits import grouped_folds

__all__ = ["AeonSeries", "find_archive", "read_ts"]


def read_ts(data: bytes, name: str) -> tuple[list[np.ndarray], list[Any], list[str]]:
    """The content of a `.ts` file -> (series, float32 [steps, channels]; their targets; class names in the header's order).

    Targets are class names (str) for classification, and numbers (float) for regression, which has no class names.
    A line is an example: channels separated by ":", values by ",", the target last. name: the file's name in errors.
    Raises DataError for time stamps, missing values, no targets, or channels of different length.
    """
    header, _, body = data.decode("utf-8", "replace").replace("\r", "").partition("@data\n")
    lines = (line.split() for line in header.splitlines() if line.startswith("@"))
    settings = {first.lower(): [value.lower() if value.lower() in ("true", "false") else value for value in rest]
                for first, *rest in lines}  # fmt: skip
    classes = settings.get("@classlabel", ["false"])[1:]
    regression = settings.get("@targetlabel", ["false"])[0] == "true"
    if not (classes or regression) or settings.get("@timestamps", ["false"])[0] == "true":
        raise DataError(f"{name}: the header must declare class labels or a target label, and no time stamps")
    series, targets = [], []
    for number, line in enumerate(filter(str.strip, body.splitlines()), 1):
        *channels, target = line.strip().split(":")
        try:
            values = np.array([channel.split(",") for channel in channels], np.float32).T
        except ValueError as error:  # a "?" is a missing value
            raise DataError(f"{name}: example {number} has missing values or channels of different length") from error
        if values.ndim != 2 or not np.isfinite(values).all():
            raise DataError(f"{name}: example {number} is damaged; all values must be finite numbers")
        series.append(values)
        targets.append(_number(target, name, number) if regression else _class(target, classes, name, number))
    if not series:
        raise DataError(f"{name} has no examples; after @data it should have one line per example")
    return series, targets, classes


def _class(text: str, classes: Sequence[str], name: str, number: int) -> str:
    if text not in classes:
        raise DataError(f"{name}: example {number} has the label {text!r}; it must be one of {', '.join(classes)}")
    return text


def _number(text: str, name: str, number: int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise DataError(f"{name}: example {number} has the target {text!r}; it must be a finite number")
    return value


def find_archive(root: Path | None = None) -> Path:
    """The folder with one folder per data set: `root`, else the data of the installed `aeon`. Raises DataError without aeon."""
    if root is not None:
        return root
    found = importlib.util.find_spec("aeon")
    if found is None or not found.submodule_search_locations:
        raise DataError(
            "AeonSeries reads data in the package aeon, which is not installed: pip install --no-deps aeon==1.6.0 (its "
            "dependencies are not needed), or pass the folder that has NAME/NAME_TRAIN.ts and NAME/NAME_TEST.ts as root"
        )
    return Path(found.submodule_search_locations[0]) / "datasets" / "data"


@dataclasses.dataclass(frozen=True)
class AeonSeries:
    """One data set of the archive. Target: "label", Int[n], for classification; "value", Float[n], for regression.

    name: the name of the data set. channels: the number of consecutive channels per modality. 1 gives one modality per channel
    ("channel00", "channel01", ...), 3 gives the two sensors of BasicMotions ("channels00to02", "channels03to05").
    folds, fold, split_seed: fold `fold` of the training series is the validation split, stratified by class or by quintiles of
    the value. The test split is the official one, so there is no cross-validation.
    Equal series form a group; training series that are also in the test split are dropped.
    root: the folder with one folder per data set; None: the data of the installed aeon.
    Raises DataError for a fold that does not exist.
    """

    name: str = "JapaneseVowels"
    channels: int = 1
    folds: int = 5
    fold: int = 0
    split_seed: int = 0
    root: Path | None = None

    def __post_init__(self):
        if self.folds < 2 or not 0 <= self.fold < self.folds:
            raise DataError(
                f"AeonSeries.fold is {self.fold} of {self.folds} folds; folds must be at least 2, and fold at least 0 and "
                "below folds"
            )

    def load(self) -> Dataset:
        """Reads both files and fits the z-scores of each channel on the training split.

        Raises DataError for files that are missing, damaged or inconsistent, and for channels that do not divide their number.
        """
        digest = hashlib.sha256(json.dumps({k: v for k, v in dataclasses.asdict(self).items() if k != "root"}).encode())
        files = {split: read_ts(*self._file(split, digest)) for split in ("TRAIN", "TEST")}
        classes = tuple(files["TRAIN"][2])
        series = files["TRAIN"][0] + files["TEST"][0]
        self._check(series, classes, tuple(files["TEST"][2]))
        targets = files["TRAIN"][1] + files["TEST"][1]
        if classes:
            target, values = "label", np.array([classes.index(name) for name in targets], np.int32)
        else:
            target, values = "value", np.array(targets, np.float32)
        count, group = len(files["TRAIN"][0]), _groups(series)
        official = np.flatnonzero(~np.isin(group[:count], group[count:]))
        strata = values[official] if classes else _quintiles(values[official])
        fold_of = grouped_folds(group[official], strata, self.folds, self.split_seed)
        items = {
            "train": official[fold_of != self.fold],
            "validation": official[fold_of == self.fold],
            "test": np.arange(count, len(series)),
        }
        width, longest = series[0].shape[1], max(map(len, series))
        modalities = self.modalities(width)
        parse = SeriesInput(longest, self.channels)
        read = lambda channels, number: parse(series[number][:, channels])
        columns = {name: Column(len(series), partial(read, at), identity, parse=parse) for name, at in modalities.items()}
        ids = np.array([f"{split.lower()} {i}" for split, (x, _, _) in files.items() for i in range(len(x))])
        return Dataset(
            columns={name: standardized(column, items["train"], count) for name, column in columns.items()},
            splits={
                split: Rows(
                    dict.fromkeys(modalities, at.astype(np.int32)), {target: values[at]}, np.ones(len(at), np.float32)
                )
                for split, at in items.items()
            },
            metadata={split: {"id": ids[at], "group": group[at]} for split, at in items.items()},
            fingerprint=digest.hexdigest(),
            sizes={name: {"steps": longest, "channels": self.channels} for name in modalities},
            classes={"label": classes} if classes else {},
            dropped={"training series that are also in the test split": count - len(official)},
            media=partial(_media, series[count:]),
            source=f"{self.name}_TRAIN.ts and _TEST.ts",
        )

    def modalities(self, width: int) -> dict[str, slice]:
        """{modality: its channels} of a data set with `width` channels."""

        def name(first: int) -> str:
            return f"channel{first:02}" if self.channels == 1 else f"channels{first:02}to{first + self.channels - 1:02}"

        return {name(first): slice(first, first + self.channels) for first in range(0, width, self.channels)}

    def _file(self, split: str, digest: Any) -> tuple[bytes, str]:
        """The bytes and the name of one split's file. The digest is updated with the bytes."""
        archive = find_archive(self.root)
        path = archive / self.name / f"{self.name}_{split}.ts"
        if not path.is_file():
            known = sorted(file.parent.name for file in archive.glob("*/*_TRAIN.ts"))
            raise DataError(f"AeonSeries.name is {self.name!r}, but {path} does not exist; {archive} has {_list(known)}")
        data = path.read_bytes()
        digest.update(data)
        return data, path.name

    def _check(self, series: list[np.ndarray], classes: tuple[str, ...], test_classes: tuple[str, ...]) -> None:
        widths = sorted({x.shape[1] for x in series})
        if len(widths) > 1:
            raise DataError(f"{self.name}: examples have {_list(map(str, widths))} channels; all must have the same number")
        if test_classes != classes:
            raise DataError(f"{self.name}: the classes are {_list(classes)} in TRAIN and {_list(test_classes)} in TEST")
        if self.channels < 1 or widths[0] % self.channels:
            raise DataError(f"AeonSeries.channels is {self.channels}; it must divide the {widths[0]} channels")


def _list(names: Any) -> str:
    return ", ".join(names) or "none"


def _groups(series: Sequence[np.ndarray]) -> np.ndarray:
    """Int32[n], for each series the number of the first series with equal values."""
    first: dict[bytes, int] = {}
    return np.array([first.setdefault(x.tobytes(), i) for i, x in enumerate(series)], np.int32)


def _quintiles(values: np.ndarray) -> np.ndarray:
    """Int[n] in 0..4, the fifth of the sorted values that each value belongs to."""
    rank = np.empty(len(values), np.int64)
    rank[np.argsort(values, kind="stable")] = np.arange(len(values))
    return rank * 5 // len(values)


def _media(series: list[np.ndarray], row: int) -> dict[str, Any]:
    """The series as a PNG image: a row per channel, time to the right, black the lowest value, white the highest."""
    low, high = series[row].min(axis=0), series[row].max(axis=0)
    grey = ((series[row] - low) / np.maximum(high - low, 1e-6)).T * 255
    steps, channels = series[row].shape
    image = Image.fromarray(grey.astype(np.uint8)).resize((8 * steps, 8 * channels), Image.Resampling.NEAREST)
    image.save(file := io.BytesIO(), "PNG")
    return {"image": file.getvalue()}
