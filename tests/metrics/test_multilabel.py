"""Multi-label metrics against scikit-learn: ties, weights, labels that never occur, unknown entries."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from mmjax.metrics import multilabel
from mmjax.tasks.multilabel import METRICS

UNITS, LABELS = 40, 6
cases = settings(max_examples=25, deadline=None, derandomize=True)
case = given(seed=st.integers(0, 10_000))


@jax.jit
def all_metrics(outcomes, weight):
    """{name: (value, gradient with respect to the weights)}."""
    return {name: jax.value_and_grad(metric.value, argnums=1)(outcomes, weight) for name, metric in METRICS.items()}


def units(seed):
    """Scores that tie, fractional weights, some of them 0, and two labels that never occur: with and without predictions."""
    random = np.random.default_rng(seed)
    target = (random.uniform(size=(UNITS, LABELS)) < 0.3).astype(np.int8)
    target[:, :2] = 0
    score = (random.integers(-3, 4, (UNITS, LABELS)) + target).astype(np.float32)
    score[:, 1] = -9
    weight = random.uniform(0.1, 2, UNITS) * (random.uniform(size=UNITS) < 0.8)
    weight[random.integers(UNITS)] = 1
    return {"target": target, "predicted": score > 0, "score": score}, weight.astype(np.float32)


def sklearn_scores(outcomes, weight):
    target, predicted, score = (outcomes[name] for name in ("target", "predicted", "score"))
    occurring = np.flatnonzero(target[weight > 0].any(axis=0))
    f1 = lambda average, labels=None: sklearn_metrics.f1_score(
        target, predicted, average=average, labels=labels, sample_weight=weight, zero_division=0
    )
    return {
        "f1_micro": f1("micro"),
        "f1_macro": f1("macro", occurring),
        "f1_samples": f1("samples"),
        "map": sklearn_metrics.average_precision_score(target[:, occurring], score[:, occurring], sample_weight=weight),
    }


@cases
@case
def test_values_equal_scikit_learn(seed):
    outcomes, weight = units(seed)
    found = all_metrics(outcomes, jnp.asarray(weight))
    for name, value in sklearn_scores(outcomes, weight).items():
        np.testing.assert_allclose(found[name][0], value, rtol=0, atol=1e-6, err_msg=name)


@jax.jit
def by_label(outcomes, weight):
    """(F1, average precision) of labels 3 and 0; the latter never occurs."""
    return [[f(k)(outcomes, weight) for f in (multilabel.f1_of_label, multilabel.average_precision_of_label)] for k in (3, 0)]


def test_scores_by_label_equal_scikit_learn():
    outcomes, weight = units(0)
    target, predicted, score = (outcomes[name][:, 3] for name in ("target", "predicted", "score"))
    f1 = sklearn_metrics.f1_score(target, predicted, sample_weight=weight)
    ap = sklearn_metrics.average_precision_score(target, score, sample_weight=weight)
    np.testing.assert_allclose(by_label(outcomes, jnp.asarray(weight)), [[f1, ap], [np.nan, np.nan]], rtol=0, atol=1e-6)


def test_hand_derived_scores():
    # Unit 0: labels {0, 1}, predicted {0, 2}. Unit 1: labels {0}, predicted {}. Unit 2: neither true nor predicted labels.
    target = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0]])
    score = np.array([[3, -1, 1], [-2, -3, -3], [-2, -2, -1]], np.float32)
    found = all_metrics({"target": target, "predicted": score > 0, "score": score}, jnp.ones(3))
    expected = {
        "f1_micro": 2 * 1 / (3 + 2),
        "f1_macro": (2 * 1 / (2 + 1) + 0) / 2,  # label 2 never occurs
        "f1_samples": (2 * 1 / (2 + 2) + 0 + 0) / 3,
        # Label 0: scores 3 (true), then -2 twice (one true): (1 + 2/3) / 2. Label 1: the only true one has the highest score.
        "map": ((1 + 2 / 3) / 2 + 1) / 2,
    }
    for name, value in expected.items():
        np.testing.assert_allclose(found[name][0], value, rtol=1e-6, err_msg=name)


@cases
@case
def test_unknown_entries_do_not_count(seed):
    """Each label alone equals scikit-learn on its known units."""
    outcomes, weight = units(seed)
    unknown = np.random.default_rng(seed).uniform(size=(UNITS, LABELS)) < 0.2
    outcomes = outcomes | {"target": np.where(unknown, -1, outcomes["target"])}
    f1, ap, micro = [], [], np.zeros(3)
    for k in range(LABELS):
        known = (outcomes["target"][:, k] >= 0) & (weight > 0)
        target, predicted, score = (outcomes[name][known, k] for name in ("target", "predicted", "score"))
        micro += [weight[known][chosen].sum() for chosen in ((target == 1) & predicted, target == 1, predicted)]
        if target.any():
            f1.append(sklearn_metrics.f1_score(target, predicted, sample_weight=weight[known]))
            ap.append(sklearn_metrics.average_precision_score(target, score, sample_weight=weight[known]))
    found = all_metrics(outcomes, jnp.asarray(weight))
    expected = {"f1_macro": np.mean(f1), "map": np.mean(ap), "f1_micro": 2 * micro[0] / (micro[1] + micro[2])}
    for name, value in expected.items():
        np.testing.assert_allclose(found[name][0], value, rtol=0, atol=1e-6, err_msg=name)


@cases
@case
def test_the_gradient_is_the_influence_of_a_unit(seed):
    outcomes, weight = units(seed)
    unit, step = int(np.argmax(weight)), 1e-2
    change = step * (np.arange(UNITS) == unit)
    up, down = (all_metrics(outcomes, jnp.float32(weight + sign * change)) for sign in (1, -1))
    for name, (_, gradient) in all_metrics(outcomes, jnp.asarray(weight)).items():
        chex.assert_tree_all_finite(gradient)
        np.testing.assert_allclose(np.sum(weight * gradient), 0, atol=1e-5)
        finite_difference = (up[name][0] - down[name][0]) / (2 * step)
        np.testing.assert_allclose(gradient[unit], finite_difference, rtol=0.02, atol=2e-4, err_msg=name)


@pytest.mark.parametrize("junk", [np.nan, np.inf, -np.inf])
def test_units_of_weight_zero_change_nothing(junk):
    outcomes, weight = units(1)
    counted = weight[:, None] > 0
    dirty = {
        "target": np.where(counted, outcomes["target"], 1),
        "predicted": np.where(counted, outcomes["predicted"], True),
        "score": np.where(counted, outcomes["score"], np.float32(junk)),
    }
    clean, other = all_metrics(outcomes, jnp.asarray(weight)), all_metrics(dirty, jnp.asarray(weight))
    for name, (value, gradient) in clean.items():
        np.testing.assert_allclose(other[name][0], value, rtol=1e-6, err_msg=name)
        np.testing.assert_allclose(other[name][1][weight > 0], gradient[weight > 0], rtol=1e-4, atol=1e-7)


def test_without_weight_every_metric_is_nan():
    outcomes, _ = units(2)
    for name, (value, gradient) in all_metrics(outcomes, jnp.zeros(UNITS)).items():
        assert np.isnan(value), name
        chex.assert_tree_all_finite(gradient)
