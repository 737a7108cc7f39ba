"""CMU-MOSI as MMSA trains on it: real-valued sentiment of utterances from sequences of features, in MMSA's split.

`formats.mmsa` reads the same file with z-scores and a tokenizer of its own, for any experiment. This is what MMSA's own code
feeds its models (Mao et al., ACL 2022; src/MMSA/data_loader.py), to compare with its published results.
"""

import dataclasses
import hashlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.data.dataset import Column, Dataset, Rows, identity
from mmjax.data.decode import DataError
from mmjax.data.formats.features import SPLITS, check_counts, read_parts, without_infinity
from mmjax.data.inputs import SeriesInput, VectorInput
from mmjax.data.named_folder import named_folder
from mmjax.types import Padded

__all__ = ["FIELDS", "FILE", "SOURCE", "VARIABLE", "MmsaMosi"]

FILE, VARIABLE = "unaligned_50.pkl", "MMJAX_MMSA"
SOURCE = "It is research data and not part of mmjax: the README of MMSA (thuiar/MMSA) says where to get MOSI/Processed"
FIELDS = ("id", "raw_text", "text", "text_bert", "audio", "vision", "audio_lengths", "vision_lengths", "regression_labels")


@dataclasses.dataclass(frozen=True)
class MmsaMosi:
    """MMSA's file MOSI/Processed/unaligned_50.pkl: modalities "text", "audio" and "vision", target "score", Float32[n] from -3
    to 3. As in MMSA, nothing is z-scored, and minus infinity becomes 0.

    The groups are videos; the metadata have the texts. A sequence of length 0 is an absent modality.

    root: the folder of the file; None: the value of the environment variable MMJAX_MMSA. token_ids: the text is the token ids
    of BERT, Padded Int32[t]; else features of BERT, Padded Float32[t d], of all t positions, even of padding. means: audio and
    vision are means over all steps of the file, with padding, Float32[d] (MMSA's need_normalized); else Padded Float32[t d].
    """

    root: Path | None = None
    token_ids: bool = False
    means: bool = False

    def load(self) -> Dataset:
        """Reads and checks the file. Raises DataError, naming file, split and field, for anything that cannot be used."""
        file = named_folder(self.root, VARIABLE, [FILE], "CMU-MOSI of MMSA", SOURCE) / FILE
        parts = read_parts(file, FIELDS)
        counts = [check_counts(file, split, parts[split], FIELDS) for split in SPLITS]
        for split in SPLITS:
            _check(file, split, parts)
        joined = {name: np.concatenate([np.asarray(parts[split][name]) for split in SPLITS]) for name in FIELDS}
        inputs = {"text": _token_ids(joined["text_bert"]) if self.token_ids else _all_steps(joined["text"])}
        inputs |= {name: _signal(joined, name, self.means) for name in ("audio", "vision")}
        columns, pointer = {}, {}
        for name, x in inputs.items():
            columns[name] = Column(sum(counts), partial(_item, x), identity, parse=_parse(x))
            absent = x.length == 0 if isinstance(x, Padded) else np.zeros(len(x), bool)
            pointer[name] = np.where(absent, -1, np.arange(sum(counts))).astype(np.int32)
        score = joined["regression_labels"].reshape(-1).astype(np.float32)
        ids, texts = joined["id"].astype(str), joined["raw_text"].astype(str)
        video = np.unique([name.partition("$_$")[0] for name in ids], return_inverse=True)[1].astype(np.int64)
        at = dict(zip(("train", "validation", "test"), np.split(np.arange(sum(counts)), np.cumsum(counts)[:-1])))
        rows = lambda i: Rows({name: p[i] for name, p in pointer.items()}, {"score": score[i]}, np.ones(len(i), np.float32))
        return Dataset(
            columns=columns,
            splits={split: rows(i) for split, i in at.items()},
            metadata={split: {"id": ids[i], "group": video[i], "text": texts[i]} for split, i in at.items()},
            fingerprint=self._fingerprint(file),
            media=partial(_media, ids[at["test"]], texts[at["test"]]),
            source="MMSA's features of CMU-MOSI",
        )

    def _fingerprint(self, file: Path) -> str:
        """sha256 of the file and of the fields that change an example."""
        digest = hashlib.sha256(f"{self.token_ids} {self.means}".encode())
        with file.open("rb") as data:
            digest.update(hashlib.file_digest(data, "sha256").digest())
        return digest.hexdigest()


def _check(file: Path, split: str, parts: dict[str, dict[str, Any]]) -> None:
    """Raises DataError unless the shapes and values of a split are as MMSA's code needs them."""
    part = parts[split]
    for name, shape in (("text", "[n t d]"), ("audio", "[n t d]"), ("vision", "[n t d]"), ("text_bert", "[n 3 t]")):
        x = np.asarray(part[name])
        if x.ndim != 3 or x.dtype.kind not in "uif" or not x.size or (name == "text_bert" and x.shape[1] != 3):
            raise DataError(f"{file}: {split}.{name} is {x.dtype}{list(x.shape)}; it must be numbers {shape}")
        if x.shape[1:] != np.shape(parts["train"][name])[1:]:
            wanted = list(np.shape(parts["train"][name])[1:])
            raise DataError(f"{file}: rows of {split}.{name} have the shape {list(x.shape[1:])}; those of train have {wanted}")
        if np.isnan(x).any() or np.isposinf(x).any():
            raise DataError(f"{file}: {split}.{name} has NaN or infinity; only minus infinity is allowed, which becomes 0")
        lengths = np.asarray(part.get(f"{name}_lengths", 0))
        if lengths.dtype.kind not in "ui" or (lengths < 0).any() or (lengths > x.shape[1]).any():
            raise DataError(f"{file}: {split}.{name}_lengths must be whole numbers from 0 to {x.shape[1]}")
    ids, valid, _ = np.asarray(part["text_bert"]).swapaxes(0, 1)
    if (ids < 0).any() or not np.isin(valid, (0, 1)).all() or (np.diff(valid, axis=1) > 0).any():
        raise DataError(f"{file}: {split}.text_bert must be token ids, their mask of ones and then zeros, and segments")
    score = np.asarray(part["regression_labels"])
    if score.dtype.kind not in "uif" or score.size != len(score) or not (np.abs(score) <= 3).all():
        raise DataError(f"{file}: {split}.regression_labels must be one number from -3 to 3 for each row")


def _token_ids(text: np.ndarray) -> Padded:
    """[n 3 t], ids, mask and segments -> the ids."""
    return Padded(text[:, 0].astype(np.int32), text[:, 1].sum(axis=1).astype(np.int32))


def _all_steps(x: np.ndarray) -> Padded:
    return Padded(without_infinity(x), np.full(len(x), x.shape[1], np.int32))


def _signal(joined: dict[str, np.ndarray], name: str, means: bool) -> Any:
    x = without_infinity(joined[name])
    return x.mean(axis=1) if means else Padded(x, joined[f"{name}_lengths"].astype(np.int32))


def _item(x: Any, number: int) -> Any:
    return Padded(x.x[number], x.length[number]) if isinstance(x, Padded) else x[number]


def _parse(x: Any) -> Any:
    """How a new input of this kind is read; None for token ids, whose tokenizer the file does not have."""
    if not isinstance(x, Padded):
        return VectorInput(x.shape[1])
    return SeriesInput(*x.x.shape[1:]) if x.x.ndim == 3 else None


def _media(ids: np.ndarray, texts: np.ndarray, row: int) -> dict[str, Any]:
    """The words of a test utterance; the features have no media."""
    return {"id": str(ids[row]), "caption": str(texts[row])}
