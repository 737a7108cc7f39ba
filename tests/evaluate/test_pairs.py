"""The interval of units that depend on two groups each."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats

from mmjax.evaluate.statistics import estimates, of_pairs
from mmjax.evaluate.statistics.variance import degrees_of_freedom
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


def test_unequal_weights():
    """The same double loop with weights, so that groups and pairs of groups have unequal shares."""
    weight = np.random.default_rng(2).uniform(0.5, 2, 12)
    part = weight / weight.sum()
    residual = part * (SCORES[0] - part @ SCORES[0])
    roles = FIRST, SECOND
    sizes = [[part[role == group].sum() for group in range(GROUPS)] for role in roles]
    total = 0.0
    for i, j in itertools.product(range(12), repeat=2):
        for a, b in itertools.product(range(2), repeat=2):
            if roles[a][i] == roles[b][j]:
                share = (1 - sizes[a][roles[a][i]]) * (1 - sizes[b][roles[b][j]])
                total += residual[i] * residual[j] / math.sqrt(share)
        if {FIRST[i], SECOND[i]} == (own := {FIRST[j], SECOND[j]}):
            total -= residual[i] * residual[j] / (1 - sum(part[k] for k in range(12) if {FIRST[k], SECOND[k]} == own))
    degrees = min(degrees_of_freedom(np.array(of)) for of in sizes)
    half = math.sqrt(total) * scipy.stats.t.ppf(0.975, degrees)
    estimate = estimates(MEAN, {"score": SCORES}, weight, np.arange(12))["mean"]
    found = of_pairs(estimate, weight, FIRST, SECOND)
    np.testing.assert_allclose([found.low, found.high], [part @ SCORES[0] - half, part @ SCORES[0] + half], rtol=1e-4)


def test_a_unit_with_one_group_has_the_interval_of_groups(by_unit):
    group = np.arange(12) // 2
    expected = estimates(MEAN, {"score": SCORES}, np.ones(12), group)["mean"]
    found = of_pairs(by_unit, np.ones(12), group, group)
    np.testing.assert_allclose([found.low, found.high], [expected.low, expected.high], rtol=1e-5)
    assert math.isnan(of_pairs(by_unit, np.ones(12), 0 * group, 0 * group).low)
