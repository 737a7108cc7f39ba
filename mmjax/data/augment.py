"""What happens to a batch at random in training: (batch, key) -> batch, jitted, each example by a key of its own."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from mmjax.shards import example_keys
from mmjax.types import Batch


@dataclass(frozen=True)
class Shift:
    """Moves each picture by up to `pixels` up, down, left and right, the edge repeated; pictures are [b h w c]."""

    pixels: int = 4
    modality: str = "image"

    def __call__(self, batch: Batch, key: Key[Array, ""]) -> Batch:
        if self.pixels == 0 or self.modality not in batch.inputs:
            return batch
        image, p = batch.inputs[self.modality], self.pixels
        padded = jnp.pad(image, ((0, 0), (p, p), (p, p), (0, 0)), mode="edge")

        def one(key, picture):
            row, column = jax.random.randint(key, (2,), 0, 2 * p + 1)
            return jax.lax.dynamic_slice(picture, (row, column, 0), image.shape[1:])

        moved = jax.vmap(one)(example_keys(key, image.shape[0]), padded)
        return batch.replace(inputs={**batch.inputs, self.modality: moved})


@dataclass(frozen=True)
class Flip:
    """Mirrors each picture [b h w c] left to right with probability `rate`."""

    rate: float = 0.5
    modality: str = "image"

    def __call__(self, batch: Batch, key: Key[Array, ""]) -> Batch:
        if self.rate == 0 or self.modality not in batch.inputs:
            return batch
        image = batch.inputs[self.modality]
        flip = jax.vmap(lambda key: jax.random.bernoulli(key, self.rate))(example_keys(key, image.shape[0]))
        flipped = jnp.where(flip[:, None, None, None], image[:, :, ::-1], image)
        return batch.replace(inputs={**batch.inputs, self.modality: flipped})


@dataclass(frozen=True)
class DropModalities:
    """Modality dropout: each present modality of each example vanishes with probability `rate`, but never the last one.

    Where the draw would take all of them, the example keeps what it had (after Neverova et al., "ModDrop", 2016).
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
