"""Inputs of other examples: whether a model uses a modality at all."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from mmjax.nn.checks import positive
from mmjax.types import Batch, Values

__all__ = ["WrongPairs"]


@dataclass(frozen=True)
class WrongPairs:
    """An `Attack` that gives each example inputs of another one, such as a wrong image. The model and its loss are not used.

    Each batch is shifted by a number of rows, among the examples that have all of these modalities, so every input is used
    once; by half of them if there are fewer than twice the number. A batch with a single such example stays as it is. Adjacent
    rows may be related (an image with several captions), so `shift` and half a batch should be larger than their number.

    modalities: that come from the other example. shift: number of rows. ValueError if it is not positive.
    """

    modalities: tuple[str, ...]
    shift: int = 17

    def __post_init__(self):
        positive(self, "shift")

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
        shift = jnp.minimum(self.shift, count // 2)  # in a small batch as far as possible, so that related rows part
        source = jnp.where(live, order[(place + shift) % count], rows)
        inputs = {
            name: jax.tree.map(lambda leaf: leaf[source], x) if name in self.modalities else x
            for name, x in batch.inputs.items()
        }
        return batch.replace(inputs=inputs)
