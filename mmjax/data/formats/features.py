"""Pickled features of multimodal sentiment sets: MOSI, MOSEI and CH-SIMS as MMSA ships them, and MultiBench's affect sets.

These are sequences of features per utterance, with scores from -3 to 3 (CH-SIMS -1 to 1). `mmjax.data.mosi` is another release
of MOSI: one vector per utterance and binary labels, as CSV files, published beside Poria et al. (2017).
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.data.custom.data import TableData, table_data
from mmjax.data.custom.reading import named_columns
from mmjax.data.custom.splitting import SplitColumn, splitting_of
from mmjax.data.custom.table import Cells, Table
from mmjax.data.custom.target_kinds import Scores
from mmjax.data.decode import DataError
from mmjax.data.formats.pickles import read_arrays_pickle

__all__ = [
    "MMSA_FIELDS", "MULTIBENCH_FIELDS", "SPLITS", "MmsaPickle", "MultiBenchPickle", "check_counts", "mmsa", "multibench",
    "read_parts", "without_infinity",
]

SPLITS = ("train", "valid", "test")
MMSA_FIELDS = ("raw_text", "text", "audio", "vision", "annotations", "classification_labels", "regression_labels")
MULTIBENCH_FIELDS = ("text", "audio", "vision", "labels")


@dataclass(frozen=True)
class MmsaPickle:
    """A feature file of MMSA (Mao et al., 2022), aligned or not.

    {"train", "valid", "test": {"raw_text": n texts, "audio", "vision", "text": [n t d], "audio_lengths", "vision_lengths" of
    unaligned files, "id": "VIDEO$_$CLIP", "regression_labels": [n], "annotations": "Negative" ...}}; CH-SIMS has
    "regression_labels_T", "_A" and "_V" too. Steps beyond the length are cut off, and -inf becomes 0, as in MMSA.
    """

    file: Path

    def read(self) -> Table:
        parts = read_parts(self.file, ("id", "regression_labels"))
        cells = {"id": [], "split": [], "video": []}
        known = lambda name: name in MMSA_FIELDS or re.fullmatch(r"regression_labels_\w+", str(name))
        found = [name for name in parts["train"] if known(name)]
        cells |= {name: [] for name in found}
        for split, part in parts.items():
            count = check_counts(self.file, split, part, ["id", *found])
            ids = [str(name) for name in part["id"]]
            cells["id"] += [f"{split}/{name}" for name in ids]
            cells["split"] += [split] * count
            cells["video"] += [name.partition("$_$")[0] for name in ids]
            for name in found:
                cells[name] += _series(part[name], part.get(f"{name}_lengths"), f"{self.file}: {split}.{name}")
        return Table(str(self.file), cells)


@dataclass(frozen=True)
class MultiBenchPickle:
    """A file of the affect sets of MultiBench (Liang et al., 2021), such as mosi_raw.pkl, humor.pkl or sarcasm.pkl.

    {"train", "valid", "test": {"text", "audio", "vision": [n t d], "labels": [n], [n 1] or [n 1 1], "id": [n] or [n k]}}. Steps
    of zeros before the first other step are padding, and are cut off: aligned: where the text begins; else where each modality
    does. Both are what MultiBench's loader does.
    """

    file: Path
    aligned: bool = True

    def read(self) -> Table:
        parts = read_parts(self.file, MULTIBENCH_FIELDS)
        cells = {name: [] for name in ("id", "split", "video", "label", "text", "audio", "vision")}
        for split, part in parts.items():
            count = check_counts(self.file, split, part, MULTIBENCH_FIELDS)
            ids = [_flat_name(name) for name in part["id"]] if "id" in part else [f"{row}" for row in range(count)]
            cells["id"] += [f"{split}/{row} {name}" for row, name in enumerate(ids)]
            cells["split"] += [split] * count
            cells["video"] += [re.split(r"\[| |\$_\$", name)[0] if "id" in part else f"{split} {name}" for name in ids]
            labels = np.asarray(part["labels"], np.float64)
            cells["label"] += list(labels.reshape(count, -1)[:, 0] if labels.size == count else labels.reshape(count, -1))
            starts = [_start(series) for series in part["text"]]
            for name in ("text", "audio", "vision"):
                own = starts if self.aligned else [_start(series) for series in part[name]]
                cells[name] += [None if at is None else without_infinity(x)[at:] for x, at in zip(part[name], own)]
        return Table(str(self.file), cells)


def mmsa(
    file: str | os.PathLike,
    inputs: Mapping[str, Any] | Iterable[str] | None = None,
    targets: Mapping[str, Any] | Iterable[str] | None = None,
    *,
    groups: Iterable[str] = ("video",),
    split: Any = None,
    kinds: Mapping[str, Any] | None = None,
) -> TableData:
    """MOSI, MOSEI or CH-SIMS from a feature file of MMSA; see `MmsaPickle`.

    inputs: None for {"text": "raw_text", "audio", "vision"}; "text" itself is the features of BERT. targets: None for {"score":
    "regression_labels"}; "annotations" has three classes. groups: utterances of a video share a split. The official split of
    CH-SIMS divides videos, which is an error: name groups=() to accept it, or split=KFold() for another. split: None for the
    official split.
    """
    inputs = {"text": "raw_text", "audio": "audio", "vision": "vision"} if inputs is None else inputs
    targets = {"score": "regression_labels"} if targets is None else targets
    return _data(MmsaPickle(Path(file)), inputs, targets, groups, split, kinds)


def multibench(
    file: str | os.PathLike,
    inputs: Mapping[str, Any] | Iterable[str] = ("text", "audio", "vision"),
    *,
    aligned: bool = True,
    groups: Iterable[str] = ("video",),
    split: Any = None,
    kinds: Mapping[str, Any] | None = None,
) -> TableData:
    """MOSI, MOSEI, UR-FUNNY or MUStARD from a file of MultiBench; see `MultiBenchPickle`.

    The target "label" is a score; state kinds={"label": Labels()} for humour and sarcasm, which have two classes. split: None
    for the official split.
    """
    return _data(MultiBenchPickle(Path(file), aligned), inputs, ("label",), groups, split, kinds)


def _data(source: Any, inputs: Any, targets: Any, groups: Iterable[str], split: Any, kinds: Any) -> TableData:
    targets = named_columns(targets)
    numbers = {of.name: Scores() for of in targets if of.columns[0].startswith(("regression", "label"))}
    splitting = SplitColumn() if split is None else splitting_of(split)
    return table_data(source, named_columns(inputs), targets, numbers | dict(kinds or {}), tuple(groups), "id", splitting)


def read_parts(file: Path, needed: Iterable[str]) -> dict[str, dict[str, Any]]:
    """{split: {field: values}}. Raises DataError if a split or a field is missing."""
    content = read_arrays_pickle(file)
    if not isinstance(content, dict) or not all(isinstance(content.get(split), dict) for split in SPLITS):
        given = ", ".join(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise DataError(f"{file}: it should be a dictionary with train, valid and test; it has {given[:200]}")
    for split in SPLITS:
        missing = next((name for name in needed if name not in content[split]), None)
        if missing:
            raise DataError(f"{file}: {split} has no field {missing!r}; it has {', '.join(map(str, content[split]))[:200]}")
    return {split: content[split] for split in SPLITS}


def check_counts(file: Path, split: str, part: Mapping[str, Any], fields: Iterable[str]) -> int:
    """The number of rows of a split. Raises DataError if two fields have different numbers."""
    counts = {}
    for name in fields:
        try:
            counts[name] = len(part[name])
        except (KeyError, TypeError):
            raise DataError(f"{file}: {split} has no values of {name!r}; it needs one for each row") from None
    if len(set(counts.values())) > 1:
        raise DataError(f"{file}: the fields of {split} have different numbers of rows: {counts}")
    return next(iter(counts.values()))


def _series(values: Cells, lengths: Any, where: str) -> list[Any]:
    """The cells of a field; series [t d] end at their length."""
    if np.ndim(values) != 3:
        return [value.item() if isinstance(value, np.generic) else value for value in values]
    values = without_infinity(values)
    if lengths is None:
        return list(values)
    if len(lengths) != len(values) or not all(0 <= int(n) <= values.shape[1] for n in lengths):
        raise DataError(f"{where}: the lengths must be {len(values)} numbers from 0 to {values.shape[1]}")
    return [x[: int(n)] if int(n) else None for x, n in zip(values, lengths)]


def without_infinity(values: Any) -> np.ndarray:
    """float32, with 0 for minus infinity, which COVAREP writes for silence."""
    values = np.asarray(values, np.float32)
    return np.where(np.isneginf(values), 0, values)


def _start(series: Any) -> int | None:
    """The first step that is not all zeros; None if all are."""
    steps = np.flatnonzero(np.asarray(series, np.float64).any(axis=-1))
    return int(steps[0]) if len(steps) else None


def _flat_name(name: Any) -> str:
    """An id, or the parts of an id, as one text."""
    parts = np.asarray(name).reshape(-1).tolist()
    return " ".join(part.decode("utf-8", "replace") if isinstance(part, bytes) else str(part) for part in parts)
