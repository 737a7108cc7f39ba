"""One training step: a pure function of (state, batch)."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct
from jaxtyping import Array, Float

from mmjax.shards import sum_over_shards
from mmjax.types import Augment, Batch, Loss


@struct.dataclass
class TrainState:
    """step: Int[], steps taken; params, opt_state: pytrees; key: the PRNG key of this seed, never changed."""

    step: Any
    params: Any
    opt_state: Any
    key: Any


Step = Callable[[TrainState, Batch], tuple[TrainState, Float[Array, ""]]]


def init(model: nn.Module, tx: optax.GradientTransformation, key: Array, batch: Batch) -> TrainState:
    """The state before the first step, from this seed's key; the batch gives shapes alone."""
    init_key, train_key = jax.random.split(key)
    params = model.init(init_key, batch)["params"]
    return TrainState(jnp.zeros((), jnp.int32), params, tx.init(params), train_key)


def weighted_mean(values: Float[Array, " b"], weight: Float[Array, " b"]) -> Float[Array, ""]:
    """This shard's part of the mean over the whole batch: the parts add up. Padding (weight 0) may hold anything."""
    total = sum_over_shards(jnp.sum(weight))
    return jnp.sum(jnp.where(weight > 0, values * weight, 0)) / jnp.maximum(total, jnp.finfo(jnp.float32).tiny)


def make_step(
    model: nn.Module, loss: Loss, tx: optax.GradientTransformation, augment: Mapping[str, Augment] | None = None
) -> Step:
    """(state, batch) -> (state, loss). Runs on one device, or inside `pmap` over `SHARD` on a part of the batch."""
    augment = augment or {}

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Float[Array, ""]]:
        dropout, *keys = jax.random.split(jax.random.fold_in(state.key, state.step), 1 + len(augment))
        for change, key in zip(augment.values(), keys):
            batch = change(batch, key)

        def objective(params):
            outputs = model.apply({"params": params}, batch, train=True, rngs={"dropout": dropout})
            return weighted_mean(loss(outputs, batch), batch.weight)

        value, gradient = sum_over_shards(jax.value_and_grad(objective)(state.params))
        updates, opt_state = tx.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return state.replace(step=state.step + 1, params=params, opt_state=opt_state), value

    return step
