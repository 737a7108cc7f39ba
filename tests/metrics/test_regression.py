"""Regression and sentiment metrics against scikit-learn, SciPy and the published definitions."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sklearn_metrics

from mmjax.metrics.sentiment import SENTIMENT
from mmjax.tasks.regress import METRICS

UNITS = 60
cases = settings(max_examples=25, deadline=None, derandomize=True)
ALL = METRICS | SENTIMENT


@jax.jit
def all_metrics(outcomes, weight):
    """{name: (value, gradient with respect to the weights)}."""
    return {name: jax.value_and_grad(metric.value, argnums=1)(outcomes, weight) for name, metric in ALL.items()}


def units(seed, step=0.5):
    """Scores in multiples of `step`, so that they tie, and integer weights, some of which are 0."""
    random = np.random.default_rng(seed)
    target = np.clip(random.normal(0.3, 1.5, UNITS), -3, 3)
    predicted = 0.6 * target + random.normal(size=UNITS)
    round_ = lambda x: (np.round(x / step) * step).astype(np.float32)
    return {"target": round_(target), "predicted": round_(predicted)}, random.integers(0, 4, UNITS).astype(np.float32)


def repeated(outcomes, weight):
    """Integer weights are repeated units."""
    return (np.repeat(outcomes[name], weight.astype(int)) for name in ("target", "predicted"))


@cases
@given(seed=st.integers(0, 10_000), step=st.sampled_from([0.5, 0.01]))
def test_values_equal_scikit_learn_and_scipy(seed, step):
    outcomes, weight = units(seed, step)
    target, predicted = repeated(outcomes, weight)
    target, predicted = target.astype(np.float64), predicted.astype(np.float64)
    expected = {
        "mae": sklearn_metrics.mean_absolute_error(target, predicted),
        "rmse": sklearn_metrics.root_mean_squared_error(target, predicted),
        "pearson": stats.pearsonr(target, predicted).statistic,
        "spearman": stats.spearmanr(target, predicted).statistic,
        "r2": sklearn_metrics.r2_score(target, predicted),
    }
    found = all_metrics(outcomes, jnp.asarray(weight))
    for name, value in expected.items():
        np.testing.assert_allclose(found[name][0], value, rtol=1e-6, atol=1e-6, err_msg=name)


@cases
@given(seed=st.integers(0, 10_000))
def test_sentiment_equals_the_published_definitions(seed):
    """As in the evaluation code of MMSA (with zeros: >= 0; without: > 0) and of MulT (clip, then numpy.round)."""
    outcomes, weight = units(seed)
    target, predicted = repeated(outcomes, weight)
    nonzero = target != 0
    integers = lambda limit: [np.round(np.clip(x, -limit, limit)) for x in (target, predicted)]
    expected = {
        "acc2_nonneg": sklearn_metrics.accuracy_score(target >= 0, predicted >= 0),
        "acc2_nonzero": sklearn_metrics.accuracy_score(target[nonzero] > 0, predicted[nonzero] > 0),
        "acc5": sklearn_metrics.accuracy_score(*integers(2)),
        "acc7": sklearn_metrics.accuracy_score(*integers(3)),
    }
    found = all_metrics(outcomes, jnp.asarray(weight))
    for name, value in expected.items():
        np.testing.assert_allclose(found[name][0], value, rtol=0, atol=1e-6, err_msg=name)


def test_sentiment_by_hand():
    target, predicted = np.float32([-1, 0, 0, 2.5, 0.5]), np.float32([-0.4, 0.2, -0.2, 9, 0])
    found = all_metrics({"target": target, "predicted": predicted}, jnp.ones(5))
    assert found["acc2_nonneg"][0] == np.float32(4 / 5)  # only the third unit is wrong
    np.testing.assert_allclose(found["acc2_nonzero"][0], 2 / 3, rtol=1e-6)  # 0 is not positive, so the last one is wrong
    np.testing.assert_allclose(found["acc5"][0], 4 / 5, rtol=1e-6)  # 2.5 and 9 are clipped to 2; 0.5 is rounded to 0
    np.testing.assert_allclose(found["acc7"][0], 3 / 5, rtol=1e-6)  # 2.5 is rounded to 2 and 9 is clipped to 3


@cases
@given(seed=st.integers(0, 10_000))
def test_the_gradient_is_the_influence_of_a_unit(seed):
    outcomes, weight = units(seed)
    unit, step = int(np.argmax(weight)), 2e-2
    change = step * (np.arange(UNITS) == unit)
    up, down = (all_metrics(outcomes, jnp.float32(weight + sign * change)) for sign in (1, -1))
    for name, (_, gradient) in all_metrics(outcomes, jnp.asarray(weight)).items():
        chex.assert_tree_all_finite(gradient)
        np.testing.assert_allclose(np.sum(weight * gradient), 0, atol=1e-4)
        finite_difference = (up[name][0] - down[name][0]) / (2 * step)
        np.testing.assert_allclose(gradient[unit], finite_difference, rtol=0.02, atol=2e-4, err_msg=name)


def test_constant_predictions_correlate_with_nothing_and_constant_targets_are_undefined():
    outcomes, weight = units(0)
    constant = np.full(UNITS, 0.3, np.float32)
    found = all_metrics(outcomes | {"predicted": constant}, jnp.asarray(weight))
    assert found["pearson"][0] == 0 and found["spearman"][0] == 0
    found |= {"undefined": all_metrics(outcomes | {"target": constant}, jnp.asarray(weight))}
    for name in ("pearson", "spearman", "r2"):
        assert np.isnan(found["undefined"][name][0])
    chex.assert_tree_all_finite([found[name][1] for name in ALL])


def test_perfect_predictions():
    outcomes, weight = units(1)
    found = all_metrics(outcomes | {"predicted": outcomes["target"]}, jnp.asarray(weight))
    expected = dict.fromkeys(ALL, 1) | {"mae": 0, "rmse": 0}
    for name, (value, gradient) in found.items():
        np.testing.assert_allclose(value, expected[name], atol=1e-6)
        chex.assert_tree_all_finite(gradient)


def test_correlation_far_from_zero():
    """Values near 1e4 that differ by 1: sums of raw squares would lose the difference in float32."""
    outcomes, weight = units(2)
    far = {name: x + np.float32(1e4) for name, x in outcomes.items()}
    near, other = (all_metrics(x, jnp.asarray(weight)) for x in (outcomes, far))
    for name in ("pearson", "spearman", "r2"):
        np.testing.assert_allclose(other[name][0], near[name][0], atol=1e-4)


@pytest.mark.parametrize("centre", [1e2, 1e4, 1e5, 1e6, -1e6, 4e6])
def test_pearson_and_its_gradient_at_any_centre(centre):
    """Against float64 on the same float32 numbers. The gradient with respect to a weight of Pearson's r of weighted units is
    (z_x z_y - r (z_x^2 + z_y^2) / 2) / total weight, with z the units in standard deviations from the weighted mean."""
    outcomes, weight = units(2)
    far = {name: x + np.float32(centre * (1 if name == "target" else -0.7)) for name, x in outcomes.items()}
    value, gradient = all_metrics(far, jnp.asarray(weight))["pearson"]
    x, y, w = (np.float64(array) for array in (far["predicted"], far["target"], weight))
    z = lambda x: (x - np.average(x, weights=w)) / np.sqrt(np.average((x - np.average(x, weights=w)) ** 2, weights=w))
    r = np.average(z(x) * z(y), weights=w)
    np.testing.assert_allclose(value, r, atol=1e-5)
    expected = (z(x) * z(y) - r * (z(x) ** 2 + z(y) ** 2) / 2) / w.sum()
    np.testing.assert_allclose(gradient[weight > 0], expected[weight > 0], atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("value", [0.3, 1e6 + 0.5, 1e-8])
def test_a_flicker_in_the_last_place_is_constant(value):
    outcomes, weight = units(0)
    step = np.nextafter(np.float32(value), np.float32(2 * value))
    flicker = np.where(np.arange(UNITS) % 2, step, np.float32(value)).astype(np.float32)
    assert all_metrics(outcomes | {"predicted": flicker}, jnp.asarray(weight))["pearson"][0] == 0


@pytest.mark.parametrize("junk", [np.nan, np.inf, 1e30])
def test_units_of_weight_zero_change_nothing(junk):
    outcomes, weight = units(3)
    dirty = {name: np.where(weight > 0, x, np.float32(junk)) for name, x in outcomes.items()}
    clean, other = all_metrics(outcomes, jnp.asarray(weight)), all_metrics(dirty, jnp.asarray(weight))
    for name, (value, gradient) in clean.items():
        np.testing.assert_allclose(other[name][0], value, rtol=1e-6, err_msg=name)
        np.testing.assert_allclose(other[name][1][weight > 0], gradient[weight > 0], rtol=1e-4, atol=1e-6)


def test_nan_with_weight_and_no_weight_at_all_give_nan():
    outcomes, weight = units(4)
    gap = outcomes | {"predicted": np.where(np.arange(UNITS) == int(np.argmax(weight)), np.nan, outcomes["predicted"])}
    for found in (all_metrics(gap, jnp.asarray(weight)), all_metrics(outcomes, jnp.zeros(UNITS))):
        assert [name for name, (value, _) in found.items() if not np.isnan(value)] == []
