"""Budgets of attacks: the largest change of an input, by modality.

A budget is a frozen value with five pure functions of the clean input x, an array [b ...] or `Padded`, and of a change, an
array [b ...] in units of its own:

    zeros(x)                      no change
    draw(x, keys)                 a random change within the budget; keys: one per example
    steepest(x, gradient, size)   the change that increases a linear loss most, of `size` times the budget (a float or Float[b])
    project(x, change)            the nearest change within the budget, and within the range of the input
    add(x, change, live)          the changed input; live: Bool[b], the examples that change

Padding and examples that are not live remain as they are, bit for bit. A budget is `empty` if it allows no change, and its
`check(x)` raises ValueError for an input that it does not fit.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from mmjax.data.dataset import Column
from mmjax.data.scale import Scaled
from mmjax.robust.changes import (
    array_of,
    as_axis,
    ball_draw,
    ball_project,
    ball_step,
    changed_input,
    channels,
    in_range,
    norms,
    uniform,
    without_padding,
)

__all__ = ["L2", "SNR", "Budget", "Linf", "PerChannel", "check_epsilon", "original_units", "require"]

PerChannel = float | tuple[float, ...]
"""One number, or one per entry of the last axis, such as the channels of an image."""


@runtime_checkable
class Budget(Protocol):
    """See the top of this file."""

    @property
    def empty(self) -> bool: ...
    def check(self, x: Any) -> None: ...
    def zeros(self, x: Any) -> Array: ...
    def draw(self, x: Any, keys: Key[Array, " b"]) -> Array: ...
    def steepest(self, x: Any, gradient: Array, size: Any) -> Array: ...
    def project(self, x: Any, change: Array) -> Array: ...
    def add(self, x: Any, change: Array, live: Bool[Array, " b"]) -> Any: ...


def require(valid: Any, message: str) -> None:
    """ValueError with this message unless a field is valid."""
    if not valid:
        raise ValueError(message)


def check_epsilon(budget: Any, epsilon: Any) -> None:
    """ValueError unless epsilon is at least 0 and finite."""
    valid = np.all(np.isfinite(epsilon)) and np.all(np.asarray(epsilon) >= 0)
    require(valid, f"{type(budget).__name__}.epsilon is {epsilon}; it must be at least 0 and finite")


def _check_range(budget: Any) -> None:
    low = -np.inf if budget.low is None else np.asarray(budget.low)
    high = np.inf if budget.high is None else np.asarray(budget.high)
    name = type(budget).__name__
    require(np.all(low < high), f"{name}.low is {budget.low} and {name}.high is {budget.high}; low must be below high")


def _check_numbers(budget: Any, x: Any) -> None:
    """ValueError unless the input is one array of floats, with the channels of the budget."""
    name, ndim = type(budget).__name__, len(getattr(array_of(x), "shape", ()))
    valid = ndim > 1 and jnp.issubdtype(array_of(x).dtype, jnp.floating)
    given = f"{array_of(x).dtype}{list(array_of(x).shape)}" if ndim else type(x).__name__
    require(valid, f"{name} changes arrays of floats [b ...], but the input is {given}; token ids need Embeddings or HotFlip")
    for field in ("epsilon", "low", "high", "mean", "deviation"):
        count = np.size(getattr(budget, field, None))
        last = array_of(x).shape[-1]
        require(count in (1, last), f"{name}.{field} has {count} entries, but the last axis of the input has {last}")


def _check_units(budget: Any) -> None:
    _check_range(budget)
    valid = np.all(np.asarray(budget.deviation) > 0)
    require(valid, f"{type(budget).__name__}.deviation is {budget.deviation}; it must be above 0")


@dataclass(frozen=True)
class Linf:
    """Every entry changes by at most epsilon: |change| <= epsilon.

    epsilon: in original units, such as 8 / 255 for pixels in [0, 1]; one number, or one per channel. low, high: the range of
    the original input, None for no bound. mean, deviation: how the model's input was made, x = (original - mean) / deviation,
    one number or one per channel; with 0 and 1, original units are those of the model's input. For a data set with z-scores,
    `original_units` fills them in.
    """

    epsilon: PerChannel
    low: PerChannel | None = None
    high: PerChannel | None = None
    mean: PerChannel = 0.0
    deviation: PerChannel = 1.0

    def __post_init__(self):
        check_epsilon(self, self.epsilon)
        _check_units(self)

    @property
    def empty(self) -> bool:
        return not np.any(self.epsilon)

    def check(self, x: Any) -> None:
        _check_numbers(self, x)

    def zeros(self, x: Any) -> Array:
        return jnp.zeros(array_of(x).shape, jnp.float32)

    def draw(self, x: Any, keys: Key[Array, " b"]) -> Array:
        x_array = array_of(x)
        return without_padding(x, channels(self.epsilon, x_array.ndim) * uniform(keys, x_array.shape[1:]))

    def steepest(self, x: Any, gradient: Array, size: Any) -> Array:
        step = as_axis(size, gradient.ndim) * channels(self.epsilon, gradient.ndim)
        return without_padding(x, step * jnp.sign(gradient))

    def project(self, x: Any, change: Array) -> Array:
        epsilon = channels(self.epsilon, change.ndim)
        change = without_padding(x, jnp.clip(change, -epsilon, epsilon))
        return in_range(array_of(x), change, self.low, self.high, self.mean, self.deviation)

    def add(self, x: Any, change: Array, live: Bool[Array, " b"]) -> Any:
        return changed_input(x, array_of(x) + change / channels(self.deviation, change.ndim), live)


@dataclass(frozen=True)
class L2:
    """The Euclidean norm of an example's change is at most epsilon: ||change||_2 <= epsilon.

    epsilon: in original units. low, high, mean, deviation: as in `Linf`.
    """

    epsilon: float
    low: PerChannel | None = None
    high: PerChannel | None = None
    mean: PerChannel = 0.0
    deviation: PerChannel = 1.0

    def __post_init__(self):
        check_epsilon(self, self.epsilon)
        _check_units(self)

    @property
    def empty(self) -> bool:
        return self.epsilon == 0

    def check(self, x: Any) -> None:
        _check_numbers(self, x)

    def zeros(self, x: Any) -> Array:
        return jnp.zeros(array_of(x).shape, jnp.float32)

    def draw(self, x: Any, keys: Key[Array, " b"]) -> Array:
        return ball_draw(x, keys, array_of(x).shape, self.epsilon)

    def steepest(self, x: Any, gradient: Array, size: Any) -> Array:
        return ball_step(x, gradient, self.epsilon * jnp.asarray(size))

    def project(self, x: Any, change: Array) -> Array:
        change = ball_project(x, change, self.epsilon)
        return in_range(array_of(x), change, self.low, self.high, self.mean, self.deviation)

    def add(self, x: Any, change: Array, live: Bool[Array, " b"]) -> Any:
        return changed_input(x, array_of(x) + change / channels(self.deviation, change.ndim), live)


@dataclass(frozen=True)
class SNR:
    """The change of a waveform is at least `decibels` below its power: 10 log10(sum x^2 / sum change^2) >= decibels.

    Sums run over the valid samples of each clip, so silence does not change. decibels: the signal-to-noise ratio; infinity
    allows no change. low, high: the range of samples.
    """

    decibels: float
    low: float = -1.0
    high: float = 1.0

    def __post_init__(self):
        require(not math.isnan(self.decibels), f"SNR.decibels is {self.decibels}; it must be a number or infinity")
        _check_range(self)

    @property
    def empty(self) -> bool:
        return self.decibels == math.inf

    def radius(self, x: Any) -> Float[Array, " b"]:
        """The largest norm of the change of each clip."""
        return norms(without_padding(x, array_of(x))).reshape(-1) * 10 ** (-self.decibels / 20)

    def check(self, x: Any) -> None:
        _check_numbers(self, x)

    def zeros(self, x: Any) -> Array:
        return jnp.zeros(array_of(x).shape, jnp.float32)

    def draw(self, x: Any, keys: Key[Array, " b"]) -> Array:
        return ball_draw(x, keys, array_of(x).shape, self.radius(x))

    def steepest(self, x: Any, gradient: Array, size: Any) -> Array:
        return ball_step(x, gradient, self.radius(x) * jnp.asarray(size))

    def project(self, x: Any, change: Array) -> Array:
        return in_range(array_of(x), ball_project(x, change, self.radius(x)), self.low, self.high)

    def add(self, x: Any, change: Array, live: Bool[Array, " b"]) -> Any:
        return changed_input(x, array_of(x) + change, live)


def original_units(budget: Linf | L2, column: Column) -> Linf | L2:
    """The budget in the units of a column before its z-scores, such as pixels in [0, 1] of `Stamps().load().columns["image"]`.

    ValueError if the column has no z-scores.
    """
    scaled = column.preprocess
    require(isinstance(scaled, Scaled), "the column is not z-scored: its units are those of the model's input already")
    return replace(budget, mean=tuple(map(float, scaled.mean)), deviation=tuple(map(float, scaled.deviation)))
