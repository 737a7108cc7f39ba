"""The rows of each batch as a function of (seed, step) alone, so that a run can start at any step."""

from functools import lru_cache

import numpy as np


@lru_cache(maxsize=64)
def _epoch(seed: int, epoch: int, rows: int) -> np.ndarray:
    # The bits of Philox are fixed by its definition (Salmon et al., 2011); `permutation` may change with the NumPy version.
    bits = np.random.Philox(key=np.array([seed, epoch], np.uint64)).random_raw(rows)
    order = np.argsort(bits, kind="stable")
    order.flags.writeable = False
    return order


def shuffled(seed: int, step: int, rows: int, batch: int) -> np.ndarray:
    """Int64[batch], the rows of a step. Every row occurs once per epoch; each epoch has a new order; batches span epochs.

    Raises ValueError if rows or batch is below 1.
    """
    if rows < 1 or batch < 1:
        raise ValueError(f"rows is {rows} and batch is {batch}; both must be at least 1")
    place = step * batch + np.arange(batch)
    return np.array([_epoch(seed, int(epoch), rows)[at] for epoch, at in zip(place // rows, place % rows)])


def in_order(rows: int, batch: int) -> np.ndarray:
    """Int64[batches batch]: every row once, the last batch padded with -1."""
    padded = np.full(-(-rows // batch) * batch, -1)
    padded[:rows] = np.arange(rows)
    return padded.reshape(-1, batch)
