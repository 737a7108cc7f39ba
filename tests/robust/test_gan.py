"""The players' losses by hand, R1 and spectral norms against linear algebra, and a GAN that learns two modes."""

import dataclasses
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.nn.adversarial import (
    Hinge,
    NonSaturating,
    initial_vectors,
    moving_average,
    player_losses,
    r1_penalty,
    spectral_normalized,
)
from mmjax.robust.gan import ConditionalGAN
from mmjax.robust.gan_collapse import fidelity

FIELDS = dict(noise=4, hidden=(64, 64), lr=2e-3, lr_discriminator=2e-3, decay=0.97, steps=500, batch=128)
SMALL = ConditionalGAN(**FIELDS, r1=0.1, spectral=False)


def test_losses_by_hand():
    real, generated = jnp.array([2.0, 0.0]), jnp.array([-0.5, -3.0])
    # max(0, 1 - 2) + max(0, 1 - 0.5) = 0.5; max(0, 1 - 0) + max(0, 1 - 3) = 1
    np.testing.assert_allclose(Hinge().discriminator(real, generated), [0.5, 1.0])
    np.testing.assert_allclose(Hinge().generator(generated), [0.5, 3.0])
    sigmoid = lambda x: 1 / (1 + np.exp(-x))
    expected = [-np.log(sigmoid(2)) - np.log(1 - sigmoid(-0.5)), -np.log(0.5) - np.log(1 - sigmoid(-3))]
    np.testing.assert_allclose(NonSaturating().discriminator(real, generated), expected, rtol=1e-5)
    np.testing.assert_allclose(NonSaturating().generator(generated), [-np.log(sigmoid(-0.5)), -np.log(sigmoid(-3))], rtol=1e-5)


def test_r1_is_the_analytic_gradient():
    """D(x) = a.x + x.B.x / 2 with symmetric B has the gradient a + B x."""
    a, b = np.array([1.0, -2.0], np.float32), np.array([[2.0, 1.0], [1.0, 3.0]], np.float32)
    x = np.array([[1.0, 0.0], [0.5, -1.0]], np.float32)
    score = lambda x: x @ a + jnp.einsum("bi,ij,bj->b", x, b, x) / 2
    np.testing.assert_allclose(r1_penalty(score, jnp.asarray(x)), np.square(a + x @ b).sum(axis=1), rtol=1e-6)


def test_the_penalty_has_weight_half_gamma():
    one, zero = jnp.ones((1, 1)), jnp.zeros((1, 1))
    players = player_losses(lambda g: zero, lambda d, x: d * x[:, 0], 0.0, jnp.float32(3.0), one, Hinge(), 0.1)
    np.testing.assert_allclose(players.discriminator, [0 + 1 + 0.1 / 2 * 9], rtol=1e-6)  # max(0, 1 - 3) + max(0, 1 + 0)


def test_spectral_norm_is_the_largest_singular_value():
    random = np.random.default_rng(0)
    shapes = {"hidden0": (7, 5), "dense": (5, 1)}
    layer = lambda shape: {"kernel": random.normal(size=shape).astype(np.float32), "bias": np.ones(shape[1], np.float32)}
    params = {name: layer(shape) for name, shape in shapes.items()}
    normal, vectors = spectral_normalized(params, initial_vectors(params), iterations=200)
    for name, part in params.items():
        largest = np.linalg.svd(part["kernel"], compute_uv=False)[0]
        np.testing.assert_allclose(normal[name]["kernel"], part["kernel"] / largest, rtol=1e-4)
        np.testing.assert_array_equal(normal[name]["bias"], part["bias"])
    # The vector of the last step is the right singular vector, and a single step from it is enough.
    again, _ = spectral_normalized(params, vectors)
    np.testing.assert_allclose(np.linalg.svd(again["hidden0"]["kernel"], compute_uv=False)[0], 1, rtol=1e-4)


def test_average_by_hand():
    """From 0 with decay 0.9: 0.1 * 1 = 0.1, then 0.9 * 0.1 + 0.1 * 3 = 0.39."""
    average = {"w": jnp.zeros(2)}
    for value in (1.0, 3.0):
        average = moving_average(average, {"w": jnp.full(2, value)}, 0.9)
    np.testing.assert_allclose(average["w"], 0.39, rtol=1e-6)


def test_each_player_has_no_gradient_from_the_loss_of_the_other():
    gan = dataclasses.replace(SMALL, hidden=(8,), spectral=True)
    state = gan.init(jax.random.key(0), 2, 2)
    x, c, z = jnp.ones((3, 2)), jnp.eye(2)[jnp.array([0, 1, 1])], jnp.ones((3, 4))

    @jax.jit
    def gradients(g, d):
        losses = lambda g, d: gan.losses(g, d, state.vectors, x, c, z)[0]
        one = lambda name: jax.grad(lambda g, d: getattr(losses(g, d), name).sum(), (0, 1))(g, d)
        return one("discriminator"), one("generator")

    of_discriminator, of_generator = gradients(state.generator, state.discriminator)
    largest = lambda tree: max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(tree))
    assert largest(of_discriminator[0]) == 0 and largest(of_discriminator[1]) > 0
    assert largest(of_generator[1]) == 0 and largest(of_generator[0]) > 0


def two_modes(count: int, seed: int) -> np.ndarray:
    """Float32[count 2]: normal around (2, 0) and (-2, 0), with deviation 0.3."""
    random = np.random.default_rng(seed)
    return (np.array([2.0, 0.0]) * random.choice([-1, 1], (count, 1)) + 0.3 * random.normal(size=(count, 2))).astype(np.float32)


@cache
def generated():
    """400 samples of a GAN with a single class, which has to find both modes by itself."""
    sample = SMALL.fit(two_modes(400, 0), np.zeros(400, int), 1, seed=0)
    return sample(np.zeros(400, int), 1)


def test_both_modes_are_learned():
    x, label = generated(), np.zeros(400, int)
    for mode in (-2.0, 2.0):
        near = np.linalg.norm(x - np.array([mode, 0.0]), axis=1) < 1.0
        assert near.mean() > 0.3, mode
    found = fidelity(two_modes(200, 1), np.zeros(200, int), x, label, two_modes(400, 0))
    assert not found.collapsed and found.coverage > 0.5


def test_a_generator_of_one_mode_has_collapsed():
    x = two_modes(400, 2)
    one = x[x[:, 0] > 0]
    zeros = lambda rows: np.zeros(len(rows), int)
    found = fidelity(two_modes(200, 1), zeros(two_modes(200, 1)), one, zeros(one), two_modes(400, 0))
    assert found.collapsed and found.precision > 0.8  # what it generates is real


def test_the_seed_determines_a_gan():
    gan = dataclasses.replace(SMALL, steps=3, hidden=(4,), batch=4)
    x, label = two_modes(8, 0), np.arange(8) % 2
    draw = lambda seed: gan.fit(x, label, 2, seed=seed)(label, 5)
    np.testing.assert_array_equal(draw(0), draw(0))
    assert np.abs(draw(0) - draw(1)).max() > 1e-3


@pytest.mark.parametrize("field, value", [("noise", 0), ("steps", 0), ("r1", -1.0), ("decay", 1.0)])
def test_wrong_fields_are_named(field, value):
    with pytest.raises(ValueError, match=rf"ConditionalGAN.*{field} is {value}"):
        ConditionalGAN(**{field: value})


def test_features_must_be_finite():
    with pytest.raises(ValueError, match="needs finite features"):
        SMALL.fit(np.full((3, 2), np.nan, np.float32), np.zeros(3, int), 1)
