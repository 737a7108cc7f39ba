"""The published feature files of CMU-MOSI, read and checked.

2,199 opinion utterances from 93 videos (Zadeh et al., "MOSI", 2016), with the utterance features published beside Poria et
al., "Context-Dependent Sentiment Analysis in User-Generated Videos" (ACL 2017). Research data, not part of this project. A
folder that the user names contains

    transcripts.csv                      one row per utterance: id VIDEO_NUMBER, words, number of the video, label (1 positive)
    {text,audio,video}_{train,test}.csv  one row per utterance: 100 (words), 73 (voice) or 100 (face) features, then the label
    index_{train,test}.csv               row k: the row in the transcripts (from 0) of row k of the split's feature files
"""

import csv
import io
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmjax.data.decode import DataError, decode_text
from mmjax.data.named_folder import named_folder

__all__ = ["FILES", "OFFICIAL", "SOURCE", "VARIABLE", "WIDTHS", "MosiTable", "read_files", "read_table"]

WIDTHS = {"text": 100, "audio": 73, "video": 100}
OFFICIAL = ("train", "test")
VARIABLE = "MMJAX_MOSI"
SOURCE = (
    "They are research data and not part of mmjax: ask for the utterance-level features published beside 'Context-Dependent "
    "Sentiment Analysis in User-Generated Videos' (Poria et al., ACL 2017), and for CMU-MOSI itself its authors at Carnegie "
    "Mellon University (Zadeh et al., 2016); mmjax/data/mosi/files.py describes each file"
)
FILES = ("transcripts.csv", *(f"{name}_{split}.csv" for name in ("index", *WIDTHS) for split in OFFICIAL))


class MosiTable(NamedTuple):
    """All utterances, by video and then by number.

    id: str[n]. video: Int[n], the published number of the video. words: str[n]. label: Int32[n], 1 positive. train: Bool[n],
    whether the utterance is in the official training split. features: {modality: Float64[n d]}, as published.
    """

    id: np.ndarray
    video: np.ndarray
    words: np.ndarray
    label: np.ndarray
    train: np.ndarray
    features: dict[str, np.ndarray]


def read_files(root: Path | None) -> dict[str, bytes]:
    """{name: content} of all FILES. Raises DataError if one is missing."""
    folder = named_folder(root, VARIABLE, FILES, "CMU-MOSI features", SOURCE)
    return {name: (folder / name).read_bytes() for name in FILES}


def read_table(files: dict[str, bytes]) -> MosiTable:
    """Every utterance with its features. Raises DataError, with file and row (from 1), if the files do not agree."""
    utterances = _transcripts(files)
    rows = {split: _index(files, split, len(utterances)) for split in OFFICIAL}
    _check_official_split(utterances, rows)
    train = np.zeros(len(utterances), bool)
    train[rows["train"]] = True
    features = {}
    for name, width in WIDTHS.items():
        features[name] = np.zeros((len(utterances), width))
        for split in OFFICIAL:
            features[name][rows[split]] = _features(files, name, split, [utterances[i] for i in rows[split]])
    keys = [(_title(u.id), int(u.id.rsplit("_", 1)[1])) for u in utterances]
    order = sorted(range(len(utterances)), key=keys.__getitem__)
    column = lambda values, dtype=None: np.array([values[i] for i in order], dtype)
    return MosiTable(
        id=column([u.id for u in utterances]),
        video=column([u.video for u in utterances], np.int64),
        words=column([u.words for u in utterances]),
        label=column([u.label for u in utterances], np.int32),
        train=train[order],
        features={name: x[order] for name, x in features.items()},
    )


class _Utterance(NamedTuple):
    """A row of the transcripts."""

    id: str
    words: str
    video: int
    label: int


def _title(id: str) -> str:
    """The name of the video in an utterance's id."""
    return id.rsplit("_", 1)[0]


def _rows(files: dict[str, bytes], name: str) -> list[list[str]]:
    rows = list(csv.reader(io.StringIO(decode_text(files[name], name), newline="")))
    if not rows:
        raise DataError(f"{name}: the file is empty; it should have one row per utterance")
    return rows


