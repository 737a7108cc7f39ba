"""A toy data set for the tests of feeds, its batches by hand, and an order of two seeds."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.data.dataset import Column, Dataset, Rows
from mmjax.data.feed import HostFeed
from mmjax.data.order import shuffled
from mmjax.types import Padded


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


def counted():
    """(the toy data, {modality: numbers of the items that were read})."""
    dataset, reads = toy(), {"image": [], "text": []}
    read = lambda name, number: (reads[name].append(number), dataset.columns[name].read(number))[1]
    columns = {name: replace(column, read=partial(read, name)) for name, column in dataset.columns.items()}
    return replace(dataset, columns=columns), reads
