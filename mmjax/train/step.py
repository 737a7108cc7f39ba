"""One training step: a pure function of (state, batch)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct
from jaxtyping import Array, Float, Key

from mmjax.shards import sum_over_shards
from mmjax.train.stages import merged, split
from mmjax.types import Augment, Balance, Batch, Loss


@struct.dataclass
class TrainState:
    """step: Int[], steps taken; params, opt_state: pytrees; stats: the model's other variables, such as batch statistics;
    balance: the state of what weighs the tasks; key: the PRNG key of this seed, never changed."""

    step: Any
    params: Any
    stats: Any
    opt_state: Any
    balance: Any
    key: Any

    @property
    def variables(self) -> dict[str, Any]:
        """What `model.apply` wants."""
        return {"params": self.params, **self.stats}


Step = Callable[[TrainState, Batch], tuple[TrainState, Float[Array, ""]]]


class SumOfTasks:
    """The balance that weighs nothing: the gradient of the sum of the tasks' losses."""

    def init(self, params: Any) -> tuple[()]:
        return ()

    def __call__(self, objective: Callable, params: Any, state: Any, batch: Batch, key: Key[Array, ""]) -> tuple:
        def total(params):
            tasks, aux = objective(params)
            return sum(tasks.values()), aux

        (value, aux), gradient = jax.value_and_grad(total, has_aux=True)(params)
        return *sum_over_shards((value, gradient)), aux, state


def init(
    model: nn.Module,
    tx: optax.GradientTransformation,
    key: Array,
    batch: Batch,
    balance: Balance | None = None,
    learns: Sequence[str] | None = None,
) -> TrainState:
    """The state before the first step, from this seed's key; the batch gives shapes alone. learns: as in `make_step`."""
    init_key, train_key = jax.random.split(key)
    stats = dict(model.init(init_key, batch))
    params = stats.pop("params")
    opt_state = tx.init(split(params, learns)[0])
    balance = balance or SumOfTasks()
    return TrainState(jnp.zeros((), jnp.int32), params, stats, opt_state, balance.init(params), train_key)


def begin(
    state: TrainState,
    tx: optax.GradientTransformation,
    learns: Sequence[str] | None = None,
    balance: Balance | None = None,
) -> TrainState:
    """The state with that of this optimiser and balance before their first step: a stage begins."""
    balance = balance or SumOfTasks()
    return state.replace(opt_state=tx.init(split(state.params, learns)[0]), balance=balance.init(state.params))


def weighted_mean(values: Float[Array, " b"], weight: Float[Array, " b"]) -> Float[Array, ""]:
    """This shard's part of the mean over the whole batch: the parts add up. Padding (weight 0) may hold anything."""
    total = sum_over_shards(jnp.sum(weight))
    return jnp.sum(jnp.where(weight > 0, values * weight, 0)) / jnp.maximum(total, jnp.finfo(jnp.float32).tiny)


def _frozen_where_nothing_learns(model: nn.Module, learning: Mapping[str, Any], still: Mapping[str, Any]) -> nn.Module:
    """The model with those encoders frozen that have parameters, of which none learns."""
    encoders = getattr(model, "encoders", ())
    frozen = [name for name in encoders if f"encoders_{name}" in still and f"encoders_{name}" not in learning]
    return model.clone(frozen=tuple(frozen)) if frozen else model


def make_step(
    model: nn.Module,
    loss: Loss,
    tx: optax.GradientTransformation,
    augment: Mapping[str, Augment] | None = None,
    balance: Balance | None = None,
    learns: Sequence[str] | None = None,
) -> Step:
    """(state, batch) -> (state, loss). Runs on one device, or inside `pmap` over `SHARD` on a part of the batch.

    learns: which parameters learn (`train.stages.Stage`), None for all. The other parameters stay as they are and have neither
    a gradient nor a place in the optimiser's state; an encoder of which nothing learns runs as in evaluation. One of which a
    part learns runs as in training, so that all of its batch norms go by the batch and update their statistics.
    """
    augment, balance = augment or {}, balance or SumOfTasks()

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Float[Array, ""]]:
        learning, still = split(state.params, learns)
        run = _frozen_where_nothing_learns(model, learning, still)
        dropout, *keys = jax.random.split(jax.random.fold_in(state.key, state.step), 1 + len(augment))
        for change, key in zip(augment.values(), keys):
            batch = change(batch, key)

        def objective(learning):
            variables, rngs = {"params": merged(learning, still), **state.stats}, {"dropout": dropout}
            outputs, stats = run.apply(variables, batch, train=True, rngs=rngs, mutable=list(state.stats))
            values = loss(outputs, batch)
            tasks = values if isinstance(values, Mapping) else {"loss": values}
            return {name: weighted_mean(value, batch.weight) for name, value in tasks.items()}, (outputs, dict(stats))

        balance_key = jax.random.fold_in(dropout, 1)
        value, gradient, (_, stats), balanced = balance(objective, learning, state.balance, batch, balance_key)
        updates, opt_state = tx.update(gradient, state.opt_state, learning)
        params = merged(optax.apply_updates(learning, updates), still)
        return TrainState(state.step + 1, params, stats, opt_state, balanced, state.key), value

    return step
