"""Augmentations of series, [b n d] or Padded (Um et al., 2017). Padding does not change."""

from dataclasses import dataclass

import jax
from jaxtyping import Array, Key

from mmjax.data.augment.each import for_each_example, on_valid_steps
from mmjax.types import Batch

__all__ = ["Jitter", "Scaling"]


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
