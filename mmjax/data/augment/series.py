"""Augmentations of sequences and of series, [b n d] or Padded (Um et al., 2017). Padding does not change."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from mmjax.data.augment.each import for_each_example, on_valid_steps
from mmjax.nn.checks import rate
from mmjax.types import Batch, Padded

__all__ = ["DropSteps", "Jitter", "Scaling", "without_steps"]


@dataclass(frozen=True)
class Jitter:
    """Adds independent normal noise to every value.

    deviation: its standard deviation, in the units of the series. modality: the name of the series.
    """

    deviation: float = 0.05
    modality: str = "series"

    def __call__(self, batch: Batch, key: Key[Array, ""]) -> Batch:
        def change(key, x):
            return x + self.deviation * jax.random.normal(key, x.shape)

        return for_each_example(on_valid_steps(change), batch, self.modality, key) if self.deviation else batch


@dataclass(frozen=True)
class Scaling:
    """Multiplies each channel by a normal factor with mean 1. deviation: its standard deviation, dimensionless."""

    deviation: float = 0.1
    modality: str = "series"

    def __call__(self, batch: Batch, key: Key[Array, ""]) -> Batch:
        def change(key, x):
            return x * (1 + self.deviation * jax.random.normal(key, (1, x.shape[1])))

        return for_each_example(on_valid_steps(change), batch, self.modality, key) if self.deviation else batch


@dataclass(frozen=True)
class DropSteps:
    """Removes each valid step with probability `rate`; the others move together, so that the sequence is shorter.

    At least one step of a sequence remains, the first if the draw removes all. rate: of frames, readings or tokens.
    modality: the name of a Padded input. ValueError if the input has no length.
    """

    rate: float = 0.25
    modality: str = "video"

    def __post_init__(self):
        rate(self, "rate")

    def __call__(self, batch: Batch, key: Key[Array, ""]) -> Batch:
        if self.modality in batch.inputs and not isinstance(batch.inputs[self.modality], Padded):
            raise ValueError(f"DropSteps.modality: {self.modality!r} has no length; it must be a sequence, such as a video")

        change = lambda key, x: without_steps(key, x, self.rate)
        return for_each_example(change, batch, self.modality, key) if self.rate else batch


def without_steps(key: Key[Array, ""], x: Padded, rate: Any) -> Padded:
    """One example's sequence without the valid steps that are lost, each with probability `rate`; the first one if all are.

    x: without a batch dimension. The padding of the result is 0.
    """
    steps = jnp.arange(x.x.shape[0])
    kept = (steps < x.length) & jax.random.bernoulli(key, 1 - rate, steps.shape)
    kept = jnp.where(kept.any(), kept, (steps == 0) & (x.length > 0))
    order = jnp.argsort(~kept, stable=True)
    valid = (steps < kept.sum()).reshape(-1, *(1,) * (x.x.ndim - 1))
    return x.replace(x=jnp.where(valid, x.x[order], 0), length=kept.sum().astype(x.length.dtype))
