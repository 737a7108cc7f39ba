"""Batches from columns on the device and from a stream are equal, for one step and for several, from any first step."""

import time
import tracemalloc
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.data import feed
from mmjax.data.dataset import Column, Dataset, Rows
from mmjax.data.decode import DataError
from mmjax.data.feed import DeviceFeed, Feed, HostFeed, column_bytes, load_column, load_columns
from mmjax.data.order import Epochs, SharedOrder, in_order, shuffled
from mmjax.data.stamps import dataset as stamps_dataset
from mmjax.data.stamps.pack import StampsPack
from mmjax.evaluate.predict import predict_split
from mmjax.train.seeds import orders
from mmjax.types import Padded

pytest.importorskip("grain")


def stream(dataset, rows, order, first, steps, threads=4):
    return HostFeed(dataset, rows, dataset.columns, threads).stream(order, first, steps)


IMAGES = np.random.default_rng(0).integers(0, 256, (11, 3, 2, 4), np.uint8)
LENGTHS = np.array([4, 0, 2, 3, 1], np.int32)
TOKENS = np.arange(20, dtype=np.int16).reshape(5, 4)
N = 13


def toy():
    """13 rows over 11 images and 5 texts; some rows lack one of them. Images are divided by 255, tokens get + 1."""
    columns = {
        "image": Column(11, lambda i: IMAGES[i], lambda x: x.astype(jnp.float32) / 255),
        "text": Column(
            5, lambda i: Padded(TOKENS[i], LENGTHS[i]), lambda x: Padded(x.x.astype(jnp.int32) + 1, x.length)
        ),
    }
    image = np.array([3, 3, 0, -1, 10, 5, 6, 7, -1, 9, 1, 2, 4], np.int32)
    text = np.array([0, 1, 2, 3, 4, -1, 0, 1, -1, 3, 4, -1, 1], np.int32)
    rows = Rows(
        {"image": image, "text": text}, {"label": np.arange(N, dtype=np.int32)}, np.arange(1, N + 1, dtype=np.float32)
    )
    return Dataset(columns, {"train": rows}, {}, "")


def expected(rows, index):
    """By hand, for each example: (label, weight, image or None, tokens or None)."""
    examples = []
    for row in np.ravel(index):
        image, text = (rows.pointer[name][row] if row >= 0 else -1 for name in ("image", "text"))
        pixels = IMAGES[image] / np.float32(255) if image >= 0 else None
        tokens = TOKENS[text][: LENGTHS[text]] + 1 if text >= 0 else None
        examples.append((rows.targets["label"][row], rows.weight[row] if row >= 0 else 0, pixels, tokens))
    return examples


def assert_batch(batch, rows, index):
    lead = np.shape(index)
    for leaf in jax.tree.leaves(batch):
        assert leaf.shape[: len(lead)] == lead
    flat = jax.tree.map(lambda leaf: np.asarray(leaf).reshape(-1, *leaf.shape[len(lead) :]), batch)
    for i, (label, weight, pixels, tokens) in enumerate(expected(rows, index)):
        assert flat.weight[i] == weight and flat.present["image"][i] == (pixels is not None)
        assert flat.present["text"][i] == (tokens is not None)
        if weight:
            assert flat.targets["label"][i] == label
        if pixels is not None:
            np.testing.assert_allclose(flat.inputs["image"][i], pixels, rtol=1e-6)
        if tokens is not None:
            text = flat.inputs["text"]
            assert text.x[i][: text.length[i]].tolist() == tokens.tolist()


def order(step):
    """Two seeds, [s b] = [2 3]; the last place of every third step is padding."""
    index = np.stack([shuffled(seed, step, N, 3) for seed in (0, 1)])
    index[:, 2] = np.where(step % 3 == 2, -1, index[:, 2])
    return index


@pytest.fixture(scope="module")
def streamed():
    """The batches of steps 0 to 8."""
    dataset = toy()
    return list(stream(dataset, dataset.splits["train"], order, 0, 9))


@pytest.fixture(scope="module")
def columns():
    return load_columns(toy())


def test_from_device_by_hand(columns):
    rows = toy().splits["train"]
    batch_of = DeviceFeed(columns, rows)
    for step in range(9):
        assert_batch(batch_of(order(step)), rows, order(step))
    for index in in_order(N, 5):
        assert_batch(batch_of(index), rows, index)


def test_stream_by_hand(streamed):
    rows = toy().splits["train"]
    assert len(streamed) == 9
    for step, batch in enumerate(streamed):
        assert_batch(batch, rows, order(step))


def stacked(batches):
    return jax.tree.map(lambda *leaves: np.stack(leaves), *batches)


CHUNKS = (range(2, 5), range(5, 6), range(6, 9))


