"""Gradient accumulation: batches whose activations do not fit into memory, for losses of single examples."""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from mmjax.nn.checks import positive
from mmjax.shards import sum_over_shards
from mmjax.train.step import SumOfLosses
from mmjax.types import Aux, Batch, Declared, Gradient, Objective

__all__ = ["Accumulate"]


@dataclass(frozen=True)
class Accumulate:
    """The gradient of the sum of the losses, over one part of the batch after the other; a `types.Gradient`.

    The result is that of the whole batch up to rounding if the loss of an example does not depend on the others and there is no
    dropout; each part draws its own. Losses that compare examples, such as InfoNCE, need `train.grad_cache.GradCache`.

    parts: their number, which divides the rows of a batch (on each shard of `--plan pmap`). gradient: of each part, None for
    that of the sum of the losses. Raises ValueError if the rows do not divide, or if the model has batch statistics, which
    depend on the whole batch, or if the gradient has a state, which would change from part to part.
    """

    parts: int = 4
    gradient: Declared[Gradient] = field(default_factory=SumOfLosses)

    def __post_init__(self):
        positive(self, "parts")

    def init(self, params: Any) -> tuple[()]:
        """No state."""
        if jax.tree.leaves(self.gradient.init(params)):
            raise ValueError(f"Accumulate.gradient: {type(self.gradient).__name__} has a state, which every part would change")
        return ()

    def __call__(self, objective: Objective, params: Any, state: Any, batch: Batch, key: Key[Array, ""]) -> tuple:
        rows = batch.weight.shape[0]
        if rows % self.parts:
            raise ValueError(f"Accumulate.parts is {self.parts}; it must divide the {rows} rows of a batch")
        # Part j has the rows j, j + parts, ...: if the rows lie on several devices, so do those of each part.
        split = lambda leaf: jnp.swapaxes(leaf.reshape(rows // self.parts, self.parts, *leaf.shape[1:]), 0, 1)
        total = sum_over_shards(jnp.sum(batch.weight))

        def of_part(part: Batch, key: Key[Array, ""]) -> tuple:
            value, gradient, aux, _ = self.gradient(objective, params, (), part, key)
            if jax.tree.leaves(aux.stats):
                raise ValueError("Accumulate: the model has batch statistics, which depend on the whole batch")
            share = sum_over_shards(jnp.sum(part.weight)) / jnp.maximum(total, jnp.finfo(jnp.float32).tiny)
            scaled = jax.tree.map(lambda leaf: leaf * share.astype(leaf.dtype), (value, gradient, dict(aux.losses)))
            return scaled, (aux.outputs, aux.values)

        def add(sums: Any, given: Any) -> tuple[Any, Any]:
            found, each = of_part(*given)
            return jax.tree.map(jnp.add, sums, found), each

        given = jax.tree.map(split, batch), jax.random.split(key, self.parts)
        shapes, _ = jax.eval_shape(of_part, *jax.tree.map(lambda leaf: leaf[0], given))
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        (value, gradient, losses), (outputs, values) = jax.lax.scan(add, zeros, given)
        is_of_examples = lambda leaf: leaf.ndim > 1 and leaf.shape[1] == rows // self.parts
        join = lambda leaf: jnp.swapaxes(leaf, 0, 1).reshape(rows, *leaf.shape[2:]) if is_of_examples(leaf) else leaf[0]
        outputs, values = jax.tree.map(join, (outputs, values))
        return value, gradient, Aux(outputs, {}, losses, values), ()
