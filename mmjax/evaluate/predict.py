"""Predictions of all seeds and tasks for every subset of modalities, and the validation scores of each seed."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from mmjax.data.feed import Feed
from mmjax.data.order import in_order
from mmjax.types import Attack, Batch, Loss, Subset, Task, Units

__all__ = [
    "bound_apply", "metric_values", "outcomes_of", "predict_attacked", "predict_split", "predict_subsets", "summed",
    "validation_predictions",
]


def predict_subsets(
    model: Any, tasks: Mapping[str, Task], subsets: Mapping[str, tuple[Subset, ...]]
) -> Callable[[Any, Batch], dict[str, Any]]:
    """Returns (variables of one seed, batch) -> {task: predictions [k b ...]} for the k subsets of each task.

    subsets: {task: subsets}. The modalities are encoded once; `vmap` over the presence masks decodes every subset.
    """

    def predict(variables: Any, batch: Batch) -> dict[str, Any]:
        tokens = model.apply(variables, batch, method="encode")
        apply = bound_apply(model, variables, batch)

        def of_task(name: str, task: Task) -> Any:
            one_subset = lambda mask: task.predict(apply, tokens, _restricted(batch, mask), batch)
            return jax.vmap(one_subset)(_masks(model, subsets[name]))

        return {name: of_task(name, task) for name, task in tasks.items()}

    return predict


def predict_attacked(
    model: Any,
    tasks: Mapping[str, Task],
    subsets: Mapping[str, tuple[Subset, ...]],
    attack: Attack,
    loss: Loss,
) -> Callable[[Any, Batch], dict[str, Any]]:
    """As `predict_subsets`, with inputs that the attack has changed for each subset, so that they raise the sum of the losses.

    The random numbers of the attack depend on the place of an example in its batch alone. An attack whose budgets allow no
    change gives the predictions of `predict_subsets`, bit for bit.
    """

    def predict(variables: Any, batch: Batch) -> dict[str, Any]:
        if _keeps_inputs(attack, batch):
            return predict_subsets(model, tasks, subsets)(variables, batch)
        apply = bound_apply(model, variables, batch)
        values = lambda batch: summed(loss(model.apply(variables, batch), batch))

        def attacked(mask):
            restricted = batch.replace(present=_restricted(batch, mask))
            changed = attack(values, restricted, jax.random.key(0))
            tokens = model.apply(variables, changed, method="encode")
            return tokens, restricted.present

        def of_task(name: str, task: Task) -> Any:
            def one_subset(mask):
                tokens, present = attacked(mask)
                return task.predict(apply, tokens, present, batch)

            return jax.lax.map(one_subset, _masks(model, subsets[name]))  # one at a time: attacks take memory for gradients

        return {name: of_task(name, task) for name, task in tasks.items()}

    return predict


class _LossNeeded(Exception):
    """An attack evaluates the loss of the model."""


def _keeps_inputs(attack: Attack, batch: Batch) -> bool:
    """Whether the attack returns the batch as it is, without a look at the losses."""

    def values(batch):
        raise _LossNeeded

    try:
        return attack(values, batch, jax.random.key(0)) is batch
    except _LossNeeded:
        return False


def bound_apply(model: Any, variables: Any, batch: Batch) -> Callable[..., Any]:
    """The `apply` of `Task.predict`: `decode` with the targets of the batch, or another method of the model."""

    def apply(*args: Any, method: str = "decode") -> Any:
        return model.apply(variables, *args, *((batch.targets,) if method == "decode" else ()), method=method)

    return apply


def _masks(model: Any, subsets: tuple[Subset, ...]) -> dict[str, Array]:
    """{modality: Bool[k]}, True for the subsets that have it."""
    return {name: jnp.array([name in subset for subset in subsets]) for name in sorted(model.encoders)}


def _restricted(batch: Batch, mask: Mapping[str, Array]) -> dict[str, Array]:
    """{modality: present Bool[b]} of one subset. mask: {modality: Bool[]}."""
    return {name: batch.present[name] & mask[name] for name in mask}


def summed(values: Array | Mapping[str, Array]) -> Array:
    """The sum of several losses, Float[b]; one loss as it is."""
    return sum(values.values()) if isinstance(values, Mapping) else values


def validation_predictions(model: Any, loss: Loss, task: Task | None) -> Callable[[Any, Batch], dict[str, Any]]:
    """Returns (variables of one seed, batch) -> {"loss": Float[b], "predicted": the task's predictions [b ...]}.

    Uses all modalities that are present. Several losses are summed, as in training without a `Gradient`. task None: the loss
    alone.
    """

    def evaluate(variables: Any, batch: Batch) -> dict[str, Any]:
        tokens = model.apply(variables, batch, method="encode")
        apply = bound_apply(model, variables, batch)
        found = {"loss": summed(loss(apply(tokens, batch.present), batch))}
        return found if task is None else found | {"predicted": task.predict(apply, tokens, batch.present, batch)}

    return evaluate


def predict_split(predict: Callable[[Batch], Any], feed: Feed, rows: int, axis: int, size: int) -> Any:
    """Predictions for all rows of a split, in order, as NumPy arrays; the padding of the last batch is removed.

    predict: batch -> pytree whose leaves have the rows of the batch on `axis`. feed: of the split; a `HostFeed` reads the next
    batches while one is predicted. rows: their number in the split. size: rows per batch.
    """
    order = in_order(rows, size)
    parts = [jax.tree.map(np.asarray, predict(batch)) for batch in feed.stream(order.__getitem__, 0, len(order))]
    at = (slice(None),) * axis + (slice(rows),)
    return jax.tree.map(lambda *leaves: np.concatenate(leaves, axis=axis)[at], *parts)


def outcomes_of(task: Task, predicted: Any, units: Units) -> dict[str, np.ndarray]:
    """Predictions of all seeds for the rows of a split, [s n ...] -> the outcomes of its units, {name: [s u ...]}."""
    seeds = jax.tree.leaves(predicted)[0].shape[0]
    outcomes = [task.outcomes(jax.tree.map(lambda leaf, s=seed: leaf[s], predicted), units) for seed in range(seeds)]
    return {name: np.stack([np.asarray(of_seed[name]) for of_seed in outcomes]) for name in outcomes[0]}


def metric_values(metric: Any, outcomes: Mapping[str, np.ndarray], weight: np.ndarray) -> np.ndarray:
    """Outcomes [s u ...] -> the metric of each seed, Float64[s]."""
    return np.asarray(_over_seeds(metric.value, dict(outcomes), jnp.asarray(weight, jnp.float32)), np.float64)


@partial(jax.jit, static_argnames="value")
def _over_seeds(value: Callable, outcomes: Any, weight: Array) -> Array:
    return jax.vmap(value, in_axes=(0, None))(outcomes, weight)
