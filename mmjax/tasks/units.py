"""Units of tasks with one reference answer per row or per labelled step, and the checks that these tasks share."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool

from mmjax.data.dataset import Dataset
from mmjax.types import Units

__all__ = ["at_entries", "find_classes", "find_output", "find_target", "listed", "modality_of", "target_of", "target_units"]


def target_of(output: str) -> str:
    """The target that an output is compared with by default: "label" for both "label" and "image.label"."""
    return output.rpartition(".")[2]


def modality_of(output: str) -> str:
    """The modality of an output of unimodal heads, such as "image" of "image.label"; "" for an output of the fused tokens."""
    return output.rpartition(".")[0]


def listed(names: Iterable[str]) -> str:
    """Sorted names, separated by commas, for an error message."""
    return ", ".join(sorted(names)) or "none"


def find_output(field: str, name: str, outputs: Mapping[str, Any]) -> tuple[int, ...]:
    """The shape of an output. Raises ValueError, naming the field, if the model has no such output."""
    if name not in outputs:
        raise ValueError(f"{field}: the model has no output {name!r}; its outputs are {listed(outputs)}")
    return tuple(outputs[name].shape)


def find_target(field: str, name: str, data: Dataset, split: str = "test") -> np.ndarray:
    """A target of one split, [n ...]. Raises ValueError, naming the field, if the data have no such target."""
    targets = data.splits[split].targets
    if name not in targets:
        raise ValueError(f"{field}: the data have no target {name!r}; their targets are {listed(targets)}")
    return np.asarray(targets[name])


def find_classes(field: str, name: str, data: Dataset) -> tuple[str, ...]:
    """The names of a target's classes or labels. Raises ValueError, naming the field, if it has none."""
    if name not in data.classes:
        raise ValueError(f"{field}: target {name!r} has no classes; the targets with classes are {listed(data.classes)}")
    return tuple(data.classes[name])


def target_units(data: Dataset, split: str, valid: Bool[np.ndarray, "n ..."], target: Mapping[str, np.ndarray]) -> Units:
    """One unit per valid entry of a target.

    valid: Bool[n] for one entry per row, Bool[n m] for one per step; the valid steps of a row share its weight equally.
    target: {name: array [n *m ...]}, the reference answers of all entries. Raises ValueError if the metadata do not have one
    value per row, or per valid step.
    """
    rows, metadata = data.splits[split], data.metadata[split]
    entry = np.flatnonzero(valid)
    steps = 1 if valid.ndim == 1 else valid.shape[1]
    row = entry // steps
    share = np.asarray(rows.weight) / np.maximum(valid.reshape(len(valid), steps).sum(axis=1), 1)
    # The metadata of a target with steps have a value for each valid step, in order.
    metadata_index, count = (np.arange(len(entry)), len(entry)) if valid.ndim > 1 else (entry, len(valid))
    for column, values in metadata.items():
        if len(values) != count:
            what = "labelled step" if valid.ndim > 1 else "row"
            raise ValueError(
                f"metadata column {column!r} of the {split} split has {len(values)} entries; this target needs one per {what}: "
                f"{count}"
            )
    return Units(
        target={name: values.reshape(valid.size, *values.shape[valid.ndim :])[entry] for name, values in target.items()},
        weight=share[row].astype(np.float32),
        group=np.asarray(metadata["group"])[metadata_index],
        metadata={column: np.asarray(values)[metadata_index] for column, values in metadata.items()},
        row=row,
        entry=entry,
    )


def at_entries(predicted: np.ndarray, units: Units, ndim: int) -> np.ndarray:
    """The predictions of the units: [n *m ...] -> [u ...]. ndim: the number of dimensions of one entry."""
    trailing = predicted.shape[predicted.ndim - ndim :]
    return predicted.reshape(-1, *trailing)[units.entry]
