"""The processes of a run: how they find each other, decide together, and end.

Every process runs the same program on the same experiment. The first one writes the run folder, which all of them can read.
"""

import os
import sys
from typing import Any

import jax
import numpy as np

__all__ = ["HEARTBEAT", "any_process", "end_process", "is_first", "join", "of_first", "wait_for_all", "whole"]

HEARTBEAT = 10  # seconds after which a process without a sign of life counts as dead, and the others exit


def join(coordinator: str, count: int | None = None, index: int | None = None) -> None:
    """Connects this process with the others, before JAX uses any device.

    coordinator: HOST:PORT of the first process; "auto" takes all three values from the environment of SLURM, Open MPI,
    Kubernetes or Cloud TPU (see `jax.distributed.initialize`). count: the number of processes. index: of this one, from 0.
    Raises ValueError if a value is missing. JAX aborts the process if the first one cannot be reached within five minutes.
    """
    if coordinator == "auto":
        known = {}
    elif count is None or index is None:
        raise ValueError("--coordinator HOST:PORT also needs --processes and --process")
    elif not 0 <= index < count:
        raise ValueError(f"--process is {index}; it must be at least 0 and below --processes, {count}")
    else:
        known = {"coordinator_address": coordinator, "num_processes": count, "process_id": index}
    if os.environ.get("JAX_PLATFORMS", "cpu") == "cpu":
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(**known, heartbeat_timeout_seconds=HEARTBEAT)
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"--coordinator {coordinator}: {str(error).splitlines()[0]}") from error
    wait_for_all("all processes have started")  # connects their devices while none is busy: this has a limit of 30 seconds


def is_first() -> bool:
    """Whether this process writes the files of the run."""
    return jax.process_index() == 0


def wait_for_all(where: str) -> None:
    """Returns when all processes have called it; at once if there is one. where: equal in all processes."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(where)


def of_first(number: int) -> int:
    """The number that the first process has. All processes must call it."""
    if jax.process_count() == 1:
        return number
    from jax.experimental import multihost_utils

    return int(multihost_utils.broadcast_one_to_all(np.asarray(number)))


def end_process(code: int) -> None:
    """Ends this process, also if others still wait for it: they notice within seconds. Normal ends wait for all processes."""
    if jax.distributed.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    raise SystemExit(code)


def any_process(flag: bool) -> bool:
    """Whether the flag is True in any process. All processes must call it, and get the same answer."""
    if jax.process_count() == 1:
        return flag
    from jax.experimental import multihost_utils

    return bool(np.any(multihost_utils.process_allgather(np.asarray(flag))))


def whole(tree: Any) -> Any:
    """Arrays on devices of several processes, as NumPy arrays in each process; other arrays unchanged."""
    from jax.experimental import multihost_utils

    def one(leaf):
        if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable:
            return leaf
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(one(jax.random.key_data(leaf)))
        return np.asarray(leaf) if leaf.is_fully_replicated else multihost_utils.process_allgather(leaf, tiled=True)

    return jax.tree.map(one, tree)
