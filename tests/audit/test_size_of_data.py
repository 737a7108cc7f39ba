from pathlib import Path

import numpy as np
import pytest

from mmjax.audit.audited import Audited
from mmjax.audit.size_of_data import _extrapolated, fitted, shares_in
from mmjax.evaluate.statistics import estimates
from mmjax.metrics.weighted import mean
from mmjax.runs.read import Run
from mmjax.types import Metric

SHARES = np.array([0.1, 0.2, 0.5, 1.0])
UNITS, SEEDS = 400, 5


def average(outcomes, weight):
    return mean(outcomes["x"], weight)


def curve_of(truth, rng):
    """Estimates of a metric whose expectation is `truth` at each share; units and seeds are shared."""
    unit, seed = rng.normal(size=UNITS) * 0.2, rng.normal(size=(SEEDS, 1)) * 0.005
    draws = [np.float32(value + unit + seed + rng.normal(size=(SEEDS, UNITS)) * 0.1) for value in truth]
    metric = {"m": Metric(average, bounds=(None, None))}
    return [estimates(metric, {"x": x}, np.ones(UNITS, np.float32), np.arange(UNITS))["m"] for x in draws]


def test_a_power_law_is_found():
    assert fitted(SHARES, 0.9 - 0.1 * SHARES**-0.5, 4.0) == pytest.approx(0.9 - 0.1 * 4**-0.5, abs=2e-3)


def test_the_interval_of_the_extrapolation_covers_the_truth():
    """In simulations, about 95 % of the time; here at least 34 of 40, and the intervals are not much too wide."""
    truth = lambda x: 0.9 - 0.1 * x**-0.5
    found = [_extrapolated(SHARES, curve_of(truth(SHARES), np.random.default_rng(k)), 2.0) for k in range(40)]
    assert sum(one.low <= truth(2.0) <= one.high for one in found) >= 34
    spread = np.std([one.mean for one in found])
    width = np.mean([one.high - one.low for one in found]) / (2 * 1.96)
    assert 0.5 < width / spread < 2.0
    for one in found[:3]:
        assert np.mean(one.per_seed) == pytest.approx(one.mean)


def test_cells_with_shares_are_found_by_name():
    tasks = {"t": {}}
    cells = {name: {"tasks": tasks} for name in ("a", "a.0.5", "a.0.05", "a.big", "a.2", "b.0.1", "ab.0.1")}
    audited = Audited(Run(Path("none"), {"cells": cells}), "a", "t")
    assert shares_in(audited) == {0.05: "a.0.05", 0.5: "a.0.5", 1.0: "a"}