def _transcripts(files: dict[str, bytes]) -> list[_Utterance]:
    name, utterances = "transcripts.csv", []
    for k, row in enumerate(_rows(files, name), 1):
        if len(row) != 4:
            raise DataError(f"{name}: row {k} has {len(row)} values; it should have 4: id, words, number of the video, label")
        key, words, video, label = row
        title, _, number = key.rpartition("_")
        if not title or not number.isdecimal():
            raise DataError(f"{name}: row {k} has the id {key!r}; it should be a video and a number, as in abc_12")
        if not video.isdecimal():
            raise DataError(f"{name}: row {k} has {video!r} for the number of its video; it should be a whole number")
        utterances.append(_Utterance(key, words, int(video), _label(label, name, k)))
    numbers = {_title(u.id): u.video for u in utterances}
    for k, u in enumerate(utterances, 1):
        if numbers[_title(u.id)] != u.video:
            raise DataError(f"{name}: row {k}, {u.id}, has the video number {u.video}; other rows of its video have another")
    if len(set(numbers.values())) < len(numbers):
        raise DataError(f"{name}: two videos have the same number in the third column; each should have its own")
    if len({u.id for u in utterances}) < len(utterances):
        raise DataError(f"{name}: an id occurs twice; each utterance should have one row")
    return utterances


def _label(text: str, name: str, row: int) -> int:
    if text not in ("0", "1"):
        raise DataError(f"{name}: row {row} has the label {text!r}; it should be 1 (positive) or 0 (negative)")
    return int(text)


def _index(files: dict[str, bytes], split: str, count: int) -> np.ndarray:
    """Int[n], the row of the transcripts of each row of a split's files. count: the number of transcripts."""
    name, numbers = f"index_{split}.csv", []
    for k, row in enumerate(_rows(files, name), 1):
        if len(row) != 1 or not row[0].strip().isdecimal() or int(row[0]) >= count:
            raise DataError(f"{name}: row {k} is {','.join(row)!r}; it should be one row of transcripts.csv, 0 to {count - 1}")
        numbers.append(int(row[0]))
    return np.array(numbers)


def _check_official_split(utterances: list[_Utterance], rows: dict[str, np.ndarray]) -> None:
    """Raises DataError unless every utterance is in one split, once, and every video in one split."""
    both = np.concatenate([rows[split] for split in OFFICIAL])
    missing = sorted(set(range(len(utterances))) - set(both.tolist()))
    if missing or len(both) > len(utterances):
        problem = f"row {missing[0] + 1} of transcripts.csv is in neither" if missing else "some rows are named twice"
        raise DataError(f"index_train.csv and index_test.csv: {problem}; each transcript belongs to one split, once")
    train, test = ({utterances[i].video for i in rows[split]} for split in OFFICIAL)
    if train & test:
        raise DataError(f"index_test.csv: video {min(train & test)} is in the training split too; a video belongs to one split")


def _features(files: dict[str, bytes], modality: str, split: str, utterances: list[_Utterance]) -> np.ndarray:
    """Float64[n d], the features in one file. utterances: one per row, with the same labels as in the file."""
    name, width, values = f"{modality}_{split}.csv", WIDTHS[modality], []
    rows = _rows(files, name)
    if len(rows) != len(utterances):
        raise DataError(f"{name}: the file has {len(rows)} rows; it should have {len(utterances)}, as index_{split}.csv does")
    for k, (row, utterance) in enumerate(zip(rows, utterances), 1):
        if len(row) != width + 1:
            raise DataError(f"{name}: row {k} has {len(row)} values; it should have {width} features and the label")
        if _label(row[-1], name, k) != utterance.label:
            raise DataError(f"{name}: row {k} has the label {row[-1]}; {utterance.id} has {utterance.label} in transcripts.csv")
        values.append(_finite(row[:-1], name, k))
    return np.array(values)


def _finite(row: list[str], name: str, number: int) -> np.ndarray:
    try:
        values = np.array(row, np.float64)
    except ValueError:
        values = np.array([np.nan])
    if not np.isfinite(values).all():
        bad = next(value for value in row if not _is_finite(value))
        raise DataError(f"{name}: row {number} has the value {bad!r}; all features should be finite numbers")
    return values


def _is_finite(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
