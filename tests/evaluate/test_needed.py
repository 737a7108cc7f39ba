"""Detectable differences, the numbers that would settle one, and Holm's correction."""

import numpy as np
import pytest
import scipy.stats

from mmjax.evaluate.statistics import Difference, difference, holm
from tests.evaluate.test_statistics import mean_of, normal


def test_detectable_difference_has_80_percent_power():
    # With a difference of d, the statistic of 25 independent units has a noncentral t distribution with parameter d / error.
    gap = difference(mean_of(normal(1, 25)), mean_of(np.zeros((1, 25))))
    critical = scipy.stats.t.ppf(0.975, 24)
    error = scipy.stats.sem(normal(1, 25)[0])
    assert scipy.stats.nct.sf(critical, 24, gap.detectable / error) == pytest.approx(0.8, abs=0.02)


def test_as_many_examples_as_needed_would_settle_the_difference():
    scores = normal(1, 50) - normal(1, 50).mean() + 0.15
    gap = difference(mean_of(scores), mean_of(np.zeros((1, 50))))
    assert gap.verdict == "inconclusive" and gap.seeds_needed is None
    for factor, enough in ((1.05, True), (0.9, False)):
        copies = np.tile(scores, (1, 40))[:, : round(factor * gap.examples_needed)]
        copies = copies - copies.mean() + scores.mean()
        more = difference(mean_of(copies), mean_of(np.zeros_like(copies)))
        assert (more.detectable < abs(gap.mean)) == enough


def test_as_many_seeds_as_needed_would_settle_the_difference():
    trained = np.array([-1.0, 0.0, 1.0, 1.6])
    gap = difference(mean_of(np.repeat(trained[:, None], 10, axis=1)), mean_of(np.zeros((1, 10))))
    # All units are equal, so the variance is that of the seeds, var / S, with (S - 1) S' / S degrees of freedom for S'.
    for count in range(4, 200):
        quantiles = scipy.stats.t.ppf([0.975, 0.8], 3 * count / 4).sum()
        if quantiles * np.sqrt(trained.var(ddof=1) / count) <= trained.mean():
            break
    assert gap.seeds_needed == pytest.approx(count, abs=1) and gap.examples_needed is None


def test_holm_by_hand():
    gap = lambda p, mean=1.0: Difference(mean, 0.0, 0.0, p, "better")
    # .005 * 4, .01 * 3, .03 * 2, and .04 takes the .06 before it. A test that does not exist counts for nothing.
    p = {"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005, "e": float("nan")}
    adjusted = holm({key: gap(value, -1.0 if key == "d" else 1.0) for key, value in p.items()})
    assert list(adjusted) == list(p)
    np.testing.assert_allclose([adjusted[key].p for key in p], [0.03, 0.06, 0.06, 0.02, np.nan])
    assert [adjusted[key].verdict for key in "abcd"] == ["better", "inconclusive", "inconclusive", "worse"]
    # Two remain, so each would need p < .05 / 2; the others were compared with .05 / 4 and .05 / 3.
    assert [adjusted[key].alpha for key in "dacb"] == pytest.approx([0.05 / 4, 0.05 / 3, 0.05 / 2, 0.05 / 2])


def test_an_inconclusive_difference_needs_more_than_it_had():
    """Also if it is inconclusive only because of Holm's correction, or because equal differences have no variance."""
    scores = normal(1, 50) - normal(1, 50).mean() + 0.3
    gap = difference(mean_of(scores), mean_of(np.zeros((1, 50))))
    assert gap.verdict == "better" and gap.p > 0.01 and gap.examples_needed is None  # nothing is needed
    adjusted = holm({i: gap for i in range(6)})[0]
    error, degrees = scipy.stats.sem(scores[0]), 49
    assert adjusted.verdict == "inconclusive"
    assert adjusted.detectable == pytest.approx(error * scipy.stats.t.ppf([1 - 0.025 / 6, 0.8], degrees).sum(), rel=1e-6)
    assert 50 < adjusted.examples_needed < 200
    interval = f"+0.300 [{gap.low:+.3f}, {gap.high:+.3f}]"
    assert str(gap) == f"{interval}, better"
    needs = f"detectable {adjusted.detectable:.3f}; needs about {adjusted.examples_needed} test units"
    assert str(adjusted) == f"{interval}, inconclusive ({needs})"
    two_groups = [mean_of(np.full((1, 10), value), group=np.arange(10) // 5) for value in (0.1, 0.0)]
    equal = difference(*two_groups)  # t = 2 with one degree of freedom
    assert equal.verdict == "inconclusive" and equal.p == pytest.approx(2 * scipy.stats.t.sf(2, 1))
    assert equal.examples_needed > 10
