"""Which rows make the batch of a step: a function of (seed, step) alone, so that a run can begin anywhere."""

from functools import lru_cache

import numpy as np


@lru_cache(maxsize=64)
def _epoch(seed: int, epoch: int, rows: int) -> np.ndarray:
    # Raw Philox bits are fixed by their definition (Salmon et al., 2011); NumPy's `permutation` may change with its version.
    bits = np.random.Philox(key=np.array([seed, epoch], np.uint64)).random_raw(rows)
    order = np.argsort(bits, kind="stable")
    order.flags.writeable = False
    return order


def shuffled(seed: int, step: int, rows: int, batch: int) -> np.ndarray:
    """Int64[batch]: the rows of step `step`. Every row once an epoch, each epoch in an order of its own, epochs end to end."""
    if rows < 1 or batch < 1:
        raise ValueError(f"rows is {rows} and batch is {batch}; both must be at least 1")
    place = step * batch + np.arange(batch)
    return np.array([_epoch(seed, int(epoch), rows)[at] for epoch, at in zip(place // rows, place % rows)])


def in_order(rows: int, batch: int) -> np.ndarray:
    """Int64[batches batch]: all rows once, the last batch padded by -1."""
    padded = np.full(-(-rows // batch) * batch, -1)
    padded[:rows] = np.arange(rows)
    return padded.reshape(-1, batch)
