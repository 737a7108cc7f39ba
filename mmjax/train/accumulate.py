"""Gradient accumulation: batches whose activations do not fit into memory, for losses of single examples."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from mmjax.losses.contrastive import CPC, InfoNCE, SigmoidPairs, Triplet
from mmjax.losses.distributions import DCCA, CentralMoments, Correlation, NormalMMD, Orthogonality, SignedEntropy
from mmjax.nn.checks import positive
from mmjax.shards import sum_over_shards
from mmjax.train.step import SumOfLosses
from mmjax.types import Aux, Batch, Objective

__all__ = ["Accumulate"]

_COMPARING = (
    CPC, InfoNCE, SigmoidPairs, Triplet, Correlation, DCCA, CentralMoments, NormalMMD, Orthogonality, SignedEntropy,
)  # fmt: skip


@dataclass(frozen=True)
class Accumulate:
    """The gradient of the sum of the losses, over one part of the batch after the other; a `types.Gradient`.

    The result is that of the whole batch up to rounding if the loss of an example does not depend on the others and there is no
    dropout; each part draws its own. Losses that compare examples, such as InfoNCE, need `train.grad_cache.GradCache`.

    parts: their number, which divides the rows of a batch (on each shard of `--plan pmap`). Raises ValueError if the rows do
    not divide, for the contrastive losses of mmjax (others are not recognised), or if the model has batch statistics, which
    depend on the whole batch.
    """

    parts: int = 4

    def __post_init__(self):
        positive(self, "parts")

    def init(self, params: Any) -> tuple[()]:
        """No state."""
        return ()

    def __call__(self, objective: Objective, params: Any, state: Any, batch: Batch, key: Key[Array, ""]) -> tuple:
        rows = batch.weight.shape[0]
        if rows % self.parts:
            raise ValueError(f"Accumulate.parts is {self.parts}; it must divide the {rows} rows of a batch")
        if names := _comparing(getattr(objective, "loss", None)):
            raise ValueError(f"Accumulate: {names[0]} compares the examples of a batch; use train.grad_cache.GradCache")
        # Part j has the rows j, j + parts, ...: if the rows lie on several devices, so do those of each part.
        split = lambda leaf: jnp.swapaxes(leaf.reshape(rows // self.parts, self.parts, *leaf.shape[1:]), 0, 1)
        total = sum_over_shards(jnp.sum(batch.weight))

        def of_part(part: Batch, key: Key[Array, ""]) -> tuple:
            value, gradient, aux, _ = SumOfLosses()(objective, params, (), part, key)
            if jax.tree.leaves(aux.stats):
                raise ValueError("Accumulate: the model has batch statistics, which depend on the whole batch")
            share = sum_over_shards(jnp.sum(part.weight)) / jnp.maximum(total, jnp.finfo(jnp.float32).tiny)
            scaled = jax.tree.map(lambda leaf: leaf * share.astype(leaf.dtype), (value, gradient, dict(aux.losses)))
            return scaled, (aux.outputs, aux.values)

        def add(sums: Any, given: Any) -> tuple[Any, Any]:
            found, each = of_part(*given)
            return jax.tree.map(jnp.add, sums, found), each

        given = jax.tree.map(split, batch), jax.random.split(key, self.parts)
        shapes, of_one = jax.eval_shape(of_part, *jax.tree.map(lambda leaf: leaf[0], given))
        of_whole = jax.eval_shape(of_part, batch, key)[1]
        of_examples = jax.tree.map(lambda a, b: a.shape != b.shape, of_one, of_whole)  # other outputs are learned scalars
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        (value, gradient, losses), (outputs, values) = jax.lax.scan(add, zeros, given)
        join = lambda each, leaf: jnp.swapaxes(leaf, 0, 1).reshape(rows, *leaf.shape[2:]) if each else leaf[0]
        outputs, values = jax.tree.map(join, of_examples, (outputs, values))
        return value, gradient, Aux(outputs, {}, losses, values), ()


def _comparing(loss: Any) -> list[str]:
    """The names of the losses in a loss that compare examples with each other."""
    if isinstance(loss, _COMPARING):
        return [type(loss).__name__]
    if isinstance(loss, Mapping):
        return [name for part in loss.values() for name in _comparing(part)]
    if isinstance(loss, tuple):
        return [name for part in loss for name in _comparing(part)]
    if is_dataclass(loss):
        return [name for field in fields(loss) for name in _comparing(getattr(loss, field.name))]
    return []
