"""Batches for a step: gathered from columns on the device where the data fit there, streamed by Grain where they do not.

Both give the batch of the same rows for the same (seed, step).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
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


def example_batch(dataset: Dataset, modalities: Iterable[str], batch: int) -> Batch:
    """The shapes and dtypes of a batch of training rows, without reading more than one item a modality."""
    rows = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((batch, *leaf.shape[1:]), leaf.dtype), dataset.splits["train"])
    inputs = {}
    for name in modalities:
        item = dataset.columns[name].read(0)
        raw = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((batch, *np.shape(leaf)), np.asarray(leaf).dtype), item)
        inputs[name] = jax.eval_shape(dataset.columns[name].finish, raw)
    present = {name: jax.ShapeDtypeStruct((batch,), bool) for name in inputs}
    return Batch(inputs, present, rows.targets, rows.weight)


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


class Streamed:
    """A data set that stays on the host: batches of one split's rows, of these modalities, read when they are needed."""

    def __init__(self, dataset: Dataset, rows: Rows, modalities: Iterable[str], threads: int = 4):
        self.columns = {name: dataset.columns[name] for name in modalities}
        self.pointer = {name: np.asarray(rows.pointer[name]) for name in self.columns}
        self.rows, self.threads = jax.tree.map(jnp.asarray, rows), threads
        self._finish = jax.jit(lambda raw: {name: column.finish(raw[name]) for name, column in self.columns.items()})

    def _read(self, row: int) -> dict[str, Any]:
        return {name: column.read(max(int(self.pointer[name][row]), 0)) for name, column in self.columns.items()}

    def _batch(self, items: Any, index: np.ndarray) -> Batch:
        """From raw inputs, stacked, of the flat row numbers; the batch has the index's leading dimensions."""
        taken = self.rows.at(jnp.asarray(index.reshape(-1)))
        present = {name: taken.pointer[name] >= 0 for name in self.columns}
        batch = Batch(self._finish(items), present, taken.targets, taken.weight)
        return jax.tree.map(lambda leaf: leaf.reshape(index.shape + leaf.shape[1:]), batch)

    def __call__(self, index: np.ndarray) -> Batch:
        """Row numbers Int[... b] -> Batch, as `from_device` gives it."""
        with ThreadPoolExecutor(self.threads) as pool:
            return self._batch(stack(list(pool.map(self._read, index.reshape(-1).tolist()))), index)

    def stream(self, order: Callable[[int], np.ndarray], first: int, steps: int) -> Iterator[Batch]:
        """Batches of the steps `first` .. `steps` - 1, read by Grain while the device works. order: step -> Int[... b]."""
        import grain  # here, since some machines that keep their data on the device have no Grain

        plan = _Plan(order, first, steps)
        if not len(plan):
            return
        pipeline = grain.MapDataset.source(plan).map(self._read).batch(plan.width, batch_fn=stack)
        options = grain.ReadOptions(num_threads=self.threads, prefetch_buffer_size=2 * plan.width)
        for step, raw in zip(range(first, steps), pipeline.to_iter_dataset(options)):
            yield self._batch(raw, order(step))
