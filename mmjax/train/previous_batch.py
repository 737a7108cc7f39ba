"""A `Gradient` that lets a loss see the batch before."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from mmjax.losses.combine import counted, pick
from mmjax.shards import gather_over_shards, sum_over_shards
from mmjax.types import Batch, Objective

__all__ = ["PreviousBatch"]


@dataclass(frozen=True)
class PreviousBatch:
    """The gradient of the sum of the losses, which also see outputs of the batch before and its target, without a gradient: as
    the targets "previous/<output>" Float[B width] and "previous/<target>" Float[B], of the whole batch on every shard. The
    target is NaN before the first step, and for examples that do not count or lack the modality of one of the outputs.

    This is the memory of MMIM (Han et al., 2021), of one batch as in the authors' code, for `losses.SignedEntropy`:

        gradient=PreviousBatch((("audio.entropy", 16), ("video.entropy", 8)), batch=32)

    outputs: (name, width) of each output. batch: number of examples of a whole batch. target: the name of a target Float[b] or
    Float[b 1]. ValueError if the batch has another size or no such target.
    """

    outputs: tuple[tuple[str, int], ...]
    batch: int
    target: str = "score"

    def init(self, params: Any) -> dict[str, Any]:
        """The memory before the first step."""
        del params
        state = {f"previous/{name}": jnp.zeros((self.batch, width)) for name, width in self.outputs}
        return state | {f"previous/{self.target}": jnp.full(self.batch, jnp.nan)}

    def __call__(self, objective: Objective, params: Any, state: Any, batch: Batch, key: Key[Array, ""]) -> tuple:
        if self.target not in batch.targets:
            raise ValueError(f"PreviousBatch.target is {self.target!r}; the batch's targets are {sorted(batch.targets)}")
        seen = batch.replace(targets={**batch.targets, **state})

        def total(params):
            losses, aux = objective(params, seen, key)
            return sum(losses.values()), aux

        (value, aux), gradient = jax.value_and_grad(total, has_aux=True)(params)
        label = batch.targets[self.target].reshape(-1)
        if len(every := gather_over_shards(label)) != self.batch:
            raise ValueError(f"PreviousBatch.batch is {self.batch}; it must be the number of examples, which is {len(every)}")
        new = {}
        for name, _ in self.outputs:
            valid = counted(name, batch)
            new[f"previous/{name}"] = gather_over_shards(jnp.where(valid[:, None], pick(aux.outputs, name), 0))
            label = jnp.where(valid, label, jnp.nan)
        new[f"previous/{self.target}"] = gather_over_shards(label)
        return *sum_over_shards((value, gradient)), aux, new
