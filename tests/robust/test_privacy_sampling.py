"""Poisson sampling: independent, binomial, a function of (seed, step), and never more rows than the width."""

import numpy as np
import pytest
from scipy import stats

from mmjax.data.order import Epochs, Poisson, shuffled
from mmjax.train.seeds import orders

ROWS, BATCH, STEPS = 60, 15, 2000
POISSON = Poisson()


@pytest.fixture(scope="module")
def joined():
    """Bool[steps rows], whether each row joins each step of seed 3."""
    width = POISSON.width(ROWS, BATCH, STEPS)
    drawn = [POISSON.draw(3, step, ROWS, BATCH, width) for step in range(STEPS)]
    for rows in drawn:  # once each, in ascending order, then padding
        count = int((rows >= 0).sum())
        assert rows.shape == (width,) and (np.diff(rows[:count]) > 0).all() and (rows[count:] == -1).all()
    return np.array([np.isin(np.arange(ROWS), rows) for rows in drawn])


def chi_square(counts, trials):
    """p value of the hypothesis that counts are Binomial(trials, 1/4), over bins of at least 5 expected counts."""
    law = stats.binom(trials, BATCH / ROWS)
    edges = np.unique(law.ppf(np.linspace(0, 1, 11)[1:-1]))
    bins = np.searchsorted(edges, counts)
    expected = np.diff([0, *law.cdf(edges), 1]) * len(counts)
    return stats.chisquare(np.bincount(bins, minlength=len(expected)), expected).pvalue


def test_counts_are_binomial(joined):
    assert chi_square(joined.sum(1), ROWS) > 0.01  # rows per step
    assert stats.chisquare(joined.sum(0)).pvalue > 0.01  # steps per row: uniform over rows
    z = (joined.sum(0) - STEPS / 4) / np.sqrt(STEPS * 3 / 16)
    assert stats.kstest(z, "norm").pvalue > 0.01  # and of the binomial variance


def test_rows_and_steps_are_independent(joined):
    """No pair of rows, and no row in consecutive steps, is correlated beyond 5 deviations of 1 / sqrt(steps)."""
    between = np.corrcoef(joined.T) - np.eye(ROWS)
    assert np.abs(between).max() < 5 / np.sqrt(STEPS)
    x = joined - joined.mean(0)
    assert np.abs((x[1:] * x[:-1]).mean(0) / x.var(0)).max() < 5 / np.sqrt(STEPS)


def test_a_function_of_seed_and_step():
    first = [POISSON.draw(seed, step, 20, 5, 20).tolist() for seed in (0, 1) for step in (0, 7)]
    again = [POISSON.draw(seed, step, 20, 5, 20).tolist() for seed in (0, 1) for step in (0, 7)]
    assert first == again and len({tuple(rows) for rows in first}) == 4
    together = orders((4, 2), 20, 5, POISSON, 20)(3)
    np.testing.assert_array_equal(together, [POISSON.draw(seed, 3, 20, 5, 20) for seed in (4, 2)])


def test_all_rows_if_the_batch_is_the_split():
    assert POISSON.draw(0, 0, 6, 6, 6).tolist() == list(range(6)) and POISSON.width(6, 6, 100) == 6


@pytest.mark.parametrize(("rows", "batch", "steps"), [(500, 32, 300), (60, 15, 7), (60_000, 256, 10_000)])
def test_width_is_the_smallest_within_the_bound(rows, batch, steps):
    """The overflow probability from the binomial probabilities, summed from the tail."""
    width = POISSON.width(rows, batch, steps)
    tail = np.cumsum(stats.binom.pmf(np.arange(min(rows, width + 400), width - 1, -1), rows, batch / rows))[::-1]
    beyond = lambda w: tail[w + 1 - width] * steps if w < rows else 0.0
    assert beyond(width) <= POISSON.overflow < tail[0] * steps


def test_overflow_stops_the_run():
    with pytest.raises(ValueError, match=r"step 1 of seed 0 draws \d+ rows, more than the width 2"):
        POISSON.draw(0, 0, 40, 20, 2)


@pytest.mark.parametrize("value", [0.0, 1e-3, float("nan")])
def test_overflow_is_checked(value):
    with pytest.raises(ValueError, match=r"Poisson\.overflow"):
        Poisson(value)


def test_batch_is_checked():
    with pytest.raises(ValueError, match="batch is 21"):
        POISSON.width(20, 21, 1)


def test_epochs_are_as_before():
    assert Epochs().width(10, 4, 100) == 4
    np.testing.assert_array_equal(orders((1,), 10, 4)(5), [shuffled(1, 5, 10, 4)])
