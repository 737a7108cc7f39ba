"""Free adversarial training and VILLA against losses by hand."""

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.robust.adversarial import ATTACK
from mmjax.robust.attacks import random_change
from mmjax.robust.budgets import L2, Linf
from mmjax.robust.free import VILLA, FreeAdversarial
from tests.robust.defences import KEY, PARAMS, RATE, X, Y, by_hand, logistic, run


def test_free_replays_by_hand():
    """The start is within the budget, and each ascent of full size ends at a corner: all replays but the first are attacked."""
    defence = FreeAdversarial({"x": Linf(0.1)}, replays=200)
    value, gradient, _, _ = run(defence)
    np.testing.assert_allclose(value, by_hand(PARAMS, 0.1), rtol=2e-3)
    np.testing.assert_allclose(gradient, jax.grad(lambda w: by_hand(w, 0.1))(PARAMS), rtol=2e-2)


def start_of(budget):
    """The random start of the perturbations, as the step draws it."""
    return np.asarray(random_change(logistic(), {"x": budget}, jax.random.fold_in(KEY, ATTACK))["x"], np.float64)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.log1p(np.exp(x))


def slope_of(value, w, size=1e-5):
    """Central differences in float64."""
    return np.array([(value(w + size * e) - value(w - size * e)) / (2 * size) for e in np.eye(2)])


X64, Y64, RATE64, W64 = (np.asarray(a, np.float64) for a in (X, Y, RATE, PARAMS))


def test_two_replays_of_free_training_by_hand():
    """d_1 is the start and d_2 = clip(d_1 + 0.05 sign(-y w)): mean loss and gradient of both, values of the last."""
    budget = Linf(0.1)
    value, gradient, aux, _ = run(FreeAdversarial({"x": budget}, replays=2, step_size=0.5))
    first = start_of(budget)
    second = np.clip(first + 0.05 * np.sign(-Y64[:, None] * W64[None]), -0.1, 0.1)
    second[2] = first[2]  # its weight is 0, so that it has no slope
    assert np.abs(second - first).max() > 0.01 and (np.abs(first) < 0.1).all()
    loss = lambda w, d: (softplus(-Y64 * ((X64 + d) @ w)) * RATE64).sum() / RATE64.sum()
    mean = lambda w: (loss(w, first) + loss(w, second)) / 2
    np.testing.assert_allclose(value, mean(W64), rtol=1e-6)
    np.testing.assert_allclose(gradient, slope_of(mean, W64), rtol=1e-4)
    np.testing.assert_allclose(aux.losses["loss"], loss(W64, second), rtol=1e-6)
    np.testing.assert_allclose(aux.values["loss"][:2], softplus(-Y64 * ((X64 + second) @ W64))[:2], rtol=1e-6)


def test_two_replays_of_villa_by_hand():
    """The perturbation ascends on loss(x + d) + alpha (p - q) (a - b); x and x + d have logits a, b and probabilities p, q."""
    budget, alpha = L2(0.4), 0.7
    value, gradient, aux, _ = run(VILLA({"x": budget}, replays=2, step_size=0.5, alpha=alpha))

    def terms(w, d):
        a, b = X64 @ w, (X64 + d) @ w
        return softplus(-Y64 * a), softplus(-Y64 * b), alpha * (sigmoid(a) - sigmoid(b)) * (a - b)

    def slope(d):  # d loss / db + alpha d divergence / db, times w
        a, b = X64 @ W64, (X64 + d) @ W64
        q = sigmoid(b)
        return (-Y64 * sigmoid(-Y64 * b) - alpha * (q * (1 - q) * (a - b) + sigmoid(a) - q))[:, None] * W64[None]

    first = start_of(budget)
    step = slope(first)
    step = 0.2 * step / np.linalg.norm(step, axis=1, keepdims=True)
    step[2] = 0  # its weight is 0
    second = first + step
    second *= np.minimum(1, 0.4 / np.linalg.norm(second, axis=1, keepdims=True))
    weighted = lambda values: (values * RATE64).sum() / RATE64.sum()
    total = lambda w, d: sum(weighted(term) for term in terms(w, d))
    mean = lambda w: (total(w, first) + total(w, second)) / 2
    np.testing.assert_allclose(value, mean(W64), rtol=1e-5)
    np.testing.assert_allclose(gradient, slope_of(mean, W64), rtol=1e-4)
    found = [aux.losses[name] for name in ("loss", "adversarial", "divergence")]
    np.testing.assert_allclose(found, [weighted(term) for term in terms(W64, second)], rtol=1e-4)


def test_villa_adds_the_attacked_loss_and_both_divergences():
    defence = VILLA({"x": Linf(0.1)}, replays=200, step_size=1.0, alpha=0.0)
    value, _, aux, _ = run(defence)
    np.testing.assert_allclose(value, by_hand(PARAMS, 0.0) + by_hand(PARAMS, 0.1), rtol=2e-3)
    assert set(aux.losses) == set(aux.values) == {"loss", "adversarial", "divergence"}
    # sum p log(p / q) + q log(q / p) = (p - q) (logit p - logit q) for two classes.
    _, _, aux, _ = run(VILLA({"x": Linf(0.1)}, replays=3, step_size=2.0, alpha=3.0))
    moved = -Y * 0.1 * jnp.abs(PARAMS).sum()
    logit = X @ PARAMS
    both = (jax.nn.sigmoid(logit + moved) - jax.nn.sigmoid(logit)) * moved
    np.testing.assert_allclose(aux.losses["divergence"], 3 * jnp.sum(both * RATE) / jnp.sum(RATE), rtol=0.1)
