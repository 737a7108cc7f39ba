import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.metrics.classification import accuracy
from mmjax.metrics.fairness import demographic_parity, equalized_odds, gap, group_rates, worst
from mmjax.types import Metric

# group 0: two of three selected; of the positives 1 of 1, of the negatives 1 of 2
# group 1: one of four selected; of the positives 1 of 2, of the negatives 0 of 2
LABEL, PREDICTED = [1, 0, 0, 1, 1, 0, 0], [1, 1, 0, 1, 0, 0, 0]
MEMBER = [0, 0, 0, 1, 1, 1, 1]
OUTCOMES = {name: jnp.array(of) for name, of in {"label": LABEL, "predicted": PREDICTED, "member": MEMBER}.items()}
ONE = jnp.ones(7)


def test_rates_by_hand():
    rates = group_rates(OUTCOMES, ONE, 2, 2)
    np.testing.assert_allclose(rates.selected[:, 1], [2 / 3, 1 / 4], atol=1e-6)
    np.testing.assert_allclose(rates.true_positive[:, 1], [1, 1 / 2], atol=1e-6)
    np.testing.assert_allclose(rates.false_positive[:, 1], [1 / 2, 0], atol=1e-6)
    assert float(demographic_parity(2, 2).value(OUTCOMES, ONE)) == pytest.approx(2 / 3 - 1 / 4)
    assert float(equalized_odds(2, 2).value(OUTCOMES, ONE)) == pytest.approx(1 / 2)


def test_gap_and_worst_of_any_metric():
    metric = Metric(accuracy)
    assert float(gap(metric, 2).value(OUTCOMES, ONE)) == pytest.approx(3 / 4 - 2 / 3, abs=1e-6)
    assert float(worst(metric, 2).value(OUTCOMES, ONE)) == pytest.approx(2 / 3, abs=1e-6)
    error = metric._replace(higher_is_better=False)
    assert float(worst(error, 2).value(OUTCOMES, ONE)) == pytest.approx(3 / 4, abs=1e-6)


def test_units_of_no_group_and_unknown_predictions():
    outcomes = OUTCOMES | {"member": jnp.array([0, 0, 0, 1, 1, 1, -1]), "predicted": jnp.array([1, 1, -1, 1, 0, 0, 0])}
    rates = group_rates(outcomes, ONE, 3, 2)
    np.testing.assert_allclose(rates.selected[:2, 1], [2 / 3, 1 / 3], atol=1e-6)
    np.testing.assert_allclose(rates.selected[:2, 0], [0, 2 / 3], atol=1e-6)  # the unknown one is of no class
    assert bool(jnp.isnan(rates.selected[2]).all())  # an empty group does not count
    assert float(demographic_parity(3, 2).value(outcomes, ONE)) == pytest.approx(2 / 3, abs=1e-6)
