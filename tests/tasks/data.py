"""A data set of rows without inputs, for tests of tasks."""

import numpy as np

from mmjax.data.dataset import Column, Dataset, Rows, identity

SPLITS = ("train", "validation", "test")


def dataset(targets, *, classes=None, pointer=None, weight=None, **metadata):
    """The same rows in each split. targets: {name: array [n ...]}; pointer: {modality: Int[n]}, by default item i for row i."""
    rows = len(next(iter(targets.values())))
    pointer = {name: np.asarray(p, np.int32) for name, p in (pointer or {"image": np.arange(rows)}).items()}
    weight = np.ones(rows, np.float32) if weight is None else np.asarray(weight, np.float32)
    metadata = {"id": np.array([f"row{i}" for i in range(rows)]), "group": np.arange(rows)} | {
        name: np.asarray(values) for name, values in metadata.items()
    }
    columns = {name: Column(int(p.max()) + 1, lambda i: np.float32(i), identity) for name, p in pointer.items()}
    return Dataset(
        columns=columns,
        splits={split: Rows(pointer, targets, weight) for split in SPLITS},
        metadata=dict.fromkeys(SPLITS, metadata),
        fingerprint="test",
        classes=classes or {},
    )
