"""When weights are pruned: schedules of the sparsity over a training.

A schedule is a frozen dataclass with these methods. steps: of the training. update: Int[], the number of an update, from 1.

    check()                         ValueError if a field is out of range
    last(steps)                     the update that reaches the final sparsity
    prunes(steps, update)           whether weights are pruned in this update
    sparsity(final, steps, update)  the sparsity after it
"""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

__all__ = ["Gradual", "OneShot"]


@dataclass(frozen=True)
class OneShot:
    """Prunes once. at: the fraction of the training, in [0, 1)."""

    at: float = 0.5

    def check(self) -> None:
        """ValueError if `at` is out of range."""
        if not 0 <= self.at < 1:
            raise ValueError(f"OneShot.at is {self.at}; it must be a fraction of the training, at least 0 and below 1")

    def last(self, steps: int) -> int:
        """The number of the update, from 1, that reaches the final sparsity."""
        return int(self.at * steps) + 1

    def prunes(self, steps: int, update: Any) -> Bool[Array, ""]:
        """Whether weights are pruned in an update."""
        return update == self.last(steps)

    def sparsity(self, final: float, steps: int, update: Any) -> Float[Array, ""]:
        """The sparsity after an update."""
        return jnp.where(update >= self.last(steps), final, 0.0)


@dataclass(frozen=True)
class Gradual:
    """Gradual pruning, s_t = s (1 - (1 - (t - begin) / (end - begin))^3) (Zhu and Gupta, 2017, "To prune, or not to prune",
    equation 1).

    begin, end: fractions of the training, 0 <= begin < end <= 1. every: steps between prunings.
    """

    begin: float = 0.1
    end: float = 0.7
    every: int = 10

    def check(self) -> None:
        """ValueError if a field is out of range."""
        if not 0 <= self.begin < self.end <= 1:
            raise ValueError(f"Gradual.begin is {self.begin} and end {self.end}; they must be 0 <= begin < end <= 1")
        if self.every < 1:
            raise ValueError(f"Gradual.every is {self.every}; it must be at least 1")

    def last(self, steps: int) -> int:
        """The number of the update, from 1, that reaches the final sparsity."""
        return max(round(self.end * steps), 1)

    def prunes(self, steps: int, update: Any) -> Bool[Array, ""]:
        """Whether weights are pruned in an update."""
        since = update - round(self.begin * steps)
        return (since > 0) & (since % self.every == 0) & (update <= self.last(steps)) | (update == self.last(steps))

    def sparsity(self, final: float, steps: int, update: Any) -> Float[Array, ""]:
        """The sparsity after an update."""
        first, last = round(self.begin * steps), self.last(steps)
        done = jnp.maximum(update - first, 0) // self.every * self.every / max(last - first, 1)
        done = jnp.where(update >= last, 1.0, jnp.minimum(done, 1.0))
        return jnp.where(update >= last, final, final * (1 - (1 - done) ** 3))
