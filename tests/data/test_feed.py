"""Batches from columns on the device and from a stream are equal, for one step and for several, from any first step."""

import jax
import numpy as np
import pytest

from mmjax.data import feed
from mmjax.data.feed import DeviceFeed, Feed, HostFeed, column_bytes, load_columns
from mmjax.data.order import in_order
from mmjax.data.stamps import dataset as stamps_dataset
from mmjax.data.stamps.pack import StampsPack
from tests.data.feeds import N, assert_batch, order, stream, toy

pytest.importorskip("grain")


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
