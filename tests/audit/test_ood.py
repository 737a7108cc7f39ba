"""Scrambled inputs: values of other examples at the same position, never of padding or of what is absent."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.audit.ood import in_whole_batches, scrambled
from mmjax.data.dataset import Dataset, Rows
from mmjax.data.order import in_order
from mmjax.types import Padded

ROWS, WIDTH = 40, 30
X = np.float32(100 * np.arange(ROWS)[:, None] + np.arange(WIDTH))  # entry (i, j) is 100 i + j
PRESENT = np.arange(ROWS) % 4 != 1
LENGTH = np.where(np.arange(ROWS) < 10, WIDTH, 7)


@pytest.fixture(scope="module")
def drawn():
    """The array, the sequence, and an array that no row has, after scrambling; absent rows and padding are NaN."""
    valid = PRESENT[:, None] & (np.arange(WIDTH) < LENGTH[:, None])
    array = np.where(PRESENT[:, None], X, np.nan)
    padded = Padded(jnp.asarray(np.where(valid, X, np.nan)), jnp.asarray(LENGTH))
    presence, key = (jnp.asarray(PRESENT), jnp.asarray(PRESENT), jnp.zeros(ROWS, bool)), jax.random.key(0)
    run = jax.jit(lambda *given: [scrambled(x, present, key) for x, present in zip(given, presence)])
    array, padded, kept = run(jnp.asarray(array), padded, jnp.asarray(X))
    np.testing.assert_array_equal(padded.length, LENGTH)
    return np.asarray(array), np.asarray(padded.x), valid, np.asarray(kept)


def test_every_value_is_that_of_a_present_example_at_the_same_position(drawn):
    array, padded, valid, _ = drawn
    assert np.all(array % 100 == np.arange(WIDTH)) and np.all(PRESENT[(array // 100).astype(int)])
    source = (padded[:, :WIDTH] // 100).astype(int)  # every position has examples that are long enough
    assert np.all(valid[source, np.arange(WIDTH)]) and np.all(padded % 100 == np.arange(WIDTH))


def test_the_sources_are_independent_and_alike(drawn):
    """30 examples may be drawn; 1,200 draws. By chance 40 of each, with a deviation of 6.2."""
    source = (drawn[0] // 100).astype(int)
    counts = np.bincount(source.ravel(), minlength=ROWS)[PRESENT]
    assert counts.sum() == ROWS * WIDTH and np.abs(counts - 40).max() < 4 * 6.3
    assert all(len(set(row)) > 10 for row in source.tolist())


def test_what_no_example_has_stays(drawn):
    np.testing.assert_array_equal(drawn[3], X)


def test_a_last_batch_of_one_row_is_scrambled_as_well():
    """Nine rows in batches of four: in their own order, the last one would be alone and stay as it is."""
    rows = Rows({"x": np.arange(9)}, {"label": np.arange(9) + 20}, np.ones(9, np.float32))
    test = in_whole_batches(Dataset({}, {"test": rows}, {"test": {}}, ""), rows=4).splits["test"]
    order, batches = test.pointer["x"], in_order(len(test), 4)
    assert batches.shape == (3, 4) and sorted(order[:9]) == list(range(9)) and (order[9:] == order[:3]).all()
    assert (test.targets["label"] == order + 20).all() and test.weight.shape == (12,)
    run = jax.jit(lambda x: scrambled(x, jnp.ones(4, bool), jax.random.key(0)))
    for batch in batches:
        sources = order[batch]
        assert len(set(sources)) == 4
        found = np.asarray(run(jnp.asarray(X[sources]))) // 100
        assert {*found.ravel().astype(int)} == {*sources} and all(len(set(row)) > 1 for row in found.tolist())
