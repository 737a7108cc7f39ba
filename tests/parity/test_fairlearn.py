"""Scores and gaps by group equal those of Fairlearn, for each seed."""

import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.metrics.classification import accuracy, recall_macro
from mmjax.metrics.fairness import demographic_parity, equalized_odds, gap, group_rates, worst
from mmjax.types import Metric

pytestmark = pytest.mark.parity

UNITS, GROUPS = 300, 4


@pytest.fixture(scope="module")
def fairlearn():
    """Imported here, since the default tests are collected without it."""
    import fairlearn.metrics

    return fairlearn.metrics


def drawn(seed, classes):
    rng = np.random.default_rng(seed)
    member = rng.integers(0, GROUPS, UNITS)
    label = rng.integers(0, classes, UNITS)
    predicted = np.where(rng.random(UNITS) < 0.5 + 0.1 * member, label, rng.integers(0, classes, UNITS))
    weight = rng.integers(1, 4, UNITS).astype(np.float32)
    outcomes = {"label": jnp.asarray(label), "predicted": jnp.asarray(predicted), "member": jnp.asarray(member)}
    return outcomes, jnp.asarray(weight), label, predicted, member, weight


@pytest.mark.parametrize("seed", range(3))
def test_binary(seed, fairlearn):
    outcomes, weight, label, predicted, member, sample_weight = drawn(seed, 2)
    given = {"y_true": label, "y_pred": predicted, "sensitive_features": member, "sample_weight": sample_weight}
    parity = float(demographic_parity(GROUPS, 2).value(outcomes, weight))
    assert parity == pytest.approx(fairlearn.demographic_parity_difference(**given), abs=1e-6)
    odds = float(equalized_odds(GROUPS, 2).value(outcomes, weight))
    assert odds == pytest.approx(fairlearn.equalized_odds_difference(**given), abs=1e-6)


def test_rates_of_each_class(fairlearn):
    outcomes, weight, label, predicted, member, sample_weight = drawn(3, 3)
    rates = group_rates(outcomes, weight, GROUPS, 3)
    functions = {
        "selected": fairlearn.selection_rate,
        "true_positive": fairlearn.true_positive_rate,
        "false_positive": fairlearn.false_positive_rate,
    }
    for k in range(3):
        frame = fairlearn.MetricFrame(
            metrics=functions, y_true=(label == k).astype(int), y_pred=(predicted == k).astype(int), sensitive_features=member,
            sample_params={name: {"sample_weight": sample_weight} for name in functions},
        )  # fmt: skip
        for name in functions:
            np.testing.assert_allclose(getattr(rates, name)[:, k], frame.by_group[name], atol=1e-6)


@pytest.mark.parametrize(("metric", "function"), [(accuracy, "accuracy_score"), (recall_macro, "balanced_accuracy_score")])
def test_gap_and_worst(metric, function, fairlearn):
    from sklearn import metrics

    outcomes, weight, label, predicted, member, sample_weight = drawn(4, 3)
    frame = fairlearn.MetricFrame(
        metrics=getattr(metrics, function), y_true=label, y_pred=predicted, sensitive_features=member,
        sample_params={"sample_weight": sample_weight},
    )  # fmt: skip
    ours = Metric(metric)
    assert float(gap(ours, GROUPS).value(outcomes, weight)) == pytest.approx(frame.difference("between_groups"), abs=1e-6)
    assert float(worst(ours, GROUPS).value(outcomes, weight)) == pytest.approx(frame.group_min(), abs=1e-6)
