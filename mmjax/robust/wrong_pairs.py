"""Inputs of other examples: whether a model uses a modality at all."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from mmjax.types import Batch, Values

__all__ = ["WrongPairs"]


@dataclass(frozen=True)
class WrongPairs:
    """An `Attack` that gives each example inputs of another one, such as a wrong image. The model and its loss are not used.

    Each batch is shifted by a number of rows, among the examples that have all of these modalities, so every input is used
    once. A batch with a single such example stays as it is. Adjacent rows may be related (an image with several captions), so
    `shift` should be larger than their number.

    modalities: that come from the other example. shift: number of rows.
    """

    modalities: tuple[str, ...]
    shift: int = 17

    def __call__(self, values: Values, batch: Batch, key: Key[Array, ""]) -> Batch:
        del values, key
        unknown = sorted(set(self.modalities) - set(batch.inputs))
        if unknown or not self.modalities:
            given = unknown or "empty"
            raise ValueError(f"WrongPairs.modalities is {given}; the modalities are {', '.join(sorted(batch.inputs))}")
        live = batch.weight > 0
        for name in self.modalities:
            live &= batch.present[name]
        rows = jnp.arange(live.shape[0])
        order = jnp.argsort(~live, stable=True)  # live rows first
        place, count = jnp.argsort(order), jnp.maximum(live.sum(), 1)
        # The shift is at least 1 and below the count, so no example keeps its input.
        shift = jnp.where(count > 1, 1 + (self.shift - 1) % jnp.maximum(count - 1, 1), 0)
        source = jnp.where(live, order[(place + shift) % count], rows)
        inputs = {
            name: jax.tree.map(lambda leaf: leaf[source], x) if name in self.modalities else x
            for name, x in batch.inputs.items()
        }
        return batch.replace(inputs=inputs)
