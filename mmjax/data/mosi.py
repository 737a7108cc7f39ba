"""Is this utterance positive or negative, from its words, the voice and the face? CMU-MOSI in its published features.

2,199 opinion utterances from 93 videos (Zadeh et al., "MOSI", 2016), with the utterance-level features published beside Poria
et al., "Context-Dependent Sentiment Analysis in User-Generated Videos" (ACL 2017). Those of words and face were made by
networks that had learnt from labels of the training videos: on training videos that a model was not trained on it does far
better than on test videos (linear: 98 against 76 % from words), so validation among them says little. Research data, and no
part of this project: a folder that the user names holds

    transcripts.csv                      one row an utterance: "VIDEO_NUMBER", words, number of the video, label (1 positive)
    {text,audio,video}_{train,test}.csv  one row an utterance: 100 (words), 73 (voice) or 100 (face) features, then the label
    index_{train,test}.csv               row k is the transcripts' row (from 0) of row k of the split's feature files
"""

import csv
import dataclasses
import hashlib
import io
import json
import math
import os
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmjax.data.dataset import Column, Dataset, Rows
from mmjax.data.decode import DataError, decode_text
from mmjax.data.splits import grouped_folds
from mmjax.types import Padded

WIDTHS = {"text": 100, "audio": 73, "video": 100}
CLASSES = ("negative", "positive")
PARTS = ("train", "test")
VARIABLE = "MMJAX_MOSI"
FILES = ("transcripts.csv", *(f"{name}_{part}.csv" for name in ("index", *WIDTHS) for part in PARTS))


