import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.metrics.confidence import accuracy_at, auroc, overconfidence, risk_area

# by falling probability: right, wrong, right, wrong
OUTCOMES = {
    "label": jnp.array([0, 1, 2, 0]),
    "predicted": jnp.array([0, 0, 2, 1]),
    "probability": jnp.array([0.9, 0.8, 0.6, 0.5]),
}
ONE = jnp.ones(4)


def test_selective_prediction_by_hand():
    at = lambda share: float(accuracy_at(share).value(OUTCOMES, ONE))
    assert [at(0.25), at(0.5), at(0.75), at(1.0)] == pytest.approx([1, 1 / 2, 2 / 3, 1 / 2], abs=1e-6)
    assert at(0.375) == pytest.approx(1 / 1.5)  # half of the second unit
    assert float(risk_area(OUTCOMES, ONE)) == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)
    assert float(overconfidence(OUTCOMES, ONE)) == pytest.approx(0.7 - 0.5)


def test_a_weight_counts_as_copies():
    weight, copies = jnp.array([2.0, 1.0, 0.0, 1.0]), np.array([0, 0, 1, 3])
    repeated = {name: of[copies] for name, of in OUTCOMES.items()}
    for metric in (accuracy_at(0.5).value, overconfidence):
        assert float(metric(OUTCOMES, weight)) == pytest.approx(float(metric(repeated, ONE)), abs=1e-6)


def test_auroc_counts_pairs():
    rng = np.random.default_rng(0)
    inside, outside = rng.integers(0, 6, 30) / 4, rng.integers(0, 5, 30) / 4  # with ties
    weight = rng.random(30)
    pairs = (inside[:, None] > outside) + 0.5 * (inside[:, None] == outside)
    expected = weight @ pairs @ weight / weight.sum() ** 2
    given = {"inside": jnp.asarray(inside, jnp.float32), "outside": jnp.asarray(outside, jnp.float32)}
    assert float(auroc(given, jnp.asarray(weight, jnp.float32))) == pytest.approx(expected, abs=1e-5)
