"""Feeds, which return the batch of given rows: from columns on the device if the data fit there, else from the host by Grain.

Both feeds return equal batches for equal row numbers, except for the inputs of absent modalities, which are undefined. Row
numbers may have any leading dimensions, such as [s b] for the seeds of a step and [k s b] for k steps of one compiled call; the
batch has the same leading dimensions. -1 is padding.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.data.dataset import Column, Dataset, Rows, gather, stack
from mmjax.types import Batch

__all__ = ["CHUNK", "DeviceFeed", "Feed", "HostFeed", "Order", "column_bytes", "example_batch", "load_column", "load_columns"]

CHUNK = 256  # items that are read and preprocessed at once when a column is loaded

Order = Callable[[int], np.ndarray]
"""Step -> the row numbers of its batch, Int[... b]; all steps have the same shape."""


@runtime_checkable
class Feed(Protocol):
    """Row numbers Int[... b] -> Batch with leaves [... b ...]."""

    def __call__(self, index: np.ndarray) -> Batch: ...

    def chunks(self, order: Order, chunks: Sequence[range]) -> Iterator[Batch]:
        """A batch [k ... b ...] for each chunk of k steps. The chunks must be consecutive."""
        ...


def load_column(column: Column, report: Callable[[int], None] = lambda items: None) -> Any:
    """Reads and preprocesses all items of a column: array [m ...] or Padded, on the device.

    report: called after each chunk with its number of items.
    """
    preprocess = jax.jit(column.preprocess)
    parts = []
    with ThreadPoolExecutor(4) as pool:
        for start in range(0, column.count, CHUNK):
            numbers = range(start, min(start + CHUNK, column.count))
            items = list(pool.map(column.read, numbers))
            items += [items[-1]] * (CHUNK - len(items))  # one shape, one compilation
            parts.append(jax.tree.map(lambda leaf, n=len(numbers): leaf[:n], preprocess(stack(items))))
            report(len(numbers))
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)


def load_columns(dataset: Dataset, report: Callable[[int], None] = lambda items: None) -> dict[str, Any]:
    """{modality: all items of its column}, on the device; see `load_column`."""
    return {name: load_column(column, report) for name, column in dataset.columns.items()}


def column_bytes(dataset: Dataset) -> int:
    """The size in bytes of the arrays that `load_columns` returns, computed from shapes; reads one item per modality."""
    total = 0
    for column in dataset.columns.values():
        item = jax.eval_shape(column.preprocess, stack([column.read(0)]))
        total += column.count * sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(item))
    return total


def example_batch(dataset: Dataset, modalities: Iterable[str], batch: int) -> Batch:
    """The shapes and dtypes of a batch of training rows; reads one item per modality."""
    on_device = lambda shape, leaf: jax.ShapeDtypeStruct((batch, *shape), jax.dtypes.canonicalize_dtype(leaf.dtype))
    rows = jax.tree.map(lambda leaf: on_device(leaf.shape[1:], leaf), dataset.splits["train"])
    inputs = {}
    for name in modalities:
        item = dataset.columns[name].read(0)
        items = jax.tree.map(lambda leaf: on_device(np.shape(leaf), np.asarray(leaf)), item)
        inputs[name] = jax.eval_shape(dataset.columns[name].preprocess, items)
    present = {name: jax.ShapeDtypeStruct((batch,), bool) for name in inputs}
    return Batch(inputs, present, rows.targets, rows.weight)


class DeviceFeed:
    """A `Feed` of one split's rows from columns on the device, {modality: array [m ...] or Padded}."""

    def __init__(self, columns: Mapping[str, Any], rows: Rows):
        self.columns, self.rows = columns, jax.tree.map(jnp.asarray, rows)
        self._take = jax.jit(lambda columns, rows, index: gather(columns, rows.at(index)))

    def __call__(self, index: np.ndarray) -> Batch:
        return self._take(self.columns, self.rows, jnp.asarray(index))

    def chunks(self, order: Order, chunks: Sequence[range]) -> Iterator[Batch]:
        return (self(np.stack([order(step) for step in chunk])) for chunk in chunks)



class _RowsOfSteps:
    """The row numbers of the steps `first` to `steps` - 1 in one sequence: a random-access source for Grain."""

    def __init__(self, order: Order, first: int, steps: int):
        self.order, self.first, self.width = lru_cache(maxsize=16)(order), first, order(first).size
        self.length = (steps - first) * self.width

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, i: int) -> int:
        step, place = divmod(int(i), self.width)
        return int(self.order(self.first + step).reshape(-1)[place])


class HostFeed:
    """A `Feed` of one split's rows and some modalities of a data set that stays on the host; items are read when needed."""

    def __init__(self, dataset: Dataset, rows: Rows, modalities: Iterable[str], threads: int = 4):
        self.columns = {name: dataset.columns[name] for name in modalities}
        self.pointer = {name: np.asarray(rows.pointer[name]) for name in self.columns}
        self.rows, self.threads = jax.tree.map(jnp.asarray, rows), threads
        preprocess = lambda items: {name: column.preprocess(items[name]) for name, column in self.columns.items()}
        self._preprocess = jax.jit(preprocess)

    def _read(self, row: int) -> dict[str, Any]:
        return {name: column.read(max(int(self.pointer[name][row]), 0)) for name, column in self.columns.items()}

    def _batch(self, items: Any, index: np.ndarray) -> Batch:
        """The batch of these rows from their items, which are stacked in row-major order."""
        rows = self.rows.at(jnp.asarray(index.reshape(-1)))
        present = {name: rows.pointer[name] >= 0 for name in self.columns}
        batch = Batch(self._preprocess(items), present, rows.targets, rows.weight)
        return jax.tree.map(lambda leaf: leaf.reshape(index.shape + leaf.shape[1:]), batch)

    def __call__(self, index: np.ndarray) -> Batch:
        with ThreadPoolExecutor(self.threads) as pool:
            return self._batch(stack(list(pool.map(self._read, index.reshape(-1).tolist()))), index)

    def stream(self, order: Order, first: int, steps: int) -> Iterator[Batch]:
        """The batches [... b ...] of the steps `first` to `steps` - 1; Grain reads ahead while the device computes."""
        for step, items in zip(range(first, steps), self._items(order, first, steps)):
            yield self._batch(items, order(step))

    def chunks(self, order: Order, chunks: Sequence[range]) -> Iterator[Batch]:
        """As `Feed.chunks`; Grain reads ahead while the device computes."""
        if not chunks:
            return
        items = self._items(order, chunks[0].start, chunks[-1].stop)
        for chunk in chunks:
            each = [next(items) for _ in chunk]
            index = np.stack([order(step) for step in chunk])
            yield self._batch(jax.tree.map(lambda *leaves: np.concatenate(leaves), *each), index)

    def _items(self, order: Order, first: int, steps: int) -> Iterator[Any]:
        """The stacked items of each step."""
        import grain  # imported here, since a DeviceFeed works without Grain

        if steps <= first:
            return
        plan = _RowsOfSteps(order, first, steps)
        pipeline = grain.MapDataset.source(plan).map(self._read).batch(plan.width, batch_fn=stack)
        options = grain.ReadOptions(num_threads=self.threads, prefetch_buffer_size=2 * plan.width)
        yield from pipeline.to_iter_dataset(options)
