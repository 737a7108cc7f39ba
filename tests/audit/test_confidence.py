import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from mmjax.audit.confidence import fitted_temperature
from mmjax.audit.prediction_sets import threshold


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_the_temperature_minimises_the_cross_entropy(scale):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(200, 4)) * 2
    label = np.array([rng.choice(4, p=np.exp(row)) for row in log_softmax(logits, axis=1)])
    weight = rng.integers(0, 3, 200).astype(float)

    def nats(temperature):
        log = log_softmax(scale * logits / temperature, axis=1)
        return -weight @ log[np.arange(200), label]

    best = minimize_scalar(nats, bounds=(0.05, 20), method="bounded", options={"xatol": 1e-9}).x
    assert fitted_temperature(scale * logits, label, weight) == pytest.approx(best, rel=1e-4)


def test_temperature_stays_in_its_range():
    right = np.array([[5.0, 0.0], [0.0, 5.0]])
    assert fitted_temperature(right, np.array([0, 1]), np.ones(2)) == pytest.approx(0.05, rel=1e-3)  # always right: colder
    assert fitted_temperature(right, np.array([1, 0]), np.ones(2)) == pytest.approx(20, rel=1e-3)  # always wrong: hotter


def test_the_threshold_is_the_conformal_quantile():
    scores = np.random.default_rng(0).random(19)
    assert threshold(scores, 0.9) == np.sort(scores)[17]  # ceil(20 * 0.9) = 18
    assert threshold(scores, 0.95) == scores.max()
    assert threshold(scores, 0.96) == np.inf
    assert threshold(scores, 0.9, np.full(19, 0.5)) == np.sort(scores)[17]
    # the guarantee for exchangeable scores: P(covered) = 18 / 20
    draws = np.random.default_rng(1).random((4000, 20))
    covered = np.mean([draw[-1] <= threshold(draw[:-1], 0.9) for draw in draws])
    assert covered == pytest.approx(0.9, abs=0.02)


def test_units_of_one_group_count_as_one():
    """Copies in a group change nothing; weights 1, 1, 1, 7 and a new one of 2.5: half of 12.5 is reached by the fourth."""
    scores = np.random.default_rng(2).random(19)
    copies = np.repeat(scores, 3)
    for level in (0.5, 0.9, 0.95):
        assert threshold(copies, level, np.full(57, 1 / 3), np.repeat(np.arange(19), 3)) == threshold(scores, level)
    assert threshold(copies, 0.96, np.ones(57), np.repeat(np.arange(19), 3)) == np.inf  # 19 groups are too few
    assert threshold(copies, 0.96) == scores.max()
    assert threshold(np.array([4.0, 3, 2, 1]), 0.5, np.array([7.0, 1, 1, 1])) == 4
    assert threshold(np.array([4.0, 3, 2, 1]), 0.5, np.array([0.0, 1, 1, 1])) == 2
