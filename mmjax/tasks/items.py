"""Items of a split: the distinct inputs of one or several modalities, to which several rows may point."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mmjax.data.dataset import Dataset

__all__ = ["Items", "items_of"]


class Items(NamedTuple):
    """i items in the order of their first rows.

    row: Int[i], the first row of an item. weight: Float32[i], the total weight of its rows. of_row: Int[n], the item of each
    row, -1 if it has none. metadata: {column: array [i]}.
    """

    row: np.ndarray
    weight: np.ndarray
    of_row: np.ndarray
    metadata: Mapping[str, np.ndarray]


def items_of(data: Dataset, split: str, modalities: Sequence[str]) -> Items:
    """The distinct tuples of items of these modalities among the rows of positive weight that have at least one of them.

    An item has the "id" and "group" of its first row. In other metadata columns, an item whose rows differ has "" or -1.
    Raises ValueError if the metadata do not have one entry per row.
    """
    rows, metadata = data.splits[split], data.metadata[split]
    pointer = np.stack([np.asarray(rows.pointer[name]) for name in modalities], axis=1)
    valid = np.flatnonzero((np.asarray(rows.weight) > 0) & (pointer >= 0).any(axis=1))
    _, first, item = np.unique(pointer[valid], axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)  # items by first row
    item = np.argsort(order)[item.reshape(-1)]
    row = valid[first[order]]
    of_row = np.full(len(pointer), -1)
    of_row[valid] = item
    known = {}
    for column, values in metadata.items():
        values = np.asarray(values)
        if len(values) != len(pointer):
            raise ValueError(
                f"metadata column {column!r} of the {split} split has {len(values)} entries for {len(pointer)} rows; it must "
                "have one per row"
            )
        known[column] = values[row]
        if column not in ("id", "group"):
            differs = item[values[valid] != known[column][item]]
            known[column] = known[column].copy()
            known[column][differs] = "" if values.dtype.kind in "UO" else -1
    weight = np.bincount(item, np.asarray(rows.weight)[valid], minlength=len(row)).astype(np.float32)
    return Items(row, weight, of_row, known)
