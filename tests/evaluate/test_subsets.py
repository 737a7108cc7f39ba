"""Which subsets there are, and that prediction neither loses nor invents a row."""

import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.evaluate.subsets import predict, subset_name, subsets_of
from mmjax.types import Batch


def test_subsets_of():
    assert subsets_of(("text", "audio", "image")) == (
        ("audio",),
        ("image",),
        ("text",),
        ("audio", "image"),
        ("audio", "text"),
        ("image", "text"),
        ("audio", "image", "text"),
    )
    assert subsets_of(["text"]) == (("text",),)
    assert [len(subsets_of([str(i) for i in range(n)])) for n in range(6)] == [0, 1, 3, 7, 15, 31]  # 2^n - 1


def test_subset_name():
    assert subset_name(("audio", "text")) == "audio+text"
    assert subset_name(("audio",)) == "audio"


@pytest.mark.parametrize(("rows", "batch"), [(10, 4), (8, 4), (3, 4), (1, 1), (9, 8), (5, 1)])
def test_predict_gives_every_row_once_in_order(rows, batch):
    fed = []

    def feed(index):
        fed.append(index)
        return Batch({"x": jnp.asarray(index)}, {}, {}, jnp.asarray(index >= 0))

    def run(params, given):
        """Logits [2 seeds, 3 subsets, b, 1]: 1000 seed + 100 subset + the row's number; NaN for padding."""
        number = np.where(np.asarray(given.inputs["x"]) < 0, np.nan, np.asarray(given.inputs["x"]))
        base = 1000 * np.arange(2)[:, None, None] + 100 * np.arange(3)[None, :, None]
        return jnp.asarray((base + number)[..., None] * params)

    logits = predict(run, 1.0, feed, rows, batch)
    expected = 1000 * np.arange(2)[:, None, None] + 100 * np.arange(3)[:, None] + np.arange(rows)
    np.testing.assert_array_equal(logits[..., 0], expected)
    assert len({len(index) for index in fed}) == 1  # one shape, one compilation
    assert len(fed) == -(-rows // batch)
