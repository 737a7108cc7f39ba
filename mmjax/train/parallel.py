"""How a step is compiled and spread: a plan says how to place a state, run a step of all seeds, and fetch the state back."""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mmjax.shards import SHARD
from mmjax.train.step import Step, TrainState
from mmjax.types import Batch


class Plan(NamedTuple):
    """place: state [s ...] -> as `run` wants it; run: (placed state, batch [s b ...]) -> (placed state, loss [s]), the state
    given is overwritten; fetch: placed state -> state [s ...]."""

    place: Callable[[TrainState], Any]
    run: Callable[[Any, Batch], tuple[Any, Float[Array, " s"]]]
    fetch: Callable[[Any], TrainState]


@cache
def compiler_options() -> dict[str, str]:
    """For `jax.jit` of a step. On a CPU convolutions are left to Eigen: YNNPACK, to which XLA gives them by default, takes two
    to three times as long for the gradient of a kernel. Where this XLA does not know the option, none."""
    library = "LIBRARY_FUSION_TYPE"
    wanted = {"xla_cpu_experimental_ynn_fusion_type": f"{library}_DOT,{library}_REDUCE"}  # all but convolutions
    if jax.default_backend() != "cpu":
        return {}
    try:
        jax.jit(lambda x: x, compiler_options=wanted).lower(0.0).compile()
    except jax.errors.JaxRuntimeError:
        return {}
    return wanted


def single(step: Step) -> Plan:
    """All seeds on one device."""
    run = jax.jit(jax.vmap(step), donate_argnums=0, compiler_options=compiler_options())
    return Plan(lambda state: state, run, lambda state: state)


def pmapped(step: Step) -> Plan:
    """Every seed's batch split over all local devices, its parameters on each."""
    devices = jax.local_devices()
    count = len(devices)
    spread = jax.pmap(jax.vmap(step), axis_name=SHARD, donate_argnums=0, devices=devices)

    def copy(leaf):
        return jnp.broadcast_to(leaf[None], (count, *leaf.shape))

    def split(leaf):
        seeds, batch = leaf.shape[:2]
        if batch % count:
            raise ValueError(f"batch is {batch}, which does not split over {count} devices; choose a multiple of {count}")
        return leaf.reshape(seeds, count, batch // count, *leaf.shape[2:]).swapaxes(0, 1)

    place = jax.jit(lambda state: jax.tree.map(copy, state))  # compiled whole, as the next: leaf by leaf takes much longer
    split_all = jax.jit(lambda batch: jax.tree.map(split, batch))

    def run(state, batch):
        state, loss = spread(state, split_all(batch))
        return state, loss[0]

    return Plan(place, run, lambda state: jax.tree.map(lambda leaf: leaf[0], state))


PLANS = {"single": single, "pmap": pmapped}  # what --plan chooses from
