"""What a row's file is made of."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

Weights = Mapping[str, np.ndarray]
TOLERANCE = {"cpu": 1e-3, "gpu": 1e-2}  # of float32, whose matmuls are TF32 on a GPU: numbers of 10 bits


@dataclass(frozen=True)
class Work:
    """One side of a case, built and not yet run.

    run: does the work once and returns when it is done, on an accelerator too. outputs: {name: array}, to be compared between
    the sides before the timing. parameters: how many numbers learn, 0 where there is no model. weights: the first side's, under
    the names and in the layouts of the others. flops: of one run, as any side counts them (multiplication and addition apart).
    compared_runs: how many of the first runs give a number that is to be equal too, such as a training step's loss, which shows
    that the updates are.
    """

    run: Callable[[], object]
    outputs: Mapping[str, np.ndarray]
    parameters: int = 0
    weights: Weights = field(default_factory=dict)
    flops: float = 0.0
    compared_runs: int = 0


@dataclass(frozen=True)
class Case:
    """The same work on several sides.

    sides: {name: weights -> Work}; the first is mmjax's, gets no weights and gives them to the others. goals: {side: the ratio
    to it that we want at least}. dtype: of the GEMM that its speed is compared with. tolerance: of outputs, as a share of the
    largest number. note: what a reader of the table has to know; or why there are no sides on this device. grown_from: a
    smaller case of the same row, "" without one: the page says how much more time and FLOPs this one takes.
    """

    name: str
    sides: Mapping[str, Callable[[Weights], Work]]
    goals: Mapping[str, float] = field(default_factory=dict)
    dtype: str = "float32"
    tolerance: float = 1e-3
    note: str = ""
    grown_from: str = ""
