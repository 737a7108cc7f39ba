"""Predictions of all seeds and tasks for every subset of modalities, and the validation scores of each seed."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from mmjax.data.order import in_order
from mmjax.types import Batch, Loss, Subset, Task, Units

ROWS_AT_ONCE = 256


def predict_subsets(
    model: nn.Module, tasks: Mapping[str, Task], subsets: Mapping[str, tuple[Subset, ...]]
) -> Callable[[Any, Batch], dict[str, Any]]:
    """(variables of one seed, batch) -> {task: predictions [k b ...]} for the k subsets of each task.

    The modalities are encoded once; each subset is decoded under its own presence, by `vmap` over the masks.
    """
    names = sorted(model.encoders)

    def predict(variables: Any, batch: Batch) -> dict[str, Any]:
        tokens = model.apply(variables, batch, method="encode")
        apply = lambda tokens, present: model.apply(variables, tokens, present, method="decode")

        def of_task(name: str, task: Task) -> Any:
            masks = {modality: jnp.array([modality in subset for subset in subsets[name]]) for modality in names}

            def one_subset(mask):
                present = {modality: batch.present[modality] & mask[modality] for modality in names}
                return task.predict(apply, tokens, present, batch)

            return jax.vmap(one_subset)(masks)

        return {name: of_task(name, task) for name, task in tasks.items()}

    return predict


def whole_split(
    run: Callable[[Batch], Any], feed: Callable[[np.ndarray], Batch], rows: int, axis: int, multiple: int = 1
) -> Any:
    """Predictions for all rows of a split, in order, as NumPy arrays; the padding of the last batch is removed.

    run: batch -> pytree whose leaves have the rows of the batch on `axis`. multiple: the batch size is a multiple of it, as
    data-parallel plans need.
    """
    size = multiple * max(1, min(ROWS_AT_ONCE // multiple, -(-rows // multiple)))
    parts = [jax.tree.map(np.asarray, run(feed(index))) for index in in_order(rows, size)]
    at = (slice(None),) * axis + (slice(rows),)
    return jax.tree.map(lambda *leaves: np.concatenate(leaves, axis=axis)[at], *parts)


def validation_loss(model: nn.Module, loss: Loss) -> Callable[[Any, Batch], tuple[Array, Array]]:
    """(variables of one seed, batch) -> (sum over examples of weight * loss, sum of weights), each Float[1].

    Several losses are added up with weight 1, as `SumOfLosses` does in training.
    """

    def total(variables: Any, batch: Batch) -> tuple[Float[Array, "1"], Float[Array, "1"]]:
        values = loss(model.apply(variables, batch), batch)
        values = sum(values.values()) if isinstance(values, Mapping) else values
        weighted = jnp.where(batch.weight > 0, values * batch.weight, 0)
        return weighted.sum()[None], batch.weight.sum()[None]

    return total


def outcomes_of(task: Task, predicted: Any, units: Units) -> list[dict[str, np.ndarray]]:
    """Predictions [s k n ...] of seeds and subsets -> for each subset the outcomes {name: [s u ...]} of the units."""
    seeds, subsets = jax.tree.leaves(predicted)[0].shape[:2]

    def one(seed: int, subset: int) -> Mapping[str, Any]:
        return task.outcomes(jax.tree.map(lambda leaf: leaf[seed, subset], predicted), units)

    of_subset = [[one(seed, subset) for seed in range(seeds)] for subset in range(subsets)]
    return [{name: np.stack([np.asarray(o[name]) for o in outcomes]) for name in outcomes[0]} for outcomes in of_subset]


def metric_values(metric: Any, outcomes: Mapping[str, np.ndarray], weight: np.ndarray) -> np.ndarray:
    """Outcomes [s u ...] -> the metric of each seed, Float64[s]."""
    return np.asarray(_over_seeds(metric.value, dict(outcomes), jnp.asarray(weight, jnp.float32)), np.float64)


@partial(jax.jit, static_argnames="value")
def _over_seeds(value: Callable, outcomes: Any, weight: Array) -> Array:
    return jax.vmap(value, in_axes=(0, None))(outcomes, weight)
