"""The order of rows is a function of (seed, step) alone, and every row occurs once per epoch."""

import numpy as np
import pytest

from mmjax.data.order import in_order, shuffled


def steps(seed, rows, batch, wanted):
    return {step: shuffled(seed, step, rows, batch).tolist() for step in wanted}


def test_a_function_of_seed_and_step():
    """The result does not depend on earlier calls or on the global generator of NumPy."""
    forwards = steps(3, 10, 4, range(12))
    np.random.seed(0)
    steps(4, 10, 4, range(12))
    steps(3, 11, 4, range(12))
    backwards = steps(3, 10, 4, reversed(range(12)))
    assert forwards == backwards


@pytest.mark.parametrize(("rows", "batch"), [(10, 4), (10, 5), (3, 8), (1, 1), (7, 7)])
def test_every_row_once_per_epoch(rows, batch):
    """Batches span epochs, and one batch may contain several."""
    epochs = 8  # whole epochs fit into rows * batch rows
    taken = np.concatenate([shuffled(0, step, rows, batch) for step in range(epochs * rows)])
    assert taken.shape == (epochs * rows * batch,)
    for epoch in taken.reshape(-1, rows):
        assert sorted(epoch.tolist()) == list(range(rows))


def test_batch_size_cuts_one_sequence():
    """The sequence of rows does not depend on the batch size."""
    one = np.concatenate([shuffled(5, step, 9, 1) for step in range(60)])
    np.testing.assert_array_equal(np.concatenate([shuffled(5, step, 9, 20) for step in range(3)]), one)


def test_epochs_and_seeds_differ():
    orders = {tuple(shuffled(seed, epoch, 50, 50)) for seed in range(10) for epoch in range(10)}
    assert len(orders) == 100  # of 50! orders; two equal ones have a probability below 1e-60


def test_orders_are_uniform():
    """Over 4000 epochs, each of 6 rows is at each position 4000 / 6 times, within 5 binomial deviations."""
    n = 4000
    places = np.array([shuffled(0, epoch, 6, 6) for epoch in range(n)])
    counts = np.array([np.bincount(column, minlength=6) for column in places.T])
    assert np.abs(counts - n / 6).max() < 5 * np.sqrt(n * 1 / 6 * 5 / 6)


def test_changing_a_result_does_not_change_later_ones():
    first = shuffled(0, 0, 6, 6)
    kept = first.copy()
    first[:] = 0
    np.testing.assert_array_equal(shuffled(0, 0, 6, 6), kept)


@pytest.mark.parametrize(("rows", "batch"), [(0, 4), (4, 0), (-1, 4)])
def test_bad_sizes_are_refused(rows, batch):
    with pytest.raises(ValueError, match=f"rows is {rows} and batch is {batch}; both must be at least 1"):
        shuffled(0, 0, rows, batch)


def test_in_order_pads_the_last_batch():
    assert in_order(5, 2).tolist() == [[0, 1], [2, 3], [4, -1]]
    assert in_order(4, 2).tolist() == [[0, 1], [2, 3]]
    assert in_order(2, 4).tolist() == [[0, 1, -1, -1]]
    assert in_order(0, 3).shape == (0, 3)
