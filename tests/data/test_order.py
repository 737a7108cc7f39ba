"""The order of rows is a function of (seed, step) alone, and every row occurs once per epoch."""

import numpy as np
import pytest

from mmjax.data import order
from mmjax.data.order import Epochs, Poisson, SharedOrder, in_order, permuted, shuffled


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


BILLION = 10**9


def test_a_permutation_of_any_number_of_rows():
    for rows in [*range(1, 70), 255, 256, 257, 1000, 4095, 4097, 65_537, 131_073]:
        np.testing.assert_array_equal(np.sort(permuted(3, 1, rows, np.arange(rows))), np.arange(rows), err_msg=f"{rows} rows")
    for rows in (BILLION, 2**62):  # no two places have one row
        places = np.unique(np.random.default_rng(0).integers(0, rows, 100_000))
        found = permuted(0, 0, rows, places)
        assert len(np.unique(found)) == len(places) and found.min() >= 0 and found.max() < rows


def test_permutations_are_uniform():
    """Chi-square: all orders of up to 5 rows, each row at each place of 9 and 16, and the next row of a row among 100.

    The threshold is 6 standard deviations: chi-square with d degrees of freedom has mean d and variance 2 d.
    """
    n = 1500
    surprise = lambda counts, expected, d: (((counts - expected) ** 2 / expected).sum() - d) / np.sqrt(2 * d)
    for rows, orders in ((2, 2), (3, 6), (4, 24), (5, 120)):
        found = np.array([permuted(1, epoch, rows, np.arange(rows)) for epoch in range(n)]) @ rows ** np.arange(rows)
        counts = np.unique(found, return_counts=True)[1]
        assert len(counts) == orders and surprise(counts, n / orders, orders - 1) < 6
    for rows in (9, 16):
        found = np.array([permuted(seed, 0, rows, np.arange(rows)) for seed in range(n)])
        counts = np.array([np.bincount(column, minlength=rows) for column in found.T])
        # each row and column of the table sums to n, which multiplies the statistic by rows / (rows - 1)
        assert surprise(counts * np.sqrt((rows - 1) / rows), n / rows * np.sqrt((rows - 1) / rows), (rows - 1) ** 2) < 6
    found = np.array([permuted(seed, 5, 100, np.arange(100)) for seed in range(300)])
    gaps = np.diff(found, axis=1) % 100
    assert surprise(np.bincount(gaps.ravel(), minlength=100)[1:], gaps.size / 99, 98) < 6


def test_a_billion_rows_in_any_order_from_any_step():
    """Batches span epochs, and each is computed from its step alone, without an array of the rows."""
    last = BILLION // 64
    began = [shuffled(2, step, BILLION, 64) for step in (0, last, last + 1)]
    assert all(found.shape == (64,) and 0 <= found.min() and found.max() < BILLION for found in began)
    in_epoch = BILLION % 64
    np.testing.assert_array_equal(began[1][:in_epoch], permuted(2, 0, BILLION, np.arange(BILLION - in_epoch, BILLION)))
    np.testing.assert_array_equal(began[1][in_epoch:], permuted(2, 1, BILLION, np.arange(64 - in_epoch)))
    with pytest.raises(ValueError, match=r"the places are 7 to 10; they must be from 0 to 9"):
        permuted(0, 0, 10, np.arange(7, 11))
    with pytest.raises(ValueError, match="rows is 0; it must be from 1"):
        permuted(0, 0, 0, np.arange(1))


def test_large_data_follow_the_same_rules(monkeypatch):
    """Above ARRAY_ROWS: whole epochs, in new orders, whatever the batch."""
    monkeypatch.setattr(order, "ARRAY_ROWS", 5)
    for rows, batch in ((10, 4), (7, 16), (6, 6)):
        test_every_row_once_per_epoch(rows, batch)
    test_batch_size_cuts_one_sequence()
    test_epochs_and_seeds_differ()


@pytest.mark.parametrize("processes", [1, 2, 4, 8])
def test_processes_that_share_an_epoch(processes, monkeypatch):
    """Process i reads the places i, i + processes, ... of each batch: together each row once per epoch."""
    monkeypatch.setattr(order, "ARRAY_ROWS", 5)
    parts = [[shuffled(0, step, 1000, 40)[i::processes] for step in range(25)] for i in range(processes)]
    assert {len(rows) for part in parts for rows in part} == {40 // processes}
    assert sorted(np.concatenate([rows for part in parts for rows in part]).tolist()) == list(range(1000))


def test_a_shared_order_is_that_of_seed_0():
    for sampling in (Epochs(), Poisson()):
        shared, width = SharedOrder(sampling), sampling.width(50, 8, 10)
        assert shared.width(50, 8, 10) == width
        for seed in (0, 3):
            np.testing.assert_array_equal(shared.draw(seed, 4, 50, 8, width), sampling.draw(0, 4, 50, 8, width))
    assert SharedOrder() == SharedOrder(Epochs())
