"""Encoders of feature vectors against the equations in NumPy, and contextual tokens by gradients."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.encoders.features import Contextual, Features
from mmjax.nn import LSTM
from mmjax.nn.context import Context, SelfAttention, sinusoids
from mmjax.nn.recurrent import Bidirectional
from mmjax.types import Padded

B, N, D = 3, 5, 4
LAYERS = {"lstm": LSTM(3), "bidirectional": Bidirectional(LSTM(3)), "attention": SelfAttention(4, heads=2)}
each_layer = pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)


def steps():
    return Padded(jax.random.normal(jax.random.key(0), (B, N, D)), jnp.array([5, 2, 0]))


def run(module, x, **rngs):
    params = jax.jit(module.init)(jax.random.key(1), x)
    return params, jax.jit(lambda params, x: module.apply(params, x))(params, x)


def relu(x):
    return np.maximum(x, 0)


def test_a_vector_is_one_token():
    x = steps().x[:, 0]
    params, tokens = run(Features(width=6, dropout=0.5), x)
    dense = params["params"]["dense"]
    expected = relu(np.asarray(x) @ dense["kernel"] + np.asarray(dense["bias"])[None])
    np.testing.assert_allclose(tokens.x[:, 0], expected, atol=1e-6)
    assert tokens.x.shape == (B, 1, 6) and tokens.mask.tolist() == [[True]] * B


def test_a_sequence_has_one_token_per_step():
    params, tokens = run(Features(width=6), steps())
    _, single = run(Features(width=6), steps().x[:, 3])  # the same key, so the same weights
    np.testing.assert_allclose(tokens.x[:, 3], single.x[:, 0], atol=1e-6)
    assert tokens.mask.tolist() == [[True] * 5, [True] * 2 + [False] * 3, [False] * 5]
    assert set(params["params"]) == {"dense"}


def test_without_a_width_the_vectors_are_the_tokens():
    params, tokens = run(Features(width=None), steps())
    assert not params
    np.testing.assert_array_equal(tokens.x, steps().x)


def test_inputs_that_are_no_vectors_raise():
    with pytest.raises(ValueError, match=r"Features takes vectors.*\(3, 5, 2, 2\)"):
        Features().init(jax.random.key(0), Padded(steps().x.reshape(B, N, 2, 2), steps().length))


def test_contextual_equals_the_layer_and_a_dense_layer_at_each_step():
    x = steps()
    params, tokens = run(Contextual(LSTM(3), width=6), x)
    dense = params["params"]["context"]["dense"]
    states = jax.jit(LSTM(3).apply)({"params": params["params"]["layer"]}, x.x, x.mask)
    expected = relu(np.asarray(states) @ dense["kernel"] + np.asarray(dense["bias"])[None, None])
    np.testing.assert_allclose(tokens.x, expected, atol=1e-6)
    _, bare = run(Contextual(LSTM(3)), x)
    assert bare.x.shape == (B, N, 3)


@each_layer
def test_the_context_of_each_step(layer):
    """By gradients: a step depends on steps in the direction(s) of the layer, on no padding, and on no other example."""
    x, module = steps(), Contextual(layer, width=6)
    params, _ = run(module, x)
    jacobian = jax.jit(jax.jacrev(lambda v: module.apply(params, Padded(v, x.length)).x.sum(axis=-1)))(x.x)  # [b n, b n d]
    chex.assert_tree_all_finite(jacobian)
    seen = np.asarray(jacobian).any(axis=-1)
    assert seen[0, 2, 0, :3].all() and not seen[0, 2, 1:].any()
    assert seen[0, 2, 0, 3:].all() == (not isinstance(layer, LSTM))
    assert seen[1, 1, 1, :2].all() and not seen[1, 1, 1, 2:].any()


@each_layer
def test_padding_does_not_change_valid_steps(layer):
    x, module = steps(), Contextual(layer, width=6)
    params, tokens = run(module, x)
    spoiled = Padded(jnp.where(x.mask[..., None], x.x, 1e3), x.length)
    other = jax.jit(module.apply)(params, spoiled)
    chex.assert_trees_all_close(jnp.where(x.mask[..., None], tokens.x - other.x, 0), jnp.zeros((B, N, 6)), atol=1e-5)
    chex.assert_tree_all_finite(other.x)


@each_layer
def test_dropout_only_in_training(layer):
    x, module = steps(), Contextual(layer, width=6, dropout=0.5)
    params, tokens = run(module, x)
    train = jax.jit(lambda key: module.apply(params, x, train=True, rngs={"dropout": key}).x)
    trained = [train(jax.random.key(k)) for k in (0, 0, 1)]
    np.testing.assert_array_equal(trained[0], trained[1])
    assert (np.asarray(trained[0]) != trained[2]).any() and (np.asarray(trained[0]) != tokens.x).any()


def test_the_dropout_of_the_layer_is_on_in_training():
    x, module = steps(), Context(SelfAttention(4, heads=2, dropout=0.5))
    params = jax.jit(module.init)(jax.random.key(1), x.x, x.mask)
    trained = jax.jit(lambda key: module.apply(params, x.x, x.mask, train=True, rngs={"dropout": key}))(jax.random.key(0))
    assert (np.asarray(trained) != jax.jit(module.apply)(params, x.x, x.mask)).any()


def test_sinusoids_by_hand():
    # d = 4: rates 10000^0 = 1 and 10000^(-2/4) = 1/100; columns sin(t), sin(t/100), cos(t), cos(t/100).
    t = np.arange(3)
    expected = np.stack([np.sin(t), np.sin(t / 100), np.cos(t), np.cos(t / 100)], axis=1)
    np.testing.assert_allclose(sinusoids(3, 4), expected, atol=1e-6)
    assert sinusoids(3, 5).shape == (3, 5)


@pytest.mark.parametrize(
    ("module", "lower"),
    [
        (Features(width=6), Features(width=6, dtype=jnp.bfloat16)),
        (Contextual(LSTM(3), width=6), Contextual(LSTM(3, dtype=jnp.bfloat16), width=6, dtype=jnp.bfloat16)),
        (Contextual(SelfAttention(4, heads=2)), Contextual(SelfAttention(4, heads=2, dtype=jnp.bfloat16))),
    ],
)
def test_bfloat16_is_near_float32(module, lower):
    params, tokens = run(module, steps())
    other = jax.jit(lower.apply)(params, steps())
    gap = jnp.where(steps().mask[..., None], other.x.astype(jnp.float32) - tokens.x, 0)
    chex.assert_trees_all_close(gap, jnp.zeros_like(gap), atol=0.06)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))
