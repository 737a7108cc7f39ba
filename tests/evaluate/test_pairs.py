"""The interval of units that depend on two groups each."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats

from mmjax.evaluate.statistics import estimates, of_pairs
from tests.evaluate.test_statistics import MEAN

GROUPS = 6
FIRST, SECOND = np.array([(i, (i + shift) % GROUPS) for i in range(GROUPS) for shift in (1, 3)]).T
"""Each group is the first one of two units and the second one of two. 0 and 3, 1 and 4, 2 and 5 are so in both orders."""
EFFECT = np.random.default_rng(0).normal(size=GROUPS)
SCORES = np.float32(EFFECT[FIRST] + EFFECT[SECOND] + np.random.default_rng(1).normal(size=12) / 4)[None]


@pytest.fixture(scope="module")
def by_unit():
    return estimates(MEAN, {"score": SCORES}, np.ones(12), np.arange(12))["mean"]


def test_every_two_units_with_a_common_group_count_once(by_unit):
    """Products of residuals, in a double loop. By the rule of CR2, a sum over a sixth of the units is divided by
    sqrt(1 - 1 / 6), and those of a pair of groups, which is subtracted where two groups are common, by sqrt(1 - its share)."""
    residual, total = SCORES[0] - SCORES[0].mean(), 0.0
    for i, j in itertools.product(range(12), repeat=2):
        own, other = {FIRST[i], SECOND[i]}, {FIRST[j], SECOND[j]}
        both = sum({FIRST[k], SECOND[k]} == own for k in range(12)) / 12
        total += residual[i] * residual[j] * (len(own & other) / (1 - 1 / 6) - (own == other) / (1 - both))
    half = math.sqrt(total) / 12 * scipy.stats.t.ppf(0.975, GROUPS - 1)
    found = of_pairs(by_unit, np.ones(12), FIRST, SECOND)
    mean = SCORES.mean()
    np.testing.assert_allclose([found.low, found.mean, found.high], [mean - half, mean, mean + half], rtol=1e-5)


def test_a_unit_with_one_group_has_the_interval_of_groups(by_unit):
    group = np.arange(12) // 2
    expected = estimates(MEAN, {"score": SCORES}, np.ones(12), group)["mean"]
    found = of_pairs(by_unit, np.ones(12), group, group)
    np.testing.assert_allclose([found.low, found.high], [expected.low, expected.high], rtol=1e-5)
    assert math.isnan(of_pairs(by_unit, np.ones(12), 0 * group, 0 * group).low)
