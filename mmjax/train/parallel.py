"""Plans: how training steps and evaluations of all seeds run on the devices of one process."""

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import numpy as np

from mmjax.data.feed import Feed
from mmjax.processes import wait_for_all
from mmjax.shards import SHARD
from mmjax.train.stages import merged
from mmjax.train.step import Step

__all__ = [
    "Plan", "all_seeds_steps", "check_memory", "checked", "compiler_options", "evaluation", "pmapped", "program_bytes",
    "single",
]  # fmt: skip


class Plan(NamedTuple):
    """How functions of one seed run for all seeds on devices.

    devices: the number of parts of a batch, which must divide its rows. place: (a tree on the host, seeds = True) -> the same
    tree on the devices, as `train` and `evaluate` take it. seeds: whether its leaves have a leading axis of seeds, as a state
    or variables [s ...] have, and frozen variables have not. fetch: placed tree with seeds -> the tree outside the plan, equal
    in all processes.
    train: step -> run, with run(placed state, placed frozen, batches [k s b ...]) -> (placed state, metrics [k s]): k steps of
    all seeds in one compiled call. The given state is overwritten (donated).
    evaluate: (function, axis = 0) -> run, with run(placed variables, placed frozen, batch [b ...]) -> leaves [s ...], always
    for the same number of seeds. function: (all variables of one seed, batch) -> a tree whose leaves have the rows of the batch
    on `axis`.
    compute: (function, *placed arguments) -> function(*arguments), a tree with seeds that `place` takes. Under a mesh, each
    device computes only the parts that `place` puts there, so an initial state need not fit on one device.
    feed: a `Feed` -> the `Feed` whose batches `train` and `evaluate` take.
    gather: variables of one seed inside a step -> a context that gives the same as a device needs them to run the model on its
    rows, in which the model is run.
    """

    devices: int
    place: Callable[..., Any]
    fetch: Callable[[Any], Any]
    train: Callable[[Step], Callable]
    evaluate: Callable[..., Callable]
    compute: Callable[..., Any]
    feed: Callable[[Feed], Feed] = lambda feed: feed
    gather: Callable[[Any], AbstractContextManager[Any]] = nullcontext


@cache
def compiler_options() -> dict[str, str]:
    """Options for compiling steps and evaluations with convolutions. On CPU, XLA by default lowers convolutions to YNNPACK,
    which takes two to three times as long as Eigen for the gradient of a kernel; the option restores Eigen. Empty if this XLA
    lacks the option. Programs without convolutions are slower with it, those in bfloat16 by up to a half."""
    library = "LIBRARY_FUSION_TYPE"
    wanted = {"xla_cpu_experimental_ynn_fusion_type": f"{library}_DOT,{library}_REDUCE"}  # all but convolutions
    if jax.default_backend() != "cpu":
        return {}
    try:
        jax.jit(lambda x: x, compiler_options=wanted).lower(0.0).compile()
    except jax.errors.JaxRuntimeError:
        return {}
    return wanted


def all_seeds_steps(step: Step, seeds_axis: str | None = None) -> Callable:
    """(state [s ...], frozen, batches [k s b ...]) -> (state, metrics [k s]); a scan if there are several steps.

    seeds_axis: the axis of a mesh over which the seeds are split.
    """
    all_seeds = jax.vmap(step, in_axes=(0, None, 0), spmd_axis_name=seeds_axis)

    def run(state, frozen, batches):
        if jax.tree.leaves(batches)[0].shape[0] > 1:
            return jax.lax.scan(lambda state, batch: all_seeds(state, frozen, batch), state, batches)
        state, metrics = all_seeds(state, frozen, jax.tree.map(lambda leaf: leaf[0], batches))
        return state, jax.tree.map(lambda leaf: leaf[None], metrics)

    return run


def evaluation(function: Callable, seeds_axis: str | None = None) -> Callable:
    """(variables [s ...], frozen, batch) -> leaves [s ...]. seeds_axis: as in `all_seeds_steps`."""

    def run(variables, frozen, batch):
        return jax.vmap(lambda one: function(merged(one, frozen), batch), spmd_axis_name=seeds_axis)(variables)

    return run


def single() -> Plan:
    """All seeds on one device."""

    def train(step):
        return checked(jax.jit(all_seeds_steps(step), donate_argnums=0), jax.local_devices()[:1])

    def evaluate(function, axis=0):
        return checked(jax.jit(evaluation(function)), jax.local_devices()[:1], "an evaluation")

    compute = lambda function, *arguments: jax.jit(function)(*arguments)
    return Plan(1, lambda tree, seeds=True: jax.device_put(tree), lambda tree: tree, train, evaluate, compute)


