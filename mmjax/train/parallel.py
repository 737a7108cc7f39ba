"""Plans: how training steps and evaluations of all seeds run on the local devices."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import numpy as np

from mmjax.shards import SHARD
from mmjax.train.stages import merged
from mmjax.train.step import Step

__all__ = ["PLANS", "Plan", "compiler_options", "pmapped", "single"]


class Plan(NamedTuple):
    """How functions of one seed run for all seeds on the local devices.

    devices: their number, which must divide the rows of a batch. place: a tree on the host, such as a state [s ...],
    variables [s ...] or frozen variables -> the same tree on the devices, as `train` and `evaluate` take it. fetch: the inverse
    of place.
    train: step -> run, with run(placed state, placed frozen, batches [k s b ...]) -> (placed state, metrics [k s]): k steps of
    all seeds in one compiled call. The given state is overwritten (donated).
    evaluate: (function, axis = 0) -> run, with run(placed variables, placed frozen, batch [b ...]) -> leaves [s ...]. function:
    (all variables of one seed, batch) -> a tree whose leaves have the rows of the batch on `axis`.
    """

    devices: int
    place: Callable[[Any], Any]
    fetch: Callable[[Any], Any]
    train: Callable[[Step], Callable]
    evaluate: Callable[..., Callable]


@cache
def compiler_options() -> dict[str, str]:
    """Options of `jax.jit` for training steps. On CPU, XLA by default lowers convolutions to YNNPACK, which takes two to three
    times as long as Eigen for the gradient of a kernel; the option restores Eigen. Empty if this XLA lacks the option."""
    library = "LIBRARY_FUSION_TYPE"
    wanted = {"xla_cpu_experimental_ynn_fusion_type": f"{library}_DOT,{library}_REDUCE"}  # all but convolutions
    if jax.default_backend() != "cpu":
        return {}
    try:
        jax.jit(lambda x: x, compiler_options=wanted).lower(0.0).compile()
    except jax.errors.JaxRuntimeError:
        return {}
    return wanted


def _steps(step: Step) -> Callable:
    """(state [s ...], frozen, batches [k s b ...]) -> (state, metrics [k s]); a scan if there are several steps."""
    all_seeds = jax.vmap(step, in_axes=(0, None, 0))

    def run(state, frozen, batches):
        if jax.tree.leaves(batches)[0].shape[0] > 1:
            return jax.lax.scan(lambda state, batch: all_seeds(state, frozen, batch), state, batches)
        state, metrics = all_seeds(state, frozen, jax.tree.map(lambda leaf: leaf[0], batches))
        return state, jax.tree.map(lambda leaf: leaf[None], metrics)

    return run


def _evaluation(function: Callable) -> Callable:
    """(variables [s ...], frozen, batch) -> leaves [s ...]."""
    return lambda variables, frozen, batch: jax.vmap(lambda one: function(merged(one, frozen), batch))(variables)


def single() -> Plan:
    """All seeds on one device."""

    def train(step):
        return jax.jit(_steps(step), donate_argnums=0, compiler_options=compiler_options())

    def evaluate(function, axis=0):
        return jax.jit(_evaluation(function))

    return Plan(1, jax.device_put, lambda tree: tree, train, evaluate)


def pmapped() -> Plan:
    """Data parallelism: the rows of each batch are split over all local devices, and each device has all variables."""
    devices = jax.local_devices()
    count = len(devices)

    def split(leaf, axis):
        rows = leaf.shape[axis]
        if rows % count:
            raise ValueError(f"batch is {rows}, which does not split over {count} devices; choose a multiple of {count}")
        return leaf.reshape(*leaf.shape[:axis], count, rows // count, *leaf.shape[axis + 1 :])

    def train(step):
        spread = jax.pmap(
            _steps(step), axis_name=SHARD, in_axes=(0, 0, 2), out_axes=(0, None), donate_argnums=0, devices=devices
        )
        split_rows = jax.jit(partial(jax.tree.map, partial(split, axis=2)))  # one program: leaf by leaf takes much longer

        def run(state, frozen, batches):
            result = spread(state, frozen, split_rows(batches))
            # XLA launches programs on CPU devices from a pool of one thread per device. A program with collectives holds
            # these threads until it runs on all devices, and a launch that waits because 32 later ones are queued holds one
            # as well: then the last device never starts, and the process is aborted after 40 seconds.
            return jax.block_until_ready(result) if devices[0].platform == "cpu" else result

        return run

    def evaluate(function, axis=0):
        spread = jax.pmap(_evaluation(function), axis_name=SHARD, out_axes=axis + 1, devices=devices)
        split_rows = jax.jit(partial(jax.tree.map, partial(split, axis=0)))

        def join(leaf):
            shape = leaf.shape
            return leaf.reshape(*shape[: axis + 1], shape[axis + 1] * shape[axis + 2], *shape[axis + 3 :])

        join_rows = jax.jit(partial(jax.tree.map, join))
        return lambda variables, frozen, batch: join_rows(spread(variables, frozen, split_rows(batch)))

    copy = jax.pmap(lambda device, tree: tree, in_axes=(0, None), devices=devices)
    # The copy of the first device, by a program on that device alone: leaf[0] would launch a program with collectives for each
    # leaf, and many of these can block each other as in `train`.
    first = partial(jax.tree.map, lambda leaf: leaf.addressable_shards[0].data.reshape(leaf.shape[1:]))
    return Plan(count, partial(copy, np.arange(count)), first, train, evaluate)


PLANS = {"single": single, "pmap": pmapped}  # the values of --plan
