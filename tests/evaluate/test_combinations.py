"""Linear combinations of estimates: against paired differences, and against one metric that is the combination itself."""

import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.evaluate.statistics import against_zero, combination, difference, estimates
from mmjax.metrics.weighted import mean
from mmjax.types import Metric

UNITS, SEEDS = 60, 5
RNG = np.random.default_rng(0)
GROUP = RNG.integers(0, 12, UNITS)
WEIGHT = RNG.integers(1, 3, UNITS).astype(np.float32)
A, B = (RNG.random((SEEDS, UNITS)).astype(np.float32) for _ in range(2))
HALF = np.arange(UNITS) % 2 == 0


def average(outcomes, weight):
    return mean(outcomes["x"], weight)


def median(outcomes, weight):
    return jnp.median(outcomes["x"])


def half_gap(outcomes, weight):
    half = jnp.asarray(HALF)
    return mean(outcomes["x"], jnp.where(half, weight, 0)) - mean(outcomes["x"], jnp.where(half, 0, weight))


def estimate(x, weight=WEIGHT, value=average, smooth=True):
    return estimates({"m": Metric(value, smooth=smooth, bounds=(None, None))}, {"x": x}, weight, GROUP)["m"]


def test_the_difference_of_two_models_is_a_combination():
    one, other = estimate(A), estimate(B)
    gap, expected = combination([one, other], [1, -1]), difference(one, other)
    assert (gap.mean, gap.low, gap.high) == pytest.approx((expected.mean, expected.low, expected.high))
    found = against_zero(gap)
    assert (found.p, found.verdict) == (pytest.approx(expected.p), expected.verdict)
    assert gap.per_seed == pytest.approx(np.subtract(one.per_seed, other.per_seed))


def test_the_gap_of_two_groups_is_that_of_one_metric():
    parts = [estimate(A, np.where(chosen, WEIGHT, 0).astype(np.float32)) for chosen in (HALF, ~HALF)]
    gap, direct = combination(parts, [1, -1]), estimate(A, value=half_gap)
    assert gap.mean == pytest.approx(direct.mean, abs=1e-6)
    # the influence of a group differs by its share in each half, the CR2 correction, alone
    assert gap.high - gap.low == pytest.approx(direct.high - direct.low, rel=0.1)


def test_equal_outcomes_have_no_error_and_equal_effects_have_some():
    nothing = combination([estimate(A), estimate(A)], [1, -1])
    assert (nothing.mean, nothing.low, nothing.high) == (0, 0, 0)
    assert against_zero(nothing).verdict == "inconclusive"
    shift = combination([estimate(A + np.float32(0.5)), estimate(A)], [1, -1])
    assert shift.low < shift.mean < shift.high  # another group might not have it
    assert against_zero(shift).verdict == "better"


def test_baselines_count_for_all_seeds():
    gap = combination([estimate(A), estimate(B[:1])], [1, -1])
    assert gap.per_seed == pytest.approx(np.asarray(estimate(A).per_seed) - estimate(B[:1]).per_seed[0])


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="give one for each"):
        combination([estimate(A)], [1, 2])
    with pytest.raises(ValueError, match="different seeds"):
        combination([estimate(A), estimate(B[:2])], [1, -1])
    halves = [estimate(A, np.where(chosen, WEIGHT, 0).astype(np.float32), median, False) for chosen in (HALF, ~HALF)]
    with pytest.raises(ValueError, match="not smooth"):
        combination(halves, [1, -1])