@dataclasses.dataclass(frozen=True)
class Mosi:
    """CMU-MOSI in two forms whose test utterances are the same, in the same order: by video, then by number.

    context: False, a row is an utterance, its inputs vectors [b d], its target Int[n]. True, a row is a video, its inputs
    Padded [b m d] of its utterances, m being the longest video's number; its target Int[n m], -1 beyond its length; it
    weighs as much as it has utterances. `about` has one entry an utterance in both.
    folds, fold, split_seed: the training videos are dealt into so many folds, and fold `fold` is the validation split.
    root: the folder; None takes the one that the environment variable MMJAX_MOSI names.
    """

    root: Path | None = None
    context: bool = False
    folds: int = 5
    fold: int = 0
    split_seed: int = 0

    def __post_init__(self):
        if self.folds < 2 or not 0 <= self.fold < self.folds:
            raise DataError(
                f"Mosi.fold is {self.fold} of {self.folds} folds; there must be 2 or more, for training and validation, and "
                "the first is 0"
            )

    def load(self) -> Dataset:
        """Reads and checks all files, cuts validation from the training videos, and fits z-scores on the rest of them."""
        files = read_files(self.root)
        table = read_table(files)
        given = np.flatnonzero(table.train)
        validation = grouped_folds(table.video[given], table.label[given], self.folds, self.split_seed) == self.fold
        which = {"train": given[~validation], "validation": given[validation], "test": np.flatnonzero(~table.train)}
        features = {name: standardised(x, which["train"]) for name, x in table.features.items()}
        columns, splits = (_videos if self.context else _utterances)(table, features, which)
        return Dataset(
            columns=columns,
            splits=splits,
            classes={"label": CLASSES},
            sizes={name: {"width": x.shape[1]} for name, x in features.items()},
            about={part: _about(table, at) for part, at in which.items()},
            dropped={"utterances": 0},
            fingerprint=self._fingerprint(files),
            media=partial(_media, table, which["test"]),
            source="the published features of CMU-MOSI",
        )

    def _fingerprint(self, files: dict[str, bytes]) -> str:
        """sha256 over the files and every field that changes an example."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "root"}
        digest = hashlib.sha256(json.dumps(fields).encode())
        for name in FILES:
            digest.update(hashlib.sha256(files[name]).digest())
        return digest.hexdigest()


class Table(NamedTuple):
    """All utterances, by video and then by number.

    id: str[n]; video: Int[n], the published number of its video; words: str[n]; label: Int32[n]; train: Bool[n], whether the
    official split trains on it; features: {modality: Float64[n d]}, as published.
    """

    id: np.ndarray
    video: np.ndarray
    words: np.ndarray
    label: np.ndarray
    train: np.ndarray
    features: dict[str, np.ndarray]


def find_root(root: Path | None) -> Path:
    """The folder: the argument, else what MMJAX_MOSI names. Raises DataError that tells where the data are from."""
    named = root or os.environ.get(VARIABLE)
    looked = f"{Path(named).resolve()} lacks {{}}" if named else "no folder was named"
    lacking = [name for name in FILES if not named or not (Path(named) / name).is_file()]
    if lacking:
        raise DataError(
            f"no CMU-MOSI features: {looked.format(', '.join(lacking))}. Name a folder with {', '.join(FILES)} by --data.root "
            f"or by the environment variable {VARIABLE}. They are research data and no part of mmjax: ask for the "
            "utterance-level features published beside 'Context-Dependent Sentiment Analysis in User-Generated Videos' (Poria "
            "et al., ACL 2017), and for CMU-MOSI itself its authors at Carnegie Mellon University (Zadeh et al., 2016); "
            "mmjax/data/mosi.py says how each file is laid out"
        )
    return Path(named)


def read_files(root: Path | None) -> dict[str, bytes]:
    """{name: content} of every file."""
    folder = find_root(root)
    return {name: (folder / name).read_bytes() for name in FILES}


def read_table(files: dict[str, bytes]) -> Table:
    """Every utterance with its features. Raises DataError, with file and row (from 1), where the files do not agree."""
    said = _transcripts(files)
    where = {part: _index(files, part, len(said)) for part in PARTS}
    both = np.concatenate([where[part] for part in PARTS])
    if len(set(both.tolist())) < len(both) or len(both) < len(said):
        missing = sorted(set(range(len(said))) - set(both.tolist()))
        what = f"row {missing[0] + 1} of transcripts.csv is in neither" if missing else "some rows are named twice"
        raise DataError(f"index_train.csv and index_test.csv: {what}; each transcript belongs to one split, once")
    train = np.zeros(len(said), bool)
    train[where["train"]] = True
    shared = {u.video for u, t in zip(said, train) if t} & {u.video for u, t in zip(said, train) if not t}
    if shared:
        raise DataError(f"index_test.csv: video {min(shared)} is in the training split too; a video belongs to one split")
    features = {}
    for name, width in WIDTHS.items():
        features[name] = np.zeros((len(said), width))
        for part in PARTS:
            features[name][where[part]] = _features(files, name, part, [said[i] for i in where[part]])
    names = [(u.id.rsplit("_", 1)[0], int(u.id.rsplit("_", 1)[1])) for u in said]
    order = sorted(range(len(said)), key=names.__getitem__)
    pick = lambda values, dtype=None: np.array([values[i] for i in order], dtype)
    return Table(
        id=pick([u.id for u in said]),
        video=pick([u.video for u in said], np.int64),
        words=pick([u.words for u in said]),
        label=pick([u.label for u in said], np.int32),
        train=train[order],
        features={name: x[order] for name, x in features.items()},
    )


class _Said(NamedTuple):
    """A row of the transcripts."""

    id: str
    words: str
    video: int
    label: int


def _rows(files: dict[str, bytes], name: str) -> list[list[str]]:
    rows = list(csv.reader(io.StringIO(decode_text(files[name], name), newline="")))
    if not rows:
        raise DataError(f"{name}: the file is empty; it should have one row an utterance")
    return rows


def _transcripts(files: dict[str, bytes]) -> list[_Said]:
    name, said = "transcripts.csv", []
    for k, row in enumerate(_rows(files, name), 1):
        if len(row) != 4:
            raise DataError(f"{name}: row {k} has {len(row)} values; it should have 4: id, words, number of the video, label")
        key, words, video, label = row
        title, _, number = key.rpartition("_")
        if not title or not number.isdecimal():
            raise DataError(f"{name}: row {k} has the id {key!r}; it should be a video and a number, as in abc_12")
        if not video.isdecimal():
            raise DataError(f"{name}: row {k} has {video!r} for the number of its video; it should be a whole number")
        said.append(_Said(key, words, int(video), _label(label, name, k)))
    numbers = {u.id.rsplit("_", 1)[0]: u.video for u in said}
    for k, u in enumerate(said, 1):
        if numbers[u.id.rsplit("_", 1)[0]] != u.video:
            raise DataError(f"{name}: row {k}, {u.id}, has the video number {u.video}, which other rows of its video do not")
    if len(set(numbers.values())) < len(numbers):
        raise DataError(f"{name}: two videos have the same number in the third column; each should have its own")
    if len({u.id for u in said}) < len(said):
        raise DataError(f"{name}: an id occurs twice; each utterance should have one row")
    return said


def _label(text: str, name: str, row: int) -> int:
    if text not in ("0", "1"):
        raise DataError(f"{name}: row {row} has the label {text!r}; it should be 1 (positive) or 0 (negative)")
    return int(text)


def _index(files: dict[str, bytes], part: str, rows: int) -> np.ndarray:
    name, numbers = f"index_{part}.csv", []
    for k, row in enumerate(_rows(files, name), 1):
        if len(row) != 1 or not row[0].strip().isdecimal() or int(row[0]) >= rows:
            raise DataError(f"{name}: row {k} is {','.join(row)!r}; it should be one row of transcripts.csv, 0 to {rows - 1}")
        numbers.append(int(row[0]))
    return np.array(numbers)


def _features(files: dict[str, bytes], modality: str, part: str, said: list[_Said]) -> np.ndarray:
    """Float64[n d] of one file, whose rows are those of the split, labels included."""
    name, width, values = f"{modality}_{part}.csv", WIDTHS[modality], []
    rows = _rows(files, name)
    if len(rows) != len(said):
        raise DataError(f"{name}: the file has {len(rows)} rows; it should have {len(said)}, as index_{part}.csv does")
    for k, (row, utterance) in enumerate(zip(rows, said), 1):
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


def standardised(x: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Float32[n d], (x - mean) / deviation over the training utterances; features that never vary there are not scaled."""
    mean, deviation = x[train].mean(axis=0), x[train].std(axis=0)
    return ((x - mean) / np.where(deviation > 1e-8, deviation, 1)).astype(np.float32)


