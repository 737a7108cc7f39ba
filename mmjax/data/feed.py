"""Batches for a step: gathered from columns on the device where the data fit there, streamed by Grain where they do not.

Both give the batch of the same rows for the same (seed, step).
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.data.dataset import Column, Dataset, Rows, gather, stack
from mmjax.types import Batch

CHUNK = 256  # items whose raw form is in memory at once while a column is filled


def fill_column(column: Column, report: Callable[[int], None] = lambda items: None) -> Any:
    """All items of a column, read and finished, on the device. `report` is told how many items each chunk added."""
    finish = jax.jit(column.finish)
    parts = []
    with ThreadPoolExecutor(4) as pool:
        for start in range(0, column.count, CHUNK):
            numbers = range(start, min(start + CHUNK, column.count))
            items = list(pool.map(column.read, numbers))
            items += [items[-1]] * (CHUNK - len(items))  # one shape, one compilation
            parts.append(jax.tree.map(lambda leaf, n=len(numbers): leaf[:n], finish(stack(items))))
            report(len(numbers))
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)


def fill(dataset: Dataset, report: Callable[[int], None] = lambda items: None) -> dict[str, Any]:
    """{modality: its whole column}, on the device."""
    return {name: fill_column(column, report) for name, column in dataset.columns.items()}


def column_bytes(dataset: Dataset) -> int:
    """How much memory `fill` would take, in bytes, from the shapes alone."""
    total = 0
    for column in dataset.columns.values():
        raw = stack([column.read(0)])
        item = jax.eval_shape(column.finish, raw)
        total += column.count * sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(item))
    return total


def from_device(columns: Mapping[str, Any], rows: Rows) -> Callable[[np.ndarray], Batch]:
    """Row numbers Int[... b] -> Batch with the same leading dimensions, gathered on the device."""
    rows = jax.tree.map(jnp.asarray, rows)
    take = jax.jit(lambda columns, rows, index: gather(columns, rows.at(index)))
    return lambda index: take(columns, rows, jnp.asarray(index))


class _Plan:
    """Row numbers of all steps from `first` on, end to end: a random-access source for Grain."""

    def __init__(self, order: Callable[[int], np.ndarray], first: int, steps: int):
        self.order, self.first, self.width = lru_cache(maxsize=16)(order), first, order(first).size
        self.length = (steps - first) * self.width

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, i: int) -> int:
        step, at = divmod(int(i), self.width)
        return int(self.order(self.first + step).reshape(-1)[at])


def stream(
    dataset: Dataset, rows: Rows, order: Callable[[int], np.ndarray], first: int, steps: int, threads: int = 4
) -> Iterator[Batch]:
    """Batches of the steps `first` .. `steps` - 1, read by Grain while the device works.

    order: step -> row numbers Int[... b]; the batch has the same leading dimensions. threads: that read items.
    """
    import grain  # here, since some machines that keep their data on the device have no Grain

    def read(row: int) -> tuple[dict[str, Any], int]:
        pointer = {name: int(rows.pointer[name][row]) for name in dataset.columns}
        return {name: column.read(max(pointer[name], 0)) for name, column in dataset.columns.items()}, row

    pipeline = grain.MapDataset.source(_Plan(order, first, steps)).map(read)
    together = lambda items: (stack([x for x, _ in items]), np.array([row for _, row in items]))
    batches = pipeline.batch(order(first).size, batch_fn=together)
    finish = jax.jit(lambda raw: {name: column.finish(raw[name]) for name, column in dataset.columns.items()})
    on_device = jax.tree.map(jnp.asarray, rows)
    shape = order(first).shape
    for raw, index in batches.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=64)):
        taken = on_device.at(jnp.asarray(index))
        present = {name: taken.pointer[name] >= 0 for name in dataset.columns}
        batch = Batch(finish(raw), present, taken.targets, taken.weight)
        yield jax.tree.map(lambda leaf: leaf.reshape(shape + leaf.shape[1:]), batch)
