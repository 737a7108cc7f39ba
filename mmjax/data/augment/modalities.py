"""Random absence of modalities."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from mmjax.shards import example_keys
from mmjax.types import Batch

__all__ = ["DropModalities"]


@dataclass(frozen=True)
class DropModalities:
    """Modality dropout: each present modality of each example becomes absent with probability `rate`.

    rate: probability of each modality. If the draw removes all modalities of an example, it keeps all of them (after Neverova
    et al., "ModDrop", 2016).
    """

    rate: float = 0.3

    def __call__(self, batch: Batch, key: Key[Array, ""]) -> Batch:
        if self.rate == 0:
            return batch
        names = sorted(batch.present)
        present = jnp.stack([batch.present[name] for name in names], axis=1)
        keys = example_keys(key, present.shape[0])
        kept = present & jax.vmap(lambda key: jax.random.bernoulli(key, 1 - self.rate, (len(names),)))(keys)
        kept = jnp.where(kept.any(axis=1, keepdims=True), kept, present)
        return batch.replace(present={name: kept[:, i] for i, name in enumerate(names)})
