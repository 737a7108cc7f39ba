"""Gradient caching: contrastive training on batches that do not fit into memory."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from mmjax.nn.checks import positive
from mmjax.shards import sum_over_shards
from mmjax.train.step import SumOfLosses, weighted_mean
from mmjax.types import Aux, Batch, Objective, SeparableObjective

__all__ = ["GradCache"]


@dataclass(frozen=True)
class GradCache:
    """The gradient of the sum of the losses over a large batch, a chunk of examples at a time; a `types.Gradient`.

    Gao et al., "Scaling deep contrastive learning batch size under memory limited setup", 2021, section 3.2: the outputs of all
    chunks without gradients, the gradient of the loss by the outputs, then each chunk again and its gradient by the parameters.
    The model is evaluated twice, and its activations are kept for one chunk. The result is that of `SumOfLosses` up to
    rounding, if there is no dropout; each chunk draws its own.

    chunk: number of examples, which divides the rows of a batch (on each shard). Raises ValueError if it does not, if the model
    has batch statistics, which depend on the whole batch, or inside another gradient that changes the objective.
    """

    chunk: int = 32

    def __post_init__(self):
        positive(self, "chunk")

    def init(self, params: Any) -> tuple[()]:
        """No state."""
        return ()

    def __call__(self, objective: Objective, params: Any, state: Any, batch: Batch, key: Key[Array, ""]) -> tuple:
        rows = batch.weight.shape[0]
        count, rest = divmod(rows, self.chunk)
        if rest:
            raise ValueError(f"GradCache.chunk is {self.chunk}; it must divide the {rows} rows of a batch")
        if not isinstance(objective, SeparableObjective):
            raise ValueError("GradCache needs the loss by itself, so it cannot be inside a gradient that changes the objective")
        if count == 1:
            return SumOfLosses()(objective, params, state, batch, key)

        def run(params, part, key):
            _, aux = objective(params, part, key)
            if jax.tree.leaves(aux.stats):
                raise ValueError("GradCache: the model has batch statistics, which depend on the whole batch; use another norm")
            return aux.outputs

        split = lambda leaf: leaf.reshape(count, self.chunk, *leaf.shape[1:])
        parts, keys = jax.tree.map(split, batch), jax.random.split(key, count)
        whole, part = (
            jax.eval_shape(run, params, given, key) for given in (batch, jax.tree.map(lambda leaf: leaf[0], parts))
        )
        of_examples = jax.tree.map(lambda a, b: a.shape != b.shape, whole, part)  # other outputs are learned scalars
        cached = jax.lax.map(lambda given: run(jax.lax.stop_gradient(params), *given), (parts, keys))
        join = lambda each, leaf: leaf.reshape(rows, *leaf.shape[2:]) if each else leaf[0]
        outputs = jax.tree.map(join, of_examples, cached)

        def total(outputs):
            values = objective.loss(outputs, batch)
            values = values if isinstance(values, Mapping) else {"loss": values}
            losses = {name: weighted_mean(value, batch.weight) for name, value in values.items()}
            return sum(losses.values()), (losses, values)

        (value, (losses, values)), of_outputs = jax.value_and_grad(total, has_aux=True)(outputs)
        share = lambda each, leaf: split(leaf) if each else jnp.broadcast_to(leaf / count, (count, *leaf.shape))
        shares = jax.tree.map(share, of_examples, of_outputs)

        def back(gradient, given):
            part, key, of_part = given
            (one,) = jax.vjp(lambda params: run(params, part, key), params)[1](of_part)
            return jax.tree.map(jnp.add, gradient, one), None

        gradient, _ = jax.lax.scan(back, jax.tree.map(jnp.zeros_like, params), (parts, keys, shares))
        return *sum_over_shards((value, gradient)), Aux(outputs, {}, losses, values), state
