"""The plan for many devices and processes: one program over a named mesh, compiled from where its arrays are.

The step is that of one device. XLA partitions it by the placement of states and batches, and inserts the communication.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import jax.extend.backend
import numpy as np
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from mmjax.data.feed import Feed, Order
from mmjax.nn.checks import positive
from mmjax.processes import whole
from mmjax.shards import gathered_from
from mmjax.train.parallel import Plan, all_seeds_steps, checked, evaluation
from mmjax.types import Batch

__all__ = [
    "AXES", "DEFAULT_RULES", "MIN_SIZE", "ROWS", "Mesh", "Rule", "grid_of", "of_rows", "placement", "sharded", "share",
    "simulate",
]  # fmt: skip

AXES = ("seeds", "data", "fsdp", "tensor")
ROWS = ("data", "fsdp")  # the rows of a batch are split over both
MIN_SIZE = 4096  # smaller arrays are copied to every device: gathering them costs more than it saves

Rule = tuple[str, tuple[str, ...]]
"""(regular expression of a path, the mesh axis of each of the last axes of its array, "" for none). Paths end in the names of
modules and of the parameter, such as "params/encoders_text/block0/up/kernel"; states of optimisers have longer ones."""

DEFAULT_RULES: tuple[Rule, ...] = (
    (r"/(query|key|value|up|gate)/kernel$", ("", "tensor")),
    (r"/(query|key|value|up|gate)/bias$", ("tensor",)),
    (r"/(out|down)/kernel$", ("tensor", "")),
    (r"/embedding$", ("tensor", "")),
)
"""Tensor parallelism of attention, perceptrons and embeddings (Shoeybi et al., 2019, "Megatron-LM", section 3)."""


@dataclasses.dataclass(frozen=True)
class Mesh:
    """The devices of a run as a grid with four axes.

    seeds: number of parts of the seeds. data: number of parts of a batch, None for all devices that are left. fsdp: number of
    parts of a batch and of every large parameter and optimiser state (Zhao et al., 2023, "PyTorch FSDP"). tensor: number of
    parts of the parameters that a rule names.
    """

    seeds: int = 1
    data: int | None = None
    fsdp: int = 1
    tensor: int = 1

    def __post_init__(self):
        positive(self, "seeds", "fsdp", "tensor", *(["data"] if self.data is not None else []))

    def shape(self, devices: int) -> tuple[int, int, int, int]:
        """The sizes of AXES. ValueError if they do not fit the number of devices."""
        others = self.seeds * self.fsdp * self.tensor
        data = max(devices // others, 1) if self.data is None else self.data
        some = jax.process_count() == 1 and self.data is not None  # several processes need all devices
        if others * data > devices or (not some and others * data != devices):
            fits = "at most" if some else "equal to" if self.data else "a divisor of"
            raise ValueError(
                f"the mesh seeds={self.seeds}, data={self.data or 'rest'}, fsdp={self.fsdp}, tensor={self.tensor} does not fit "
                f"{devices} devices; the product of the sizes must be {fits} it"
            )
        return self.seeds, data, self.fsdp, self.tensor

    def rows(self, devices: int) -> int:
        """The number of parts of a batch."""
        _, data, fsdp, _ = self.shape(devices)
        return data * fsdp


def simulate(mesh: Mesh) -> bool:
    """Makes simulated devices for a mesh that is larger than the devices there are, on which programs can be compiled. Whether
    it did. Arrays that were made before cannot be used any more. A mesh with data=None takes the devices there are."""
    shape = mesh.shape(jax.device_count()) if mesh.data is None else (mesh.seeds, mesh.data, mesh.fsdp, mesh.tensor)
    if jax.process_count() > 1 or math.prod(shape) <= jax.device_count():
        return False
    jax.extend.backend.clear_backends()
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", math.prod(shape))
    return True


def placement(path: str, shape: Sequence[int], mesh: jax.sharding.Mesh, rules: Sequence[Rule], seeds: bool) -> P:
    """The mesh axes of an array's axes.

    The first matching rule places axes; then the largest other axis of an array of at least MIN_SIZE numbers is split over
    "fsdp". An axis that its number of parts does not divide stays whole, and a rule with more axes than the array is skipped,
    such as that of a kernel for the factored state of an optimiser. seeds: whether the first axis is that of the seeds.
    """
    first, rest = ("seeds", list(shape[1:])) if seeds else (None, list(shape))
    axes: list[str | None] = [None] * len(rest)
    wanted = next((axes for pattern, axes in rules if re.search(pattern, path)), ())
    if len(wanted) <= len(rest):
        for at, axis in enumerate(wanted, len(rest) - len(wanted)):
            if axis and rest[at] % mesh.shape[axis] == 0:
                axes[at] = axis
    free = [at for at, axis in enumerate(axes) if axis is None and rest[at] % mesh.shape["fsdp"] == 0]
    if math.prod(rest) >= MIN_SIZE and free and "fsdp" not in axes:
        axes[max(free, key=lambda at: rest[at])] = "fsdp"
    return P(*([first] if seeds else []), *axes)


def sharded(mesh: Mesh = Mesh(), rules: Sequence[Rule] = DEFAULT_RULES) -> Plan:
    """One program on the devices of all processes.

    rules: where parameters and their optimiser states are placed. ValueError if the mesh does not fit the devices.
    """
    _check(rules)
    grid = grid_of(mesh)
    devices = grid.devices.ravel().tolist()
    replicated = NamedSharding(grid, P())
    local = [device for device in devices if device.process_index == jax.process_index()]
    settled = jax.block_until_ready if devices[0].platform == "cpu" else lambda tree: tree  # for the reason in `pmapped`

    def shardings(tree: Any, seeds: bool = True) -> Any:
        def of(path, leaf):
            name = "/" + jax.tree_util.keystr(path, simple=True, separator="/")
            return NamedSharding(grid, placement(name, leaf.shape, grid, rules, seeds))

        return jax.tree_util.tree_map_with_path(of, tree)

    @contextmanager
    def gathered(variables: Any) -> Iterator[Any]:
        """The variables of one seed, gathered over "fsdp", so that each device runs the whole model on its rows."""
        whole_over = lambda spec: P(*(None if axis == "fsdp" else axis for axis in spec))
        targets = jax.tree.map(lambda at: NamedSharding(grid, whole_over(at.spec)), shardings(variables, seeds=False))
        found = jax.tree.map(jax.lax.with_sharding_constraint, variables, targets)
        with gathered_from(variables, found, targets):
            yield found

    def place(tree: Any, seeds: bool = True) -> Any:
        return jax.tree.map(_global, tree, shardings(tree, seeds))

    def compute(function, *arguments):
        placed = shardings(jax.eval_shape(function, *arguments))
        return jax.jit(function, out_shardings=placed)(*arguments)

    def train(step):
        run: Callable | None = None

        def compiled(state):
            nonlocal run
            if run is None:  # the new state is placed as the old one
                placed = jax.tree.map(lambda leaf: leaf.sharding, state), replicated
                run = checked(jax.jit(all_seeds_steps(step, "seeds"), donate_argnums=0, out_shardings=placed), local)
            return run

        call = lambda state, frozen, batches: settled(compiled(state)(state, frozen, batches))
        call.lower = lambda state, frozen, batches: compiled(state).lower(state, frozen, batches)
        return call

    def evaluate(function, axis=0):
        def on_whole(variables, batch):
            with gathered(variables) as found:
                return function(found, batch)

        run = checked(jax.jit(evaluation(on_whole, "seeds"), out_shardings=replicated), local, "an evaluation")
        place_rows = lambda batch: jax.tree.map(lambda leaf: _global(leaf, of_rows(grid, 1)), batch)
        return lambda variables, frozen, batch: settled(run(variables, frozen, place_rows(batch)))

    feed = lambda feed: _ShardedFeed(feed, grid)
    return Plan(mesh.rows(jax.device_count()), place, _fetch, train, evaluate, compute, feed, gathered)


def grid_of(mesh: Mesh) -> jax.sharding.Mesh:
    """The mesh of JAX over the first devices. ValueError if it does not fit them."""
    shape = mesh.shape(jax.device_count())
    return jax.make_mesh(shape, AXES, axis_types=(AxisType.Auto,) * len(AXES), devices=jax.devices()[: math.prod(shape)])


def _check(rules: Sequence[Rule]) -> None:
    """ValueError for a rule that is no pattern or names an axis wrongly."""
    for pattern, axes in rules:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"placement: {pattern!r} is not a regular expression ({error})") from error
        named = [axis for axis in axes if axis]
        if len(set(named)) < len(named) or not set(named) <= {"fsdp", "tensor"}:
            raise ValueError(f"placement: {pattern!r} has the axes {axes}; give 'fsdp', 'tensor' or '', each axis once")


def of_rows(grid: jax.sharding.Mesh, leading: int) -> NamedSharding:
    """The sharding of a batch. leading: its number of axes up to the rows: 1 for [b ...], more for [... s b ...]."""
    return NamedSharding(grid, P(ROWS) if leading == 1 else P(*[None] * (leading - 2), "seeds", ROWS))


def _global(leaf: Any, sharding: NamedSharding) -> Any:
    """Distributes an array that all processes have over the devices; one with this sharding is returned unchanged. Of a
    `jax.ShapeDtypeStruct`, one with the sharding."""
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
    if isinstance(leaf, jax.Array) and leaf.sharding == sharding:
        return leaf
    if sharding.is_fully_addressable:
        return jax.device_put(leaf, sharding)
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(_global(jax.random.key_data(leaf), sharding))
    host = np.asarray(leaf)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])


def _fetch(tree: Any) -> Any:
    """The whole arrays on the host of every process."""
    is_key = lambda leaf: jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    on_host = lambda leaf: jax.random.wrap_key_data(np.asarray(jax.random.key_data(leaf))) if is_key(leaf) else np.asarray(leaf)
    return jax.tree.map(on_host, whole(tree))


class _ShardedFeed:
    """A `Feed` whose batches are spread over the mesh. Each process reads the rows of its own devices alone."""

    def __init__(self, feed: Feed, grid: jax.sharding.Mesh):
        self.feed, self.grid = feed, grid

    def __call__(self, index: np.ndarray) -> Batch:
        return self._spread(self.feed(self._own(index)), index.shape)

    def chunks(self, order: Order, chunks: Sequence[range]) -> Iterator[Batch]:
        for chunk, batch in zip(chunks, self.feed.chunks(lambda step: self._own(order(step)), chunks)):
            yield self._spread(batch, (len(chunk), *order(chunk.start).shape))

    def stream(self, order: Order, first: int, steps: int) -> Iterator[Batch]:
        for step, batch in zip(range(first, steps), self.feed.stream(lambda step: self._own(order(step)), first, steps)):
            yield self._spread(batch, order(step).shape)

    def _own(self, index: np.ndarray) -> np.ndarray:
        """The part of an index, Int[... s b] or Int[b], that the devices of this process need."""
        sharding = of_rows(self.grid, index.ndim)
        if sharding.is_fully_addressable:
            return index
        return share(index, sharding.addressable_devices_indices_map(index.shape).values())

    def _spread(self, batch: Batch, shape: tuple[int, ...]) -> Batch:
        """shape: of the whole index."""
        sharding = of_rows(self.grid, len(shape))
        if sharding.is_fully_addressable:
            return jax.device_put(batch, sharding)
        make = jax.make_array_from_process_local_data
        return jax.tree.map(lambda leaf: make(sharding, np.asarray(leaf), (*shape, *leaf.shape[len(shape) :])), batch)


def share(index: np.ndarray, parts: Iterable[Sequence[slice]]) -> np.ndarray:
    """The smallest block of an array that contains these parts of it, each a slice for every axis."""
    sides = list(zip(*parts))
    return index[tuple(_hull(size, slices) for size, slices in zip(index.shape, sides, strict=True))]


def _hull(size: int, parts: Sequence[slice]) -> slice:
    """The smallest slice that contains all parts of an axis of this size."""
    starts, stops = zip(*(part.indices(size)[:2] for part in parts))
    return slice(min(starts), max(stops))
