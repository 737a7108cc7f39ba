"""An output of the model that is itself a loss."""

from collections.abc import Mapping
from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float

from mmjax.losses.combine import pick
from mmjax.types import Batch

__all__ = ["OutputLoss"]


@dataclass(frozen=True)
class OutputLoss:
    """The output of this name, Float[b], as a loss, such as that of a `fusion.imputed.ImputerLoss`; 0 in padding.

    ValueError if the model lacks the output, or it does not have one value per example.
    """

    output: str

    def __call__(self, outputs: Mapping[str, Array], batch: Batch) -> Float[Array, " b"]:
        values = pick(outputs, self.output)
        if values.shape != batch.weight.shape:
            raise ValueError(f"output {self.output!r} has shape {list(values.shape)}; as a loss it needs one value per example")
        return jnp.where(batch.weight > 0, values, 0)
