"""Classification metrics against scikit-learn and hand-derived numbers."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics
from sklearn.calibration import calibration_curve

from mmjax.metrics import classification
from mmjax.tasks.classify import METRICS

UNITS = 48
cases = settings(max_examples=25, deadline=None, derandomize=True)
case = given(classes=st.sampled_from([2, 5, 60]), seed=st.integers(0, 10_000))
IN_SKLEARN = ["accuracy", "precision_macro", "recall_macro", "f1_macro", "precision_micro", "recall_micro", "f1_micro"]


@jax.jit
def all_metrics(outcomes, weight):
    """{name: (value, gradient with respect to the weights)}."""
    return {name: jax.value_and_grad(metric.value, argnums=1)(outcomes, weight) for name, metric in METRICS.items()}


def values(outcomes, weight):
    return {name: value for name, (value, _) in all_metrics(outcomes, jnp.float32(weight)).items()}


def units(classes, seed):
    """Random outcomes and fractional weights; a third of the weights are 0, but never all. With 60 classes most never occur."""
    random = np.random.default_rng(seed)
    label, predicted = random.integers(0, classes, (2, UNITS)).astype(np.int32)
    predicted = np.where(random.uniform(size=UNITS) < 0.4, label, predicted)
    weight = random.uniform(0.1, 2, UNITS) * (random.uniform(size=UNITS) < 0.67)
    weight[random.integers(UNITS)] = 1
    probability = random.uniform(1 / classes, 1, UNITS).astype(np.float32)
    return {"label": label, "predicted": predicted, "probability": probability}, weight.astype(np.float32)


def sklearn_scores(outcomes, weight):
    label, predicted = outcomes["label"], outcomes["predicted"]
    found = {"accuracy": sklearn_metrics.accuracy_score(label, predicted, sample_weight=weight)}
    occurring = np.unique(label[weight > 0])
    for average, labels in (("macro", occurring), ("micro", None)):
        scores = sklearn_metrics.precision_recall_fscore_support(
            label, predicted, average=average, labels=labels, sample_weight=weight, zero_division=0
        )
        found |= {f"{name}_{average}": score for name, score in zip(("precision", "recall", "f1"), scores)}
    return found


@cases
@case
def test_values_equal_scikit_learn(classes, seed):
    outcomes, weight = units(classes, seed)
    found, expected = values(outcomes, weight), sklearn_scores(outcomes, weight)
    for name in IN_SKLEARN:
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=1e-6, err_msg=name)


@cases
@case
def test_scores_by_class_equal_scikit_learn(classes, seed):
    outcomes, weight = units(min(classes, 5), seed)
    label, predicted = outcomes["label"], outcomes["predicted"]
    expected = sklearn_metrics.precision_recall_fscore_support(
        label, predicted, labels=[2], sample_weight=weight, zero_division=0
    )
    occurs = (weight[label == 2] > 0).any()
    for score, wanted in zip((classification.precision, classification.recall, classification.f1), expected):
        found = classification.of_class(score, 2)(outcomes, jnp.asarray(weight))
        np.testing.assert_allclose(found, wanted[0] if occurs else np.nan, rtol=0, atol=1e-6)


def test_hand_derived_scores():
    # Class 0: two correct, one predicted as 1. Class 1: one correct, three predicted as 0. Class 2 is never true or predicted.
    label, predicted = np.array([0, 0, 0, 1, 1, 1, 1]), np.array([0, 0, 1, 1, 0, 0, 0])
    found = values({"label": label, "predicted": predicted, "probability": np.ones(7, np.float32)}, np.ones(7))
    expected = {
        "accuracy": 3 / 7,
        "precision_macro": (2 / 5 + 1 / 2) / 2,
        "recall_macro": (2 / 3 + 1 / 4) / 2,
        "f1_macro": (4 / 8 + 2 / 6) / 2,  # F1 = 2 hit / (true + predicted)
        "ece": 4 / 7,  # certain of everything, and wrong in 4 of 7 units
    }
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-6, err_msg=name)


def test_a_predicted_class_that_never_occurs_is_not_part_of_the_mean():
    # Class 0: one correct, one predicted as the absent class 1. The mean over class 0 alone: precision 1, recall 1/2, F1 2/3.
    outcomes = {"label": np.array([0, 0]), "predicted": np.array([0, 1]), "probability": np.ones(2, np.float32)}
    found = values(outcomes, np.ones(2))
    np.testing.assert_allclose([found[f"{name}_macro"] for name in ("precision", "recall", "f1")], [1, 1 / 2, 2 / 3], rtol=1e-6)


def test_without_weight_every_metric_is_nan():
    outcomes, weight = units(5, 0)
    for name, (value, gradient) in all_metrics(outcomes, jnp.zeros(UNITS)).items():
        assert np.isnan(value), name
        chex.assert_tree_all_finite(gradient)
    assert np.isnan(classification.of_class(classification.f1, 99)(outcomes, jnp.asarray(weight)))


@pytest.mark.parametrize("junk", [np.nan, np.inf, 7.0])
def test_units_of_weight_zero_change_nothing(junk):
    outcomes, weight = units(5, 1)
    dirty = {name: np.where(weight > 0, x, x.dtype.type(junk if x.dtype.kind == "f" else -7)) for name, x in outcomes.items()}
    clean, other = all_metrics(outcomes, jnp.asarray(weight)), all_metrics(dirty, jnp.asarray(weight))
    for name, (value, gradient) in clean.items():
        np.testing.assert_allclose(other[name][0], value, rtol=1e-6)
        np.testing.assert_allclose(other[name][1][weight > 0], gradient[weight > 0], rtol=1e-4, atol=1e-7)
        chex.assert_tree_all_finite(other[name])


@cases
@case
def test_the_gradient_is_the_influence_of_a_unit(classes, seed):
    """Ratios of sums have degree 0 in the weights, so sum(weight * gradient) = 0; and a finite difference agrees."""
    outcomes, weight = units(classes, seed)
    unit, step = int(np.argmax(weight)), 1e-2
    up, down = (values(outcomes, weight + sign * step * (np.arange(UNITS) == unit)) for sign in (1, -1))
    for name, (_, gradient) in all_metrics(outcomes, jnp.asarray(weight)).items():
        chex.assert_tree_all_finite(gradient)
        np.testing.assert_allclose(np.sum(weight * gradient), 0, atol=1e-5)
        if name != "ece":  # the absolute value in ECE has a kink
            np.testing.assert_allclose(gradient[unit], (up[name] - down[name]) / (2 * step), rtol=0.02, atol=2e-4, err_msg=name)


@cases
@case
def test_calibration_error_equals_scikit_learn(classes, seed):
    """Integer weights are repeated units; `calibration_curve` of the event "the prediction is correct" has the same bins."""
    outcomes, _ = units(classes, seed)
    times = np.random.default_rng(seed).integers(1, 4, UNITS)
    correct = np.repeat(outcomes["label"] == outcomes["predicted"], times)
    probability = np.repeat(outcomes["probability"], times)
    accuracy, confidence = calibration_curve(correct, probability, n_bins=15, pos_label=True)
    count = np.bincount(np.ceil(probability.astype(np.float64) * 15).astype(int) - 1, minlength=15)
    expected = np.average(abs(accuracy - confidence), weights=count[count > 0])  # calibration_curve drops empty bins
    np.testing.assert_allclose(values(outcomes, times)["ece"], expected, rtol=0, atol=1e-6)


def test_hand_derived_calibration():
    # In (14/15, 1]: probabilities 1 (wrong, weight 1) and .96 (correct, weight 1): gap |1 - 1.96| = .96. In (8/15, 9/15], whose
    # upper edge .6 belongs to it: .6 (correct, weight 2): gap |2 - 1.2| = .8. ECE = (.96 + .8) / 4.
    outcomes = {
        "label": np.array([0, 1, 2]),
        "predicted": np.array([1, 1, 2]),
        "probability": np.array([1, 0.96, 0.6], np.float32),
    }
    np.testing.assert_allclose(values(outcomes, np.array([1, 1, 2]))["ece"], (0.96 + 0.8) / 4, rtol=1e-6)


def test_vmap_over_weights_agrees_with_single_calls():
    outcomes, weight = units(5, 2)
    weights = jnp.stack([weight, jnp.ones(UNITS), weight * (outcomes["label"] == 2)])
    batched = jax.jit(jax.vmap(lambda w: {name: m.value(outcomes, w) for name, m in METRICS.items()}))(weights)
    single = [values(outcomes, w) for w in weights]
    for name in METRICS:
        np.testing.assert_allclose(batched[name], [value[name] for value in single], rtol=1e-5, atol=1e-6)


def test_confusion_matrix_counts_valid_classes_only():
    label, predicted = np.array([0, 1, 1, -1, 5], np.int8), np.array([0, 0, 1, 0, 1], np.int8)
    weight = np.array([1, 2, 0.5, 9, 9])
    expected = sklearn_metrics.confusion_matrix(label[:3], predicted[:3], labels=[0, 1], sample_weight=weight[:3])
    np.testing.assert_array_equal(classification.confusion_matrix(label, predicted, weight, 2), expected)
