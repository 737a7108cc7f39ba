"""Binary sentiment of utterances from their words, the voice and the face: CMU-MOSI in its published features.

The networks that computed the features of words and face were trained on the labels of all training videos. Scores on the
validation split, which is a part of these videos, are therefore far higher than on the test split (linear model on the words:
98 against 76 %), and say little. The published labels are binary, so there is no regression target.
`mmjax.data.mosi.files` describes the files and their sources.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.data.dataset import Column, Dataset, Rows, identity
from mmjax.data.decode import DataError
from mmjax.data.inputs import SeriesInput, VectorInput
from mmjax.data.mosi.files import FILES, MosiTable, read_files, read_table
from mmjax.data.splits import grouped_folds
from mmjax.types import Padded

__all__ = ["CLASSES", "Mosi", "ZScores"]

CLASSES = ("negative", "positive")


@dataclasses.dataclass(frozen=True)
class Mosi:
    """CMU-MOSI in two forms with the same test utterances in the same order: by video, then by number.

    Target "label": 0 negative, 1 positive. Modalities: "text" (d = 100), "audio" (73) and "video" (100).
    context: False: a row is an utterance; inputs are vectors [b d], the target Int[n]. True: a row is a video; inputs are its
    utterances, Padded [b m d] to the longest video, the target Int[n m], -1 beyond the video's length, and the weight is the
    number of utterances. The metadata have one entry per utterance in both forms.
    folds, fold, split_seed: the training videos are divided into folds, and fold `fold` is the validation split. The test split
    is the official one, so there is no cross-validation.
    root: the folder of the files; None: the value of the environment variable MMJAX_MOSI.
    Raises DataError for a fold that does not exist.
    """

    root: Path | None = None
    context: bool = False
    folds: int = 5
    fold: int = 0
    split_seed: int = 0

    def __post_init__(self):
        if self.folds < 2 or not 0 <= self.fold < self.folds:
            raise DataError(
                f"Mosi.fold is {self.fold} of {self.folds} folds; folds must be at least 2 (training and validation), and fold "
                "at least 0 and below folds"
            )

    def load(self) -> Dataset:
        """Reads and checks all files, splits the videos, and fits z-scores on the training split. Raises DataError."""
        files = read_files(self.root)
        table = read_table(files)
        official = np.flatnonzero(table.train)
        fold_of = grouped_folds(table.video[official], table.label[official], self.folds, self.split_seed)
        utterances = {
            "train": official[fold_of != self.fold],
            "validation": official[fold_of == self.fold],
            "test": np.flatnonzero(~table.train),
        }
        scores = {name: ZScores.of(x[utterances["train"]]) for name, x in table.features.items()}
        columns, splits = (_by_video if self.context else _by_utterance)(table, scores, utterances)
        return Dataset(
            columns=columns,
            splits=splits,
            metadata={split: _metadata(table, at) for split, at in utterances.items()},
            fingerprint=self._fingerprint(files),
            sizes={name: {"width": x.shape[1]} for name, x in table.features.items()},
            classes={"label": CLASSES},
            media=partial(_media, table, utterances["test"]),
            source="the published features of CMU-MOSI",
        )

    def _fingerprint(self, files: dict[str, bytes]) -> str:
        """sha256 of the files and of every field that changes an example."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "root"}
        digest = hashlib.sha256(json.dumps(fields).encode())
        for name in FILES:
            digest.update(hashlib.sha256(files[name]).digest())
        return digest.hexdigest()


@dataclasses.dataclass(frozen=True, eq=False)
class ZScores:
    """Features [... d] -> Float32[... d], (x - mean) / deviation; `parse` of one utterance [d], or of a video [m d]."""

    mean: np.ndarray
    deviation: np.ndarray
    steps: int | None = None

    @classmethod
    def of(cls, x: np.ndarray) -> "ZScores":
        """The statistics of training utterances Float64[n d]; constant features are only centred."""
        deviation = x.std(axis=0)
        return cls(x.mean(axis=0), np.where(deviation > 1e-8, deviation, 1))

    def scaled(self, x: np.ndarray) -> np.ndarray:
        return ((x - self.mean) / self.deviation).astype(np.float32)

    def __call__(self, raw: Any) -> Any:
        width = len(self.mean)
        parse = VectorInput(width) if self.steps is None else SeriesInput(self.steps, width)
        parse(raw)  # checks the shape
        return parse(self.scaled(np.asarray(raw, np.float64)))


def _by_utterance(
    table: MosiTable, scores: Mapping[str, ZScores], utterances: Mapping[str, np.ndarray]
) -> tuple[dict[str, Column], dict[str, Rows]]:
    """Columns and splits with one row per utterance."""
    features = {name: scores[name].scaled(x) for name, x in table.features.items()}
    columns = {name: Column(len(x), x.__getitem__, identity, parse=scores[name]) for name, x in features.items()}
    splits = {
        split: Rows(dict.fromkeys(features, at.astype(np.int32)), {"label": table.label[at]}, np.ones(len(at), np.float32))
        for split, at in utterances.items()
    }
    return columns, splits


def _by_video(
    table: MosiTable, scores: Mapping[str, ZScores], utterances: Mapping[str, np.ndarray]
) -> tuple[dict[str, Column], dict[str, Rows]]:
    """Columns and splits with one row per video; its utterances are contiguous in the table."""
    features = {name: scores[name].scaled(x) for name, x in table.features.items()}
    _, first, length = np.unique(table.video, return_index=True, return_counts=True)
    order = np.argsort(first)  # videos in the order of the table, not of their numbers
    first, length = first[order], length[order]
    longest = int(length.max())
    label = np.full((len(first), longest), -1, np.int32)
    for i, (start, n) in enumerate(zip(first, length)):
        label[i, :n] = table.label[start : start + n]

    def read(x: np.ndarray, number: int) -> Padded:
        n, padded = length[number], np.zeros((longest, x.shape[1]), np.float32)
        padded[:n] = x[first[number] : first[number] + n]
        return Padded(padded, np.int32(n))

    columns = {
        name: Column(len(first), partial(read, x), identity, parse=dataclasses.replace(scores[name], steps=longest))
        for name, x in features.items()
    }
    splits = {}
    for split, at in utterances.items():
        videos = np.flatnonzero(np.isin(first, at)).astype(np.int32)
        splits[split] = Rows(dict.fromkeys(features, videos), {"label": label[videos]}, length[videos].astype(np.float32))
    return columns, splits


def _metadata(table: MosiTable, at: np.ndarray) -> dict[str, np.ndarray]:
    return {"id": table.id[at], "group": table.video[at], "text": table.words[at]}


def _media(table: MosiTable, test: np.ndarray, unit: int) -> dict[str, Any]:
    """The words of a test utterance; the published features have no videos."""
    at = test[unit]
    return {"id": str(table.id[at]), "caption": str(table.words[at]), "language": "", "image": None, "sound": None}
