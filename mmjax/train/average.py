"""Exponential moving averages of parameters, which are evaluated and saved in place of the parameters."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from mmjax.types import Batch

__all__ = ["Average"]


@dataclass(frozen=True)
class Average:
    """Wraps a `Step`: after each step, average = d * average + (1 - d) * parameters, with d = min(decay, (1 + n) / (10 + n)).

    n: the number of steps taken, so that early steps are forgotten soon, as in TensorFlow's ExponentialMovingAverage. The state
    begins with an average (`Training.init`), or the first step begins with the parameters. Its `variables` are then the
    averages; training uses the parameters. Batch statistics stay those of the parameters,
    and averages of pruned parameters are not sparse.

    decay: dimensionless, in [0, 1); 0 makes the average equal to the parameters. ValueError if it is not.
    """

    decay: float = 0.999

    def __post_init__(self):
        if not 0 <= self.decay < 1:
            raise ValueError(f"Average.decay is {self.decay}; it must be at least 0 and below 1")

    def __call__(self, step: Callable) -> Callable:
        def averaging(state: Any, frozen: Any, batch: Batch) -> tuple[Any, Any]:
            new, metrics = step(state, frozen, batch)
            n = new.step.astype(jnp.float32)
            decay = jnp.minimum(self.decay, (1 + n) / (10 + n))
            mix = lambda old, leaf: (decay * old + (1 - decay) * leaf).astype(leaf.dtype)
            before = state.params if state.average is None else state.average
            return new.replace(average=jax.tree.map(mix, before, new.params)), metrics

        return averaging