def _same(x: Any) -> Any:
    return x


def _utterances(table: Table, features: dict[str, np.ndarray], which: dict[str, np.ndarray]) -> tuple[dict, dict]:
    """Columns and splits with one row an utterance."""
    columns = {name: Column(len(x), x.__getitem__, _same) for name, x in features.items()}
    splits = {
        part: Rows({name: at.astype(np.int32) for name in features}, {"label": table.label[at]}, np.ones(len(at), np.float32))
        for part, at in which.items()
    }
    return columns, splits


def _videos(table: Table, features: dict[str, np.ndarray], which: dict[str, np.ndarray]) -> tuple[dict, dict]:
    """Columns and splits with one row a video, whose utterances lie side by side in the table."""
    _, first, length = np.unique(table.video, return_index=True, return_counts=True)
    order = np.argsort(first)  # videos as they follow one another in the table, and not by number
    first, length = first[order], length[order]
    most = int(length.max())
    label = np.full((len(first), most), -1, np.int32)
    for i, (start, n) in enumerate(zip(first, length)):
        label[i, :n] = table.label[start : start + n]

    def read(x: np.ndarray, number: int) -> Padded:
        n, padded = length[number], np.zeros((most, x.shape[1]), np.float32)
        padded[:n] = x[first[number] : first[number] + n]
        return Padded(padded, np.int32(n))

    columns = {name: Column(len(first), partial(read, x), _same) for name, x in features.items()}
    splits = {}
    for part, at in which.items():
        videos = np.flatnonzero(np.isin(first, at)).astype(np.int32)
        splits[part] = Rows(dict.fromkeys(features, videos), {"label": label[videos]}, length[videos].astype(np.float32))
    return columns, splits


def _about(table: Table, at: np.ndarray) -> dict[str, np.ndarray]:
    return {"id": table.id[at], "group": table.video[at], "text": table.words[at]}


def _media(table: Table, test: np.ndarray, unit: int) -> dict[str, Any]:
    """Of an evaluated utterance there are the words alone: videos are not part of the features."""
    at = test[unit]
    return {"id": str(table.id[at]), "caption": str(table.words[at]), "language": "", "image": None, "sound": None}