def test_chunks_of_several_steps(columns, streamed):
    """[k s b] of both feeds is k batches [s b], stacked; also for a call with row numbers of that shape."""
    rows = toy().splits["train"]
    feeds = DeviceFeed(columns, rows), HostFeed(toy(), rows, columns)
    for feed_of in feeds:
        assert isinstance(feed_of, Feed)
        found = list(feed_of.chunks(order, CHUNKS))
        assert len(found) == len(CHUNKS)
        for chunk, batch in zip(CHUNKS, found):
            assert batch.weight.shape == (len(chunk), 2, 3)
            assert_batch(batch, rows, np.stack([order(step) for step in chunk]))
            expected = stacked([streamed[step] for step in chunk])
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), batch.targets, expected.targets)
        again = feed_of(np.stack([order(step) for step in CHUNKS[0]]))
        jax.tree.map(np.testing.assert_array_equal, again, found[0])
        assert list(feed_of.chunks(order, ())) == []


def test_float_and_multi_label_targets_have_the_dimensions_of_the_index(columns):
    rows = toy().splits["train"]
    targets = {"value": np.linspace(0, 1, N, dtype=np.float32), "tags": np.arange(2 * N).reshape(N, 2)}
    targets["value"][3] = np.nan
    batch = DeviceFeed(columns, rows.replace(targets=targets))(np.array([[[3, 0]], [[12, -1]]]))
    assert batch.targets["value"].shape == (2, 1, 2) and batch.targets["tags"].shape == (2, 1, 2, 2)
    assert np.isnan(batch.targets["value"][0, 0, 0]) and batch.targets["value"][1, 0, 0] == 1
    assert batch.targets["tags"][1, 0, 0].tolist() == [24, 25]


def test_stream_and_device_have_the_same_structure(columns, streamed):
    """A step that is compiled for one accepts the other: same tree, shapes and dtypes."""
    batch = DeviceFeed(columns, toy().splits["train"])(order(0))
    assert jax.tree.structure(batch) == jax.tree.structure(streamed[0])
    shapes = [jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype.name), b) for b in (batch, streamed[0])]
    assert shapes[0] == shapes[1]


def test_stream_resumes_in_the_middle(streamed):
    dataset = toy()
    for first in (4, 8):
        tail = list(stream(dataset, dataset.splits["train"], order, first, 9, threads=2))
        assert len(tail) == 9 - first
        for resumed, batch in zip(tail, streamed[first:]):
            jax.tree.map(np.testing.assert_array_equal, resumed, batch)
    assert list(stream(dataset, dataset.splits["train"], order, 9, 9)) == []


def test_column_bytes(columns):
    """Images float32 11 x 3 x 2 x 4, tokens int32 5 x 4, lengths int32 5: 4 bytes each."""
    found = sum(leaf.nbytes for leaf in jax.tree.leaves(columns))
    assert column_bytes(toy()) == found == 4 * (11 * 24 + 5 * 4 + 5)


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


def test_stamps(monkeypatch):
    """Log-mel frames, images and tokens of the real data are equal in both feeds."""
    monkeypatch.setattr(stamps_dataset, "open_source", lambda root: (StampsPack(root), "StampsPack"))
    monkeypatch.setattr(stamps_dataset, "MAX_ITEMS", 16)
    monkeypatch.setattr(feed, "CHUNK", 64)
    dataset = stamps_dataset.Stamps(image_size=8, speech_languages=("lt",), seconds=0.5).load()
    columns, rows = load_columns(dataset), dataset.splits["train"]
    assert column_bytes(dataset) == sum(leaf.nbytes for leaf in jax.tree.leaves(columns))
    spoken = np.flatnonzero(rows.pointer["audio"] >= 0)[:3]
    silent = np.flatnonzero(rows.pointer["audio"] < 0)[:2]
    index = np.array([[*spoken, *silent, -1]])
    (batch,) = stream(dataset, rows, lambda step: index, 0, 1)
    same = DeviceFeed(columns, rows)(index)
    assert np.asarray(batch.present["audio"]).tolist() == [[True] * 3 + [False] * 3]
    for name in ("present", "targets", "weight"):
        jax.tree.map(np.testing.assert_array_equal, getattr(batch, name), getattr(same, name))
    for name, present in batch.present.items():
        present = np.asarray(present)
        jax.tree.map(
            lambda a, b, present=present: np.testing.assert_allclose(np.asarray(a)[present], np.asarray(b)[present], atol=1e-4),
            batch.inputs[name],
            same.inputs[name],
        )


def counted():
    """(the toy data, {modality: numbers of the items that were read})."""
    dataset, reads = toy(), {"image": [], "text": []}
    read = lambda name, number: (reads[name].append(number), dataset.columns[name].read(number))[1]
    columns = {name: replace(column, read=partial(read, name)) for name, column in dataset.columns.items()}
    return replace(dataset, columns=columns), reads


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
def test_a_shared_order_reads_each_row_once_for_all_seeds(columns, sampling):
    """In an epoch of one batch, three seeds in orders of their own need every row as well, but not in the same step."""
    dataset, reads = counted()
    rows, batch = dataset.splits["train"], 4
    of_seeds = orders((0, 1, 2), N, batch, sampling)
    chunks = [range(0, 2), range(2, 3)]
    streamed = list(HostFeed(dataset, rows, dataset.columns).chunks(of_seeds, chunks))
    for found, expected in zip(streamed, DeviceFeed(columns, rows).chunks(of_seeds, chunks), strict=True):
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
