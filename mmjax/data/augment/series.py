"""Series [b n d], or a Sequence of such: vital signs, motion, sensors (both from Um et al., 2017). Padding stays as it is."""

from dataclasses import dataclass

import jax
from jaxtyping import Array, Key

from mmjax.data.augment.each import each, real_steps
from mmjax.types import Batch


@dataclass(frozen=True)
class Jitter:
    """Adds independent normal noise of this standard deviation, in the series' own units, to every value."""

    deviation: float = 0.05
    modality: str = "series"

    def __call__(self, batch: Batch, key: Key[Array, ""]) -> Batch:
        def one(key, x):
            return x + self.deviation * jax.random.normal(key, x.shape)

        return each(real_steps(one), batch, self.modality, key) if self.deviation else batch


@dataclass(frozen=True)
class Scaling:
    """Multiplies each channel by a factor of its own: normal, mean 1, this standard deviation."""

    deviation: float = 0.1
    modality: str = "series"

    def __call__(self, batch: Batch, key: Key[Array, ""]) -> Batch:
        def one(key, x):
            return x * (1 + self.deviation * jax.random.normal(key, (1, x.shape[1])))

        return each(real_steps(one), batch, self.modality, key) if self.deviation else batch
