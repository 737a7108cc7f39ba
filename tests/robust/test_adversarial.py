"""Adversarial training and TRADES against losses by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.robust.adversarial import TRADES, AdversarialTraining, divergence
from mmjax.robust.attacks import FGSM, PGD
from mmjax.robust.budgets import Linf
from mmjax.robust.free import VILLA, FreeAdversarial
from tests.robust.defences import PARAMS, RATE, X, by_hand, logistic, run


@pytest.mark.parametrize("clean", [0.0, 0.4])
def test_adversarial_training_by_hand(clean):
    defence = AdversarialTraining(FGSM({"x": Linf(0.1)}), clean)
    value, gradient, aux, state = run(defence)
    expected, slope = jax.value_and_grad(lambda w: (1 - clean) * by_hand(w, 0.1) + clean * by_hand(w, 0.0))(PARAMS)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    # d/dw of eps ||w||_1 is the change that the attack has made, so the gradients are equal too.
    np.testing.assert_allclose(gradient, slope, rtol=1e-5)
    np.testing.assert_allclose(aux.losses["loss"], expected, rtol=1e-6)
    assert state == ()


def test_trades_by_hand():
    """KL of two Bernoulli variables; the optimum of the divergence is at a corner of the budget."""
    defence = TRADES(PGD({"x": Linf(0.1)}, steps=8), beta=2.0)
    value, gradient, aux, _ = run(defence)

    def expected(params):
        p = jax.nn.sigmoid(X @ params)
        q = [jax.nn.sigmoid(X @ params + sign * 0.1 * jnp.abs(params).sum()) for sign in (-1, 1)]
        nats = [p * jnp.log(p / r) + (1 - p) * jnp.log((1 - p) / (1 - r)) for r in q]
        return by_hand(params, 0.0) + 2 * jnp.sum(jnp.maximum(*nats) * RATE) / jnp.sum(RATE)

    # A start on one side of the optimum may end at the other corner, which is a little lower.
    best, slope = jax.jit(jax.value_and_grad(expected))(PARAMS)
    np.testing.assert_allclose(value, best, rtol=3e-3)
    assert value <= best + 1e-6
    np.testing.assert_allclose(gradient, slope, rtol=0.05)
    np.testing.assert_allclose(sum(aux.losses.values()), value, rtol=1e-6)


def test_divergence_by_hand():
    batch = logistic().replace(present={"x": jnp.array([True, False, True])}, weight=jnp.array([1.0, 1.0, 0.0]))
    p, q = jnp.log(jnp.array([[0.5, 0.5]] * 3)), jnp.log(jnp.array([[0.25, 0.75], [jnp.nan, jnp.nan], [0.1, 0.9]]))
    expected = 0.5 * np.log(0.5 / 0.25) + 0.5 * np.log(0.5 / 0.75)
    found = divergence(("x.label",), {"x.label": p}, {"x.label": q}, batch)
    np.testing.assert_allclose(found, [expected, 0, 0], rtol=1e-5)  # the others are absent or weightless
    with pytest.raises(ValueError, match=r"the model has no output 'kind'; its outputs are \['label'\]"):
        divergence(("kind",), {"label": p}, {"label": q}, batch)


def test_an_inner_gradient_is_used_and_must_keep_the_batch():
    class Doubled:
        def init(self, params):
            return 1

        def __call__(self, objective, params, state, batch, key):
            value, gradient = jax.value_and_grad(lambda w: objective(w, batch, key)[0]["loss"])(params)
            return value, 2 * gradient, objective(params, batch, key)[1], state + 1

    class Halving(Doubled):
        def __call__(self, objective, params, state, batch, key):
            return super().__call__(objective, params, state, jax.tree.map(lambda leaf: leaf[:1], batch), key)

    attack = FGSM({"x": Linf(0.1)})
    plain = run(AdversarialTraining(attack))
    doubled = AdversarialTraining(attack, inner=Doubled())
    assert doubled.init(PARAMS) == 1
    _, gradient, _, state = run(doubled)
    np.testing.assert_allclose(gradient, 2 * plain[1], rtol=1e-6)
    assert state == 2
    for defence in (AdversarialTraining(attack, 0.5, Halving()), TRADES(PGD({"x": Linf(0.1)}), inner=Halving())):
        with pytest.raises(ValueError, match="its inner gradient must not change or split the batch"):
            run(defence)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: AdversarialTraining(FGSM({}), clean=1.0), "AdversarialTraining.clean is 1.0; it must be .* below 1"),
        (lambda: TRADES(PGD({}), beta=-1.0), "TRADES.beta is -1.0; it must be at least 0"),
        (lambda: TRADES(PGD({}), outputs=()), "TRADES.outputs is empty; name at least one output"),
        (lambda: TRADES(FGSM({})), "TRADES.attack starts at the original inputs, where the divergence has no gradient"),
        (lambda: TRADES(PGD({}, random_start=False)), "TRADES.attack starts at the original inputs"),
        (lambda: FreeAdversarial({}, replays=0), "FreeAdversarial.replays is 0; it must be at least 1"),
        (lambda: VILLA({}, alpha=-1.0), "VILLA.alpha is -1.0; it must be at least 0"),
        (lambda: VILLA({}, step_size=0.0), "VILLA.step_size is 0.0; it must be above 0"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message):
        make()