def checked(run: Callable, devices: Sequence[jax.Device], kind: str = "a training step") -> Callable:
    """A jitted function of (state or variables, frozen, batches) that is refused by `check_memory` before its first call;
    `lower` is that of the function. It is compiled with the options for its kind of program."""
    programs: dict[tuple[Any, ...], Callable] = {}

    def call(state, frozen, batches):
        known = tuple((leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(batches))  # all else is the same in every call
        if known not in programs:
            lowered = run.lower(state, frozen, batches)
            programs[known] = lowered.compile(compiler_options() if "stablehlo.convolution" in lowered.as_text() else {})
            check_memory(programs[known], devices, kind)
            wait_for_all("a program is compiled")  # the first call connects devices, which has a limit of 30 seconds
        return programs[known](state, frozen, batches)

    call.lower = run.lower  # as a jitted function has
    return call


def program_bytes(program: Any) -> int | None:
    """The memory of a compiled program on each device: arguments, outputs and temporaries. None if the backend has no count."""
    found = program.memory_analysis()
    if found is None:
        return None
    own = found.argument_size_in_bytes + found.output_size_in_bytes - found.alias_size_in_bytes
    return own + found.temp_size_in_bytes


def check_memory(program: Any, devices: Sequence[jax.Device], kind: str = "a training step") -> None:
    """MemoryError, with the estimate, if a compiled program does not fit these devices of this process beside the arrays that
    are on them, such as the data."""
    needed = program_bytes(program)
    if needed is None:
        return
    arguments = program.memory_analysis().argument_size_in_bytes
    if devices[0].platform == "cpu":  # all devices of a process share its memory
        where, limit = "this machine", os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        needed, others = needed * len(devices), _bytes_on(devices) - arguments * len(devices)
    else:
        stats = devices[0].memory_stats() or {}
        where, limit, others = "each device", stats.get("bytes_limit"), stats.get("bytes_in_use", 0) - arguments
    others = max(others, 0)
    if limit is not None and needed + others > limit:
        raise MemoryError(
            f"{kind} needs {needed / 1e9:.3g} GB beside {others / 1e9:.3g} GB of other arrays, but {where} has "
            f"{limit / 1e9:.3g} GB; use a smaller batch, --seeds-at-once 1, a smaller --device-memory, or more devices with "
            "--plan sharded"
        )


def _bytes_on(devices: Sequence[jax.Device]) -> int:
    """Bytes of all arrays on these devices, arguments of a program included."""
    shards = [shard for array in jax.live_arrays() for shard in array.addressable_shards if shard.device in devices]
    # a shard's data is an array of its own from the first look at it on, with the same buffer
    return sum({shard.data.unsafe_buffer_pointer(): shard.data.nbytes for shard in shards}.values())


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
            all_seeds_steps(step), axis_name=SHARD, in_axes=(0, 0, 2), out_axes=(0, None), donate_argnums=0, devices=devices
        )
        split_rows = jax.jit(partial(jax.tree.map, partial(split, axis=2)))  # one program: leaf by leaf takes much longer
        fits = _fitting(spread, devices, "a training step")

        def run(state, frozen, batches):
            batches = split_rows(batches)
            fits(state, frozen, batches)
            result = spread(state, frozen, batches)
            # XLA launches programs on CPU devices from a pool of one thread per device. A program with collectives holds
            # these threads until it runs on all devices, and a launch that waits because 32 later ones are queued holds one
            # as well: then the last device never starts, and the process is aborted after 40 seconds.
            return jax.block_until_ready(result) if devices[0].platform == "cpu" else result

        run.lower = lambda state, frozen, batches: spread.lower(state, frozen, split_rows(batches))
        return run

    def evaluate(function, axis=0):
        spread = jax.pmap(evaluation(function), axis_name=SHARD, out_axes=axis + 1, devices=devices)
        split_rows = jax.jit(partial(jax.tree.map, partial(split, axis=0)))

        def join(leaf):
            shape = leaf.shape
            return leaf.reshape(*shape[: axis + 1], shape[axis + 1] * shape[axis + 2], *shape[axis + 3 :])

        join_rows = jax.jit(partial(jax.tree.map, join))
        fits = _fitting(spread, devices, "an evaluation")

        def run(variables, frozen, batch):
            batch = split_rows(batch)
            fits(variables, frozen, batch)
            return join_rows(spread(variables, frozen, batch))

        return run

    # With the axis of the step, since the step is compiled again for a state that lies on a mesh with another axis.
    copy = jax.pmap(lambda device, tree: tree, axis_name=SHARD, in_axes=(0, None), devices=devices)
    place = lambda tree, seeds=True: copy(np.arange(count), tree)
    # The copy of the first device, by a program on that device alone: leaf[0] would launch a program with collectives for each
    # leaf, and many of these can block each other as in `train`.
    first = partial(jax.tree.map, lambda leaf: leaf.addressable_shards[0].data.reshape(leaf.shape[1:]))
    compute = lambda function, *arguments: jax.jit(function)(*first(arguments))
    return Plan(count, place, first, train, evaluate, compute)


def _fitting(spread: Callable, devices: Sequence[jax.Device], kind: str) -> Callable[..., None]:
    """A function of the arguments of a pmapped function that calls `check_memory` before the first call with their shapes."""
    known = set()

    def fits(state, frozen, batches):
        shapes = tuple(leaf.shape for leaf in jax.tree.leaves(batches))
        if shapes not in known:
            check_memory(spread.lower(state, frozen, batches).compile(), devices, kind)  # the call does not compile again
            known.add(shapes)

    return fits
