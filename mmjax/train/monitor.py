"""The metrics of training steps on the host: checked for non-finite values, and averaged for the learning curve."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from mmjax.processes import whole
from mmjax.train.finite import NonFiniteError, diagnose
from mmjax.types import Batch

__all__ = ["Monitor"]


class Monitor:
    """Metrics of all seeds since the last evaluation. They are read one call late, so that the device is never idle.

    steps: number of training steps. rows: step -> Int[s b], rows of the training split, or None. seeds: their numbers, None for
    0, 1, ... Error messages use both. sums: {name: [sum [s], number of steps [s]]} as lists, since checkpoints contain them.
    """

    def __init__(self, steps: int, rows: Callable[[int], np.ndarray] | None = None, seeds: Sequence[int] | None = None):
        self.steps, self.rows, self.seeds = steps, rows, seeds
        self.sums: dict[str, list[list[float]]] = {}
        self._pending: tuple[range, Batch, Any] | None = None

    def add(self, chunk: range, batches: Batch, metrics: Any) -> None:
        """Settles the last call, then adds the metrics [k s] of a new one, with its batches [k s b ...]."""
        self.settle()
        self._pending = (chunk, batches, metrics)

    def settle(self) -> None:
        """Waits for the last call. NonFiniteError if one of its steps is not finite and was not skipped."""
        if self._pending is None:
            return
        (chunk, batches, metrics), self._pending = self._pending, None
        metrics = {name: np.asarray(metric) for name, metric in metrics.items()}
        finite = metrics["finite"]
        if not finite.all() and "skipped" not in metrics:
            self._raise(chunk, batches, metrics)
        for name in sorted(metrics.keys() - {"finite"}):
            counted = np.ones_like(finite) if name == "skipped" else finite
            total = np.where(counted, metrics[name], 0).sum(axis=0, dtype=np.float64)
            before = self.sums.get(name, [[0.0] * len(total), [0] * len(total)])
            self.sums[name] = [(np.asarray(old) + new).tolist() for old, new in zip(before, (total, counted.sum(axis=0)))]

    def _raise(self, chunk: range, batches: Batch, metrics: dict[str, np.ndarray]) -> None:
        """Raises NonFiniteError for the first non-finite step."""
        k, place = np.argwhere(~metrics["finite"])[0].tolist()
        step, batch = chunk[k], jax.tree.map(lambda leaf: leaf[k, place], whole(batches))
        rows = None if self.rows is None else self.rows(step)[place]
        where = f"step {step + 1} of {self.steps}, {self._seed(place)}"
        raise NonFiniteError(diagnose(where, {name: metric[k, place] for name, metric in metrics.items()}, batch, rows))

    def _seed(self, place: int) -> str:
        return f"seed {place if self.seeds is None else self.seeds[place]}"

    def means(self) -> dict[str, np.ndarray]:
        """The metrics since the last evaluation under their names in the learning curve, Float64[s]; then resets them.

        Means over the finite steps, except for "skipped", which is a number of steps. NonFiniteError if a seed skipped all.
        """
        self.settle()
        sums, self.sums, means = self.sums, {}, {}
        for name, (total, count) in sums.items():
            if min(count) == 0:
                raise NonFiniteError(
                    f"{self._seed(count.index(0))}: all steps since the last evaluation were skipped as non-finite; check "
                    "the data, or lower optim.lr or optim.clip"
                )
            shown = f"train_{name}" if name.startswith("loss") else name
            means[shown] = np.asarray(total) if name == "skipped" else np.asarray(total) / np.asarray(count)
        return means
