"""Units of tasks whose rows, or labelled steps, have a reference answer; and the checks that such tasks share."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool

from mmjax.data.dataset import Dataset
from mmjax.types import Units


def target_of(output: str) -> str:
    """The target that an output is compared with by default: "label" for both "label" and "image.label"."""
    return output.rpartition(".")[2]


def modality_of(output: str) -> str:
    """The modality of an output of unimodal heads, such as "image" of "image.label"; "" for an output of the fused tokens."""
    return output.rpartition(".")[0]


def listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def find_output(field: str, name: str, outputs: Mapping[str, Any]) -> tuple[int, ...]:
    """The shape of an output; ValueError that names the field if the model has no such output."""
    if name not in outputs:
        raise ValueError(f"{field}: the model has no output {name!r}; its outputs are {listed(outputs)}")
    return tuple(outputs[name].shape)


def find_target(field: str, name: str, data: Dataset, split: str = "test") -> np.ndarray:
    """A target of one split; ValueError that names the field if the data have no such target."""
    targets = data.splits[split].targets
    if name not in targets:
        raise ValueError(f"{field}: the data have no target {name!r}; their targets are {listed(targets)}")
    return np.asarray(targets[name])


def find_classes(field: str, name: str, data: Dataset) -> tuple[str, ...]:
    """The names of a target's classes or labels; ValueError that names the field if it has none."""
    if name not in data.classes:
        raise ValueError(f"{field}: target {name!r} has no classes; the targets with classes are {listed(data.classes)}")
    return tuple(data.classes[name])


def target_units(data: Dataset, split: str, valid: Bool[np.ndarray, "n ..."], target: Mapping[str, np.ndarray]) -> Units:
    """The units of a target: its valid entries.

    valid: Bool[n] for a unit per row, Bool[n m] for a unit per step; the valid steps of a row share its weight equally.
    target: {name: array [n *m ...]}, the reference answers of all entries.
    """
    rows, metadata = data.splits[split], data.metadata[split]
    entry = np.flatnonzero(valid)
    steps = 1 if valid.ndim == 1 else valid.shape[1]
    row = entry // steps
    share = np.asarray(rows.weight) / np.maximum(valid.reshape(len(valid), steps).sum(axis=1), 1)
    known = np.arange(len(entry)) if valid.ndim > 1 else entry  # the entry of the metadata
    count = len(entry) if valid.ndim > 1 else len(valid)
    for column, values in metadata.items():
        if len(values) != count:
            what = "labelled step" if valid.ndim > 1 else "row"
            raise ValueError(
                f"metadata column {column!r} of the {split} split has {len(values)} entries; this target needs one per {what}, "
                f"which is {count}"
            )
    return Units(
        target={name: values.reshape(valid.size, *values.shape[valid.ndim :])[entry] for name, values in target.items()},
        weight=share[row].astype(np.float32),
        group=np.asarray(metadata["group"])[known],
        metadata={column: np.asarray(values)[known] for column, values in metadata.items()},
        row=row,
        entry=entry,
    )


def at_entries(predicted: np.ndarray, units: Units, ndim: int) -> np.ndarray:
    """The predictions that belong to the units: [n *m ...] -> [u ...], where `ndim` trailing dimensions belong to one entry."""
    trailing = predicted.shape[predicted.ndim - ndim :]
    return predicted.reshape(-1, *trailing)[units.entry]
