"""Corruptions of series and of videos, `Padded` [n ...], and of vectors of features [d]. The levels are ours."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from mmjax.data.augment.series import without_steps
from mmjax.robust.corruptions.levels import Levels, Severity, at
from mmjax.types import Padded

__all__ = ["RATES", "ChannelNoise", "DroppedEntries", "DroppedSensors", "DroppedSteps", "FeatureNoise"]

RATES = ((0.1,), (0.2,), (0.3,), (0.5,), (0.7,))


@dataclass(frozen=True)
class DroppedSteps:
    """Steps, such as frames of a video, are lost independently; the others move together (`augment.DropSteps`).

    levels: (probability,).
    """

    levels: Levels = RATES

    def __call__(self, key: Key[Array, ""], x: Padded, severity: Severity) -> Padded:
        (rate,) = at(self.levels, severity)
        return without_steps(key, x, rate)


@dataclass(frozen=True)
class DroppedSensors:
    """Whole channels of a series [n d] read zero, independently. levels: (probability,)."""

    levels: Levels = RATES

    def __call__(self, key: Key[Array, ""], x: Padded, severity: Severity) -> Padded:
        (rate,) = at(self.levels, severity)
        lost = jax.random.uniform(key, x.x.shape[1:]) < rate
        return x.replace(x=jnp.where(lost[None], 0, x.x))


@dataclass(frozen=True)
class DroppedEntries:
    """Single entries read zero, independently: the random drop of MultiBench (Liang et al., 2021). levels: (probability,)."""

    levels: Levels = RATES

    def __call__(self, key: Key[Array, ""], x: Any, severity: Severity) -> Any:
        (rate,) = at(self.levels, severity)
        drop = lambda values: jnp.where(jax.random.uniform(key, values.shape) < rate, 0, values)
        return x.replace(x=drop(x.x)) if isinstance(x, Padded) else drop(x)


@dataclass(frozen=True)
class ChannelNoise:
    """White Gaussian noise on every channel of a series. levels: (signal-to-noise ratio in decibels,).

    The signal of a channel is its variance over the valid steps.
    """

    levels: Levels = ((20.0,), (15.0,), (10.0,), (5.0,), (0.0,))

    def __call__(self, key: Key[Array, ""], x: Padded, severity: Severity) -> Padded:
        (decibels,) = at(self.levels, severity)
        share = 10 ** (-decibels / 20)
        noise = jax.random.normal(key, x.x.shape)
        return x.replace(x=x.x + share * _deviation(x)[None] * noise)


@dataclass(frozen=True)
class FeatureNoise:
    """White Gaussian noise on every feature of a vector. levels: (signal-to-noise ratio in decibels,).

    deviation: of each feature over the examples, or one for all: the signal is what differs between examples. The size of a
    vector says little about it: features of published encoders have means far larger than their deviations.
    """

    levels: Levels = ((20.0,), (15.0,), (10.0,), (5.0,), (0.0,))
    deviation: tuple[float, ...] = (1.0,)

    def __call__(self, key: Key[Array, ""], x: Float[Array, " d"], severity: Severity) -> Float[Array, " d"]:
        (decibels,) = at(self.levels, severity)
        size = 10 ** (-decibels / 20) * jnp.asarray(self.deviation, jnp.float32)
        return x + size * jax.random.normal(key, x.shape)


def _deviation(x: Padded) -> Float[Array, "..."]:
    valid = (jnp.arange(x.x.shape[0]) < x.length).reshape(-1, *(1,) * (x.x.ndim - 1))
    count = jnp.maximum(x.length, 1)
    centred = jnp.where(valid, x.x - jnp.sum(jnp.where(valid, x.x, 0), axis=0, keepdims=True) / count, 0)
    return jnp.sqrt(jnp.sum(centred * centred, axis=0) / count)
