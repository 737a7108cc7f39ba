"""Which items a feed reads, how often and when: absent ones never, shared ones once, those of evaluation ahead."""

import time
import tracemalloc
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.data import feed
from mmjax.data.dataset import Column, Dataset, Rows
from mmjax.data.decode import DataError
from mmjax.data.feed import DeviceFeed, HostFeed, load_column, load_columns
from mmjax.data.order import Epochs, SharedOrder, shuffled
from mmjax.evaluate.predict import predict_split
from mmjax.train.seeds import orders
from tests.data.feeds import IMAGES, N, assert_batch, counted, stream, toy

pytest.importorskip("grain")


def test_absent_items_are_not_read():
    """Nor the items of padding, or of a modality that the model does not encode; each row of a step is read once."""
    dataset, reads = counted()
    rows = dataset.splits["train"]
    host = HostFeed(dataset, rows, dataset.columns)
    index = np.array([[3, 8, 5], [3, 0, -1]])
    assert_batch(next(host.stream(lambda step: index, 0, 1)), rows, index)
    assert_batch(host(index), rows, index)
    # row 3 has text 3 alone, 8 has nothing, 5 has image 5 alone, 0 has both
    assert sorted(reads["image"]) == [3, 3, 5, 5] and sorted(reads["text"]) == [0, 0, 3, 3]
    dataset, reads = counted()
    HostFeed(dataset, rows, ["text"])(np.arange(N))
    assert reads["image"] == [] and sorted(reads["text"]) == sorted(rows.pointer["text"][rows.pointer["text"] >= 0])


def test_a_batch_without_a_modality():
    """One item is read for its shape."""
    dataset, reads = counted()
    rows, index = dataset.splits["train"], np.array([3, 8])
    assert_batch(HostFeed(dataset, rows, dataset.columns)(index), rows, index)
    assert reads == {"image": [0], "text": [3]}


@pytest.mark.parametrize("sampling", [Epochs(), SharedOrder()])
def test_a_shared_order_reads_each_row_once_for_all_seeds(sampling):
    """In an epoch of one batch, three seeds in orders of their own need every row as well, but not in the same step."""
    dataset, reads = counted()
    rows, batch = dataset.splits["train"], 4
    of_seeds = orders((0, 1, 2), N, batch, sampling)
    chunks = [range(0, 2), range(2, 3)]
    streamed = list(HostFeed(dataset, rows, dataset.columns).chunks(of_seeds, chunks))
    for found, expected in zip(streamed, DeviceFeed(load_columns(toy()), rows).chunks(of_seeds, chunks), strict=True):
        assert jax.tree.map(jnp.shape, found) == jax.tree.map(jnp.shape, expected)
        assert jax.tree.map(lambda leaf: leaf.dtype, found) == jax.tree.map(lambda leaf: leaf.dtype, expected)
    for chunk, found in zip(chunks, streamed):
        assert_batch(found, rows, np.stack([of_seeds(step) for step in chunk]))
    taken = rows.pointer["image"][np.concatenate([np.unique(of_seeds(step)) for step in range(3)])]
    assert sorted(reads["image"]) == sorted(taken[taken >= 0])
    if isinstance(sampling, SharedOrder):
        assert len(taken) == 3 * batch


def test_a_shared_batch_is_preprocessed_once():
    """Ten seeds: the batch that is preprocessed has the rows of one."""
    shapes = []
    column = Column(8, np.float32, lambda x: (shapes.append(x.shape), x * 2)[1])
    rows = Rows({"x": np.arange(8)}, {}, np.ones(8, np.float32))
    of_seeds = orders(range(10), 8, 4, SharedOrder())
    (batch,) = HostFeed(Dataset({"x": column}, {"train": rows}, {}, ""), rows, ["x"]).stream(of_seeds, 0, 1)
    assert shapes == [(4,)]
    np.testing.assert_array_equal(batch.inputs["x"], 2 * of_seeds(0))


def test_a_billion_rows_take_no_memory():
    """The arrays of the rows are views of one number; the stream makes no copy of them, and no array of the order."""
    rows_number = 10**9
    constant = lambda value: np.broadcast_to(value, rows_number)
    rows = Rows({"x": constant(np.int32(3))}, {"label": constant(np.int32(1))}, constant(np.float32(1)))
    dataset = Dataset({"x": Column(4, np.float32, lambda x: x)}, {"train": rows}, {}, "")
    of_seeds = orders((0, 1), rows_number, 8)
    tracemalloc.start()
    try:
        batches = list(HostFeed(dataset, rows, ["x"]).stream(of_seeds, 10**8 - 1, 10**8 + 1))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [np.asarray(batch.inputs["x"]).tolist() for batch in batches] == [[[3] * 8] * 2] * 2
    assert peak < 50e6


def test_evaluation_reads_ahead():
    """Predictions are those of the data on the device; while the first batch is predicted, later ones are read."""
    dataset, reads = counted()
    rows = dataset.splits["train"]
    known = []

    def predict(batch):
        if not known:
            for _ in range(500):
                if len(reads["image"]) > 4:  # rows 0 to 4 have four images
                    break
                time.sleep(0.01)
        known.append(len(reads["image"]))
        return jnp.where(batch.present["image"], batch.inputs["image"].sum((1, 2, 3)), -1)

    found = predict_split(predict, HostFeed(dataset, rows, ["image"]), N, axis=0, size=5)
    expected = predict_split(predict, DeviceFeed({"image": load_column(toy().columns["image"])}, rows), N, axis=0, size=5)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert known[0] > 4 and found.shape == (N,)


def test_fill_reads_each_item_once(monkeypatch):
    """In chunks of three, the last one incomplete: all items in order, each read and reported once."""
    monkeypatch.setattr(feed, "CHUNK", 3)
    read, reports, shapes = [], [], set()

    def preprocess(x):
        shapes.add(x.shape)
        return x * 2

    column = Column(8, lambda i: read.append(i) or np.float32(i), preprocess)
    assert np.asarray(load_column(column, reports.append)).tolist() == [0, 2, 4, 6, 8, 10, 12, 14]
    assert sorted(read) == list(range(8)) and reports == [3, 3, 2] and shapes == {(3,)}


def test_damaged_item_is_reported(monkeypatch):
    """Both feeds raise an error of `read`."""

    def read(i):
        if i == 3:
            raise ValueError("item 3 is damaged")
        return IMAGES[i]

    dataset = toy()
    broken = Column(11, read, lambda x: x)
    with pytest.raises(ValueError, match="item 3 is damaged"):
        load_column(broken)
    columns = {"image": broken, "text": dataset.columns["text"]}
    broken_set = Dataset(columns, dataset.splits, {}, "")
    with pytest.raises(DataError, match=r"^row [01], item 3 of image: ValueError: item 3 is damaged$"):
        list(stream(broken_set, dataset.splits["train"], partial(shuffled, 0, rows=N, batch=N), 0, 1))
