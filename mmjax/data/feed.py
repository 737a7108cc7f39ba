"""Feeds, which return the batch of given rows: from columns on the device if the data fit there, else from the host, where
Grain reads ahead, in threads or worker processes, while the device computes.

Both feeds return equal batches for equal row numbers, except for the inputs of absent modalities, which are undefined. Row
numbers may have any leading dimensions, such as [s b] for the seeds of a step and [k s b] for k steps of one compiled call; the
batch has the same leading dimensions. -1 is padding.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.data.dataset import Column, Dataset, Rows, gather, stack
from mmjax.data.decode import DataError
from mmjax.data.workers import Items, Wanted, Workers, read_items
from mmjax.types import Batch

__all__ = [
    "AHEAD", "CHUNK", "PIECE", "DeviceFeed", "Feed", "HostFeed", "ItemOfRow", "Order", "column_bytes", "example_batch",
    "load_column", "load_columns",
]

CHUNK = 256  # items that are read and preprocessed at once when a column is loaded
PIECE = 8  # rows that a thread reads at once
AHEAD = 2  # steps that are read ahead

Order = Callable[[int], np.ndarray]
"""Step -> the row numbers of its batch, Int[... b]; all steps have the same shape."""
ItemOfRow = Mapping[str, Mapping[int, Any]]
"""{modality: {row: its item}}, without the rows where the modality is absent."""


@runtime_checkable
class Feed(Protocol):
    """Row numbers Int[... b] -> Batch with leaves [... b ...]."""

    def __call__(self, index: np.ndarray) -> Batch: ...

    def chunks(self, order: Order, chunks: Sequence[range]) -> Iterator[Batch]:
        """A batch [k ... b ...] for each chunk of k steps. The chunks must be consecutive."""
        ...

    def stream(self, order: Order, first: int, steps: int) -> Iterator[Batch]:
        """The batches [... b ...] of the steps `first` to `steps` - 1."""
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

    def __call__(self, index: np.ndarray) -> Batch:
        return _take(self.columns, self.rows, jnp.asarray(index))

    def chunks(self, order: Order, chunks: Sequence[range]) -> Iterator[Batch]:
        return (self(np.stack([order(step) for step in chunk])) for chunk in chunks)

    def stream(self, order: Order, first: int, steps: int) -> Iterator[Batch]:
        return (self(order(step)) for step in range(first, steps))


@jax.jit
def _take(columns: Mapping[str, Any], rows: Rows, index: Any) -> Batch:
    """One function for all feeds, so that those of equal shapes share a compiled program."""
    return gather(columns, rows.at(index))


class HostFeed:
    """A `Feed` of one split's rows and some modalities of a data set. Items are read when needed, and never kept.

    A row that several seeds need in one step is read once. Items of absent modalities are not read, except for one item if none
    is present in the first batch, for its shape. If all seeds have the same rows (see `SharedOrder`), a batch is also stacked,
    moved to the device and preprocessed once.

    rows: arrays in memory, or mapped from a file. threads: threads that read, or wait for workers. workers: processes that
    read the columns of the data set; None to read in threads of this process. Errors of a reader are DataErrors that name the
    row of the split.
    """

    def __init__(
        self,
        dataset: Dataset,
        rows: Rows,
        modalities: Iterable[str],
        threads: int = 4,
        workers: Workers | None = None,
    ):
        self.columns = {name: dataset.columns[name] for name in modalities}
        self.rows = jax.tree.map(np.asarray, rows)
        self.threads = threads if workers is None else max(threads, 2 * workers.count)
        self._read = workers or partial(read_items, {name: column.read for name, column in self.columns.items()})
        self._blank: dict[str, Any] = {}
        self._finish = jax.jit(self._finished, static_argnames=("shape", "copies"))

    def __call__(self, index: np.ndarray) -> Batch:
        pieces = _pieces(index)
        with ThreadPoolExecutor(self.threads) as pool:
            return self._batch(_joined(pool.map(self._items_of, pieces)), index)

    def stream(self, order: Order, first: int, steps: int) -> Iterator[Batch]:
        """As `Feed.stream`; items are read ahead."""
        for step, items in zip(range(first, steps), self._items(order, first, steps)):
            yield self._batch(items, order(step))

    def chunks(self, order: Order, chunks: Sequence[range]) -> Iterator[Batch]:
        """As `Feed.chunks`; items are read ahead."""
        if not chunks:
            return
        items = self._items(order, chunks[0].start, chunks[-1].stop)
        for chunk in chunks:
            yield self._batch(_joined(next(items) for _ in chunk), np.stack([order(step) for step in chunk]))

    def _items(self, order: Order, first: int, steps: int) -> Iterator[ItemOfRow]:
        """The items of each step."""
        import grain  # imported here, since a DeviceFeed works without Grain

        if steps <= first:
            return
        plan = _Pieces(order, first, steps)
        options = grain.ReadOptions(num_threads=self.threads, prefetch_buffer_size=max(AHEAD * plan.of_step, self.threads))
        pieces = iter(grain.MapDataset.source(plan).map(self._items_of).to_iter_dataset(options))
        for _ in range(first, steps):
            try:
                items = _joined(next(pieces) for _ in range(plan.of_step))
            except DataError as error:  # Grain appends lines about its tracebacks
                raise DataError(str(error).splitlines()[0]) from error
            yield items

    def _items_of(self, rows: np.ndarray) -> ItemOfRow:
        """The items of some rows."""
        wanted: Wanted = {
            name: [(row, number) for row, number in zip(rows.tolist(), self.rows.pointer[name][rows].tolist()) if number >= 0]
            for name in self.columns
        }
        items: Items = self._read(wanted)
        return {name: {row: item for (row, _), item in zip(wanted[name], items[name])} for name in wanted}

    def _batch(self, items: ItemOfRow, index: np.ndarray) -> Batch:
        """The batch of these rows from their items."""
        shared = index.ndim > 1 and index.shape[-2] > 1 and (index == index[..., :1, :]).all()
        copies, index = (index.shape[-2], index[..., 0, :]) if shared else (None, index)
        flat = index.reshape(-1)
        rows = jax.tree.map(lambda leaf: leaf[flat], self.rows)
        present = {name: (flat >= 0) & (rows.pointer[name] >= 0) for name in self.columns}
        inputs = {name: self._stacked(name, items[name], flat) for name in self.columns}
        weight = np.where(flat >= 0, rows.weight, 0).astype(rows.weight.dtype)
        return self._finish(Batch(inputs, present, rows.targets, weight), shape=index.shape, copies=copies)

    def _stacked(self, name: str, items: Mapping[int, Any], flat: np.ndarray) -> Any:
        """The items of these rows; zeros for rows that lack the modality."""
        if name not in self._blank:
            example = next(iter(items.values())) if items else self.columns[name].read(0)
            self._blank[name] = jax.tree.map(lambda leaf: np.zeros_like(leaf), example)
        return stack([items.get(row, self._blank[name]) for row in flat.tolist()])

    def _finished(self, batch: Batch, shape: tuple[int, ...], copies: int | None) -> Batch:
        """Preprocesses a batch [n ...] and gives it the shape [*shape ...], with `copies` of it on the last axis but one."""
        inputs = {name: column.preprocess(batch.inputs[name]) for name, column in self.columns.items()}

        def shaped(leaf):
            leaf = leaf.reshape(shape + leaf.shape[1:])
            if copies is None:
                return leaf
            axis = len(shape) - 1
            return jnp.broadcast_to(jnp.expand_dims(leaf, axis), (*shape[:-1], copies, *leaf.shape[axis:]))

        return jax.tree.map(shaped, batch.replace(inputs=inputs))


class _Pieces:
    """The distinct rows of the steps `first` to `steps` - 1, in pieces, `of_step` for each step: a source for Grain."""

    def __init__(self, order: Order, first: int, steps: int):
        self.first, self.steps = first, steps
        self.pieces = lru_cache(maxsize=16)(lambda step: _pieces(order(step)))
        self.of_step = len(self.pieces(first))

    def __len__(self) -> int:
        return (self.steps - self.first) * self.of_step

    def __getitem__(self, i: int) -> np.ndarray:
        step, place = divmod(int(i), self.of_step)
        return self.pieces(self.first + step)[place]


def _pieces(index: np.ndarray) -> list[np.ndarray]:
    """The distinct rows of an index; the number of pieces depends on its size alone, so that the last ones may be empty."""
    rows = np.unique(index)
    rows = rows[rows >= 0]
    return [rows[start : start + PIECE] for start in range(0, index.size, PIECE)]


def _joined(parts: Iterable[ItemOfRow]) -> ItemOfRow:
    joined: dict[str, dict[int, Any]] = {}
    for part in parts:
        for name, items in part.items():
            joined.setdefault(name, {}).update(items)
    return joined
