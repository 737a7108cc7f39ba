"""Cases and workloads: the contents of a row's file."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

Weights = Mapping[str, np.ndarray]
SEVERAL_STEPS, STEPS_PER_CALL = "mmjax 4 steps per call", 4  # a side that takes several training steps in one compiled call
TOLERANCE = {"cpu": 1e-3, "gpu": 1e-2}  # of float32; matmuls on a GPU are TF32, with a mantissa of 10 bits


@dataclass(frozen=True)
class Workload:
    """One side of a case, built and not yet run.

    run: does the work `repeats` times and returns when it is finished, on an accelerator too. outputs: {name: array}, compared
    between the sides before timing. parameters: number of learned parameters, 0 without a model. weights: the weights of the
    first side, with the names and layouts of the other sides. flops: of the work done once, multiplications and additions
    counted separately; 0 if another side counts them. bytes: that the work must read at least, if that bounds its time; else 0.
    compared_losses: number of first losses that are compared too; `run`
    then returns its losses, Float[] or Float[repeats]. repeats: how often one call of `run` does the work, such as training
    steps per compiled call.
    """

    run: Callable[[], object]
    outputs: Mapping[str, np.ndarray]
    parameters: int = 0
    weights: Weights = field(default_factory=dict)
    flops: float = 0.0
    bytes: float = 0.0
    compared_losses: int = 0
    repeats: int = 1


@dataclass(frozen=True)
class Case:
    """The same work on several sides.

    sides: {name: weights -> Workload}; the first one is mmjax's. It gets no weights, and its weights are passed to the others.
    goals: {side: the minimum ratio of its time to mmjax's}. dtype: of the GEMM that speeds are relative to. tolerance: of
    outputs, relative to the largest absolute value. note: printed below the table; the reason if there are no sides on this
    device. grown_from: the name of a smaller case of the same row, or ""; the table then states how time and FLOPs grow.
    """

    name: str
    sides: Mapping[str, Callable[[Weights], Workload]]
    goals: Mapping[str, float] = field(default_factory=dict)
    dtype: str = "float32"
    tolerance: float = 1e-3
    note: str = ""
    grown_from: str = ""
