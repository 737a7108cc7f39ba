"""The rows of each batch as a function of (seed, step) alone, so that a run can start at any step.

`Epochs`, `Poisson` and `SharedOrder` are the values of `Experiment.sampling`.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import isqrt
from typing import Protocol, runtime_checkable

import numpy as np

__all__ = [
    "ARRAY_ROWS", "FEISTEL_STREAM", "MAX_OVERFLOW", "POISSON_STREAM", "ROUNDS", "Epochs", "Poisson", "Sampling", "SharedOrder",
    "in_order", "permuted", "shuffled",
]

ARRAY_ROWS = 1 << 17
"""Up to this number of rows, the order of an epoch is an array of 1 MB; above it, each place is computed by `permuted`."""
MAX_OVERFLOW = 1e-6  # more frequent failures would be noticed
ROUNDS = 8  # of the Feistel network; four are pseudo-random for large halves (Luby and Rackoff, 1988), small ones need more
FEISTEL_STREAM = np.array([0, 0, 0, 2], np.uint64)  # the counter of Philox; `_epoch` starts at 0


@lru_cache(maxsize=64)
def _epoch(seed: int, epoch: int, rows: int) -> np.ndarray:
    # The bits of Philox are fixed by its definition (Salmon et al., 2011); `permutation` may change with the NumPy version.
    bits = np.random.Philox(key=np.array([seed, epoch], np.uint64)).random_raw(rows)
    order = np.argsort(bits, kind="stable")
    order.flags.writeable = False
    return order


def permuted(seed: int, epoch: int, rows: int, place: np.ndarray) -> np.ndarray:
    """Int64[n]: the rows at these places, each in [0, rows), of a random permutation of all rows; takes O(n) time and memory.

    A Feistel network permutes the pairs of numbers below an even number, the next above sqrt(rows). A result that is not a row
    is permuted again until it is one (cycle walking; Black and Rogaway, 2002, "Ciphers with arbitrary finite domains"); this is
    rare, since there are few more pairs than rows. ValueError for places outside the range, or more than 2^62 rows.
    """
    if not 1 <= rows <= 1 << 62:
        raise ValueError(f"rows is {rows}; it must be from 1 to 2^62")
    place = np.asarray(place, np.int64)
    if place.size and not (place.min() >= 0 and place.max() < rows):
        raise ValueError(f"the places are {place.min()} to {place.max()}; they must be from 0 to {rows - 1}")
    side = np.uint64(2 * (isqrt(rows - 1) // 2 + 1))  # with an odd side, all permutations of the pairs would have one parity
    keys = np.random.Philox(key=np.array([seed, epoch], np.uint64), counter=FEISTEL_STREAM).random_raw(ROUNDS)
    found, walking = place.astype(np.uint64), np.arange(place.size)
    while walking.size:
        left, right = np.divmod(found[walking], side)
        for key in keys:
            left, right = right, (left + _mixed(right ^ key) % side) % side
        found[walking] = left * side + right
        walking = walking[found[walking] >= rows]
    return found.astype(np.int64)


def _mixed(x: np.ndarray) -> np.ndarray:
    """The output function of SplitMix64 (Steele, Lea and Flood, 2014): every bit of uint64 affects every bit."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def shuffled(seed: int, step: int, rows: int, batch: int) -> np.ndarray:
    """Int64[batch], the rows of a step. Every row occurs once per epoch; each epoch has a new order; batches span epochs.

    Raises ValueError if rows or batch is below 1.
    """
    if rows < 1 or batch < 1:
        raise ValueError(f"rows is {rows} and batch is {batch}; both must be at least 1")
    place = step * batch + np.arange(batch)
    if rows > ARRAY_ROWS:
        epochs = range(int(place[0] // rows), int(place[-1] // rows) + 1)
        return np.concatenate([permuted(seed, epoch, rows, place[place // rows == epoch] % rows) for epoch in epochs])
    return np.array([_epoch(seed, int(epoch), rows)[at] for epoch, at in zip(place // rows, place % rows)])


def in_order(rows: int, batch: int) -> np.ndarray:
    """Int64[batches batch]: every row once, the last batch padded with -1."""
    padded = np.full(-(-rows // batch) * batch, -1)
    padded[:rows] = np.arange(rows)
    return padded.reshape(-1, batch)


@runtime_checkable
class Sampling(Protocol):
    """How the rows of a training step are drawn; a frozen dataclass.

    width: (rows of the split, expected batch, steps) -> the number of places in a batch. draw: Int64[width], the rows of a step
    as a function of seed and step alone; -1 is padding.
    """

    def width(self, rows: int, batch: int, steps: int) -> int: ...

    def draw(self, seed: int, step: int, rows: int, batch: int, width: int) -> np.ndarray: ...


@dataclass(frozen=True)
class Epochs:
    """Every row once per epoch, in a new order each time; see `shuffled`."""

    def width(self, rows: int, batch: int, steps: int) -> int:
        """The batch itself."""
        del rows, steps
        return batch

    def draw(self, seed: int, step: int, rows: int, batch: int, width: int) -> np.ndarray:
        del width
        return shuffled(seed, step, rows, batch)


@dataclass(frozen=True)
class SharedOrder:
    """All seeds see the rows in the order of seed 0, so data that are streamed are read and preprocessed once for all seeds.

    Seeds then differ in their initialisation, augmentation and dropout alone. The spread over seeds no longer contains that of
    the data order, so intervals are conditional on this order; they are too narrow for claims about training in any order.

    sampling: how rows are drawn, `Epochs()` or `Poisson()`.
    """

    sampling: Sampling = Epochs()

    def width(self, rows: int, batch: int, steps: int) -> int:
        """That of `sampling`."""
        return self.sampling.width(rows, batch, steps)

    def draw(self, seed: int, step: int, rows: int, batch: int, width: int) -> np.ndarray:
        """The draw of `sampling` for seed 0."""
        del seed
        return self.sampling.draw(0, step, rows, batch, width)


@dataclass(frozen=True)
class Poisson:
    """Poisson sampling: each row joins each step independently, with probability batch / rows.

    This is the sampling that the privacy accountants of DP-SGD assume (Abadi et al., 2016; Mironov et al., 2019). The number of
    rows varies, so batches are padded with -1 to a fixed width.

    overflow: bound on the probability that a run of all steps draws more rows than the width in any of them. Such a run stops
    with ValueError: no row is ever left out. Accountants count this probability in delta. ValueError unless in (0, 1e-6].
    """

    overflow: float = 1e-12

    def __post_init__(self):
        if not 0 < self.overflow <= MAX_OVERFLOW:
            raise ValueError(f"Poisson.overflow is {self.overflow}; it must be above 0 and at most {MAX_OVERFLOW:g}")

    def width(self, rows: int, batch: int, steps: int) -> int:
        """The smallest width whose overflow probability, summed over the steps, is at most `overflow`."""
        from scipy.stats import binom

        _check_rate(rows, batch)
        width = int(binom.isf(self.overflow / steps, rows, batch / rows))
        while binom.sf(width, rows, batch / rows) * steps > self.overflow:  # isf rounds
            width += 1
        return max(width, 1)

    def draw(self, seed: int, step: int, rows: int, batch: int, width: int) -> np.ndarray:
        """Int64[width]: the drawn rows in ascending order, then -1. ValueError if there are more than `width`."""
        _check_rate(rows, batch)
        bits = np.random.Philox(key=np.array([seed, step], np.uint64), counter=POISSON_STREAM).random_raw(rows)
        drawn = np.arange(rows) if batch == rows else np.flatnonzero(bits < np.uint64((batch << 64) // rows))
        if len(drawn) > width:
            raise ValueError(
                f"step {step + 1} of seed {seed} draws {len(drawn)} rows, more than the width {width}; this happens with a "
                f"probability of at most {self.overflow:g} per run, so check that `steps` has not grown, or use another seed"
            )
        padded = np.full(width, -1)
        padded[: len(drawn)] = drawn
        return padded


POISSON_STREAM = np.array([0, 0, 0, 1], np.uint64)  # the counter of Philox; `_epoch` starts at 0


def _check_rate(rows: int, batch: int) -> None:
    if not 1 <= batch <= rows:
        raise ValueError(f"batch is {batch}; Poisson sampling needs 1 to {rows}, the rows of the training split")
