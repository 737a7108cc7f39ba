"""The rows that each of several processes reads, computed in one process; for the tests and the scoreboard."""

import jax
import numpy as np
from jax.sharding import AxisType

from mmjax.train.seeds import orders
from mmjax.train.sharded import AXES, of_rows, share


def read_rows(index: np.ndarray, processes: int, fsdp: int = 1) -> list[np.ndarray]:
    """The part of an index, Int[s b], of each process; all devices are split over the processes in order."""
    devices = jax.devices()
    shape = (1, len(devices) // fsdp, fsdp, 1)
    grid = jax.make_mesh(shape, AXES, axis_types=(AxisType.Auto,) * len(AXES), devices=devices)
    parts = of_rows(grid, index.ndim).devices_indices_map(index.shape)
    each = len(devices) // processes
    return [share(index, [parts[device] for device in devices[i * each : (i + 1) * each]]) for i in range(processes)]


def assert_whole_epochs(rows: int, batch: int, seeds: int, before: int, after: int, change: int, fsdp: int = 1) -> None:
    """`before` processes read the first `change` steps of whole epochs, `after` processes the others: together they read each
    row equally often, for each seed."""
    order, steps = orders(range(seeds), rows, batch), rows // np.gcd(rows, batch)
    assert 0 < change < steps
    found = [part for step in range(steps) for part in read_rows(order(step), before if step < change else after, fsdp)]
    for seed in range(seeds):
        counts = np.bincount(np.concatenate([part[seed] for part in found]), minlength=rows)
        assert (counts == steps * batch // rows).all(), f"seed {seed}: rows {np.flatnonzero(counts != steps * batch // rows)}"
