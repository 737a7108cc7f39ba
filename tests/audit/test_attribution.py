"""Attributions against sums that are derived by hand, SciPy and NumPy."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from mmjax.audit.attribution import (
    area,
    attention_rollout,
    completeness_gap,
    deletion,
    grad_cam,
    grad_cam_at,
    gradient,
    insertion,
    integrated_gradients,
    integrated_gradients_to,
    occlusion,
    only,
    randomized,
    rank_correlation,
    self_attention,
    smooth_gradient,
)
from mmjax.nn.attention import Attention

W = np.float32([[2, -1, 0.5], [1, 4, -3]])
X = {"a": jnp.asarray([[1.0, 2, 3], [0, 1, 2]]), "b": jnp.asarray([[2.0], [5]])}
ZERO = jax.tree.map(jnp.zeros_like, X)


def linear(inputs):
    return jnp.sum(inputs["a"] * W, axis=1) + 3 * inputs["b"][:, 0]


def squares(inputs):
    return jnp.sum(inputs["a"] ** 2, axis=1) + inputs["b"][:, 0] ** 3


def kinks(inputs):
    return 40 * jnp.abs(inputs["a"].sum(axis=1) - 1.237)  # a ReLU network with a kink that no rule has as a node


def test_gradients_of_a_linear_score_are_its_weights():
    for found in (gradient(linear, X), smooth_gradient(linear, X, jax.random.key(0), samples=3)):
        np.testing.assert_allclose(found["a"], W, rtol=1e-6)
        np.testing.assert_allclose(found["b"], [[3], [3]], rtol=1e-6)


def test_smooth_gradient_is_the_mean_over_the_noise():
    """The derivative of x^3 at x + n is 3 (x + n)^2, whose mean is 3 (x^2 + deviation^2)."""
    x = {"a": jnp.zeros((1, 3)), "b": jnp.full((1, 1), 2.0)}
    found = jax.jit(lambda x: smooth_gradient(squares, x, jax.random.key(0), 0.5, 4000))(x)
    assert float(found["b"][0, 0]) == pytest.approx(3 * (4 + 0.25), rel=0.02)


def test_integrated_gradients_of_a_separable_score_are_the_differences_of_its_terms():
    """For sum f_i(x_i), the attribution of i is f_i(x_i) - f_i(b_i)."""
    baselines = {"a": jnp.full((2, 3), 0.5), "b": jnp.ones((2, 1))}
    found = integrated_gradients(squares, X, baselines, steps=4)
    np.testing.assert_allclose(found["a"], np.square(X["a"]) - 0.25, rtol=1e-5)
    np.testing.assert_allclose(found["b"], np.asarray(X["b"]) ** 3 - 1, rtol=1e-5)
    assert np.all(completeness_gap(squares, found, X, baselines) < 1e-3)


def test_integrated_gradients_are_complete_at_kinks_too():
    once = completeness_gap(kinks, integrated_gradients(kinks, X, ZERO, 16), X, ZERO)
    found, gap = jax.jit(lambda x: integrated_gradients_to(kinks, x, ZERO))(X)
    change = np.abs(kinks(X) - kinks(ZERO))
    assert np.all(np.asarray(gap) <= 1e-3) and np.max(once / np.maximum(change, 1)) > 1e-3
    np.testing.assert_allclose(completeness_gap(kinks, found, X, ZERO) / np.maximum(change, 1), gap, atol=1e-6)


def test_occlusion_is_the_mean_over_the_windows_of_a_feature():
    """Windows of two with stride one on three features: the first feature is in one window, the second in two."""
    score = lambda x: jnp.sum(x * W, axis=1)
    found = occlusion(score, X["a"], 0.0, (2,), (1,))
    pairs = np.asarray(X["a"]) * W
    left, right = pairs[:, 0] + pairs[:, 1], pairs[:, 1] + pairs[:, 2]
    np.testing.assert_allclose(found, np.stack([left, (left + right) / 2, right], axis=1), rtol=1e-5)
    cut = occlusion(score, X["a"], 0.0, (2,))  # the second window is cut off
    np.testing.assert_allclose(cut, np.stack([left, left, pairs[:, 2]], axis=1), rtol=1e-5)
    with pytest.raises(ValueError, match=r"window \(4,\) with stride \(4,\) does not fit an input of \(3,\)"):
        occlusion(score, X["a"], 0.0, (4,))


def test_curves_remove_the_most_important_features_first():
    score = lambda x: jnp.sum(x * W[:1], axis=1)  # 2, -2, 1.5 for the first example
    x = X["a"][:1]
    attribution = x * W[:1]
    removed, added = jax.jit(lambda x: [of(score, x, 0.0, attribution, steps=3) for of in (deletion, insertion)])(x)
    np.testing.assert_allclose(removed, [[1.5, -0.5, -2, 0]], atol=1e-6)
    np.testing.assert_allclose(added, [[0, 2, 3.5, 1.5]], atol=1e-6)
    assert float(area(jnp.asarray([0.0, 2, 3.5, 1.5]))) == pytest.approx((1 + 2.75 + 2.5) / 3)
    padded = jnp.asarray([[True, True, False]])  # the third feature is padding, and stays
    np.testing.assert_allclose(deletion(score, x, 0.0, attribution, padded, 2), [[1.5, -0.5, 1.5]], atol=1e-6)


class Network(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(4, (3, 3), name="features")(x))
        return nn.Dense(2, name="head")(x.mean(axis=(1, 2)))


def test_grad_cam_of_a_layer_is_that_of_its_features():
    """The head is linear in the mean of each channel, so alpha_c is its weight divided by the number of positions."""
    network, x = Network(), jax.random.normal(jax.random.key(0), (2, 5, 5, 3))
    variables = jax.jit(network.init)(jax.random.key(1), x)
    found = jax.jit(lambda x: grad_cam_at(lambda: network.apply(variables, x)[:, 1], ("features",), signed=True))(x)
    # the path names the convolution, so its output before the ReLU: the gradient is that of positive entries alone
    before = jax.jit(nn.Conv(4, (3, 3)).apply)({"params": variables["params"]["features"]}, x)
    weight = np.asarray(variables["params"]["head"]["kernel"])[:, 1] / 25 * (np.asarray(before) > 0)
    alpha = weight.mean(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(found, (alpha * before).sum(axis=-1), atol=1e-6)
    np.testing.assert_allclose(grad_cam(before, jnp.asarray(weight), signed=True), found, atol=1e-6)
    with pytest.raises(ValueError, match="no module middle is called"):
        grad_cam_at(lambda: network.apply(variables, x)[:, 1], ("middle",))


def test_grad_cam_ignores_padding():
    features, slope = jnp.ones((1, 3, 2)).at[0, 2].set(jnp.nan), jnp.asarray([[[1.0, 2], [3, 4], [9, 9]]])
    found = grad_cam(features, slope, jnp.asarray([[True, True, False]]))
    np.testing.assert_allclose(found, [[2 + 3, 2 + 3, 0]])


class TwoLayers(nn.Module):
    @nn.compact
    def __call__(self, x, mask):
        return Attention(2, name="second")(Attention(2, name="first")(x, mask=mask), mask=mask)


def test_recorded_attention_is_that_of_the_layers():
    x, mask = jax.random.normal(jax.random.key(0), (2, 3, 4)), jnp.asarray([[True, True, True], [True, True, False]])
    model = TwoLayers()
    variables = jax.jit(model.init)(jax.random.key(1), x, mask)
    first, second = jax.jit(lambda variables: self_attention(lambda: model.apply(variables, x, mask)))(variables)
    np.testing.assert_allclose(first.sum(axis=-1), 1, rtol=1e-5)
    assert np.all(np.asarray(first)[1, :, :, 2] == 0)
    params, x = jax.tree.map(np.asarray, (variables["params"]["first"], x))
    value = (x @ params["value"]["kernel"] + params["value"]["bias"]).reshape(2, 3, 2, 2).swapaxes(1, 2)
    mixed = (np.asarray(first) @ value).swapaxes(1, 2).reshape(2, 3, 4) @ params["out"]["kernel"] + params["out"]["bias"]
    one = jax.jit(lambda params, x: Attention(2).apply({"params": params}, x, mask=mask))(params, x)
    np.testing.assert_allclose(mixed, one, atol=1e-5)
    eye = np.eye(3)
    a, b = ((np.asarray(of).mean(axis=1) + eye) / 2 for of in (first, second))
    np.testing.assert_allclose(attention_rollout([first, second]), b @ a, atol=1e-6)


def test_rank_correlation_is_that_of_scipy():
    random = np.random.default_rng(0)
    a, b = random.integers(0, 4, (3, 12)).astype(np.float32), random.normal(size=(3, 12)).astype(np.float32)
    valid = np.arange(12)[None] < np.array([[12], [7], [3]])
    found = jax.jit(rank_correlation)(jnp.asarray(a), jnp.asarray(b), jnp.asarray(valid))
    for k, count in enumerate((12, 7, 3)):
        assert float(found[k]) == pytest.approx(stats.spearmanr(a[k, :count], b[k, :count])[0], abs=1e-5)
    assert np.isnan(jax.jit(rank_correlation)(jnp.zeros((3, 12)), jnp.asarray(b), jnp.asarray(valid))).all()


def test_shuffled_weights_keep_their_distribution():
    variables = {"params": {"kernel": jnp.arange(200.0).reshape(10, 20), "scale": jnp.asarray(3.0)}}
    found = randomized(variables, jax.random.key(0))["params"]
    assert sorted(np.asarray(found["kernel"]).ravel()) == list(range(200)) and float(found["scale"]) == 3
    assert abs(stats.spearmanr(np.asarray(found["kernel"]).ravel(), np.arange(200))[0]) < 0.3


def test_what_does_not_exist_is_exactly_zero():
    found = only({"a": jnp.asarray([[jnp.nan, 1], [2, 3]])}, {"a": jnp.asarray([False, True])})
    np.testing.assert_array_equal(found["a"], [[0, 0], [2, 3]])
