"""The LSTM with a gradient of its own against flax's cell and automatic differentiation, with lengths."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.nn import LSTM
from mmjax.nn.recurrent import lstm_scan
from mmjax.types import Sequence

B, N, D, H = 4, 6, 3, 5


def inputs():
    x = jax.random.normal(jax.random.key(0), (B, N, D))
    return Sequence(x, jnp.array([6, 1, 4, 0]))


def flax_params(params):
    """Our kernels cut into flax's OptimizedLSTMCell: input kernels i{gate} without bias, hidden ones h{gate} with."""
    kernel, bias = params["input"]["kernel"], params["input"]["bias"]
    parts = {gate: slice(k * H, (k + 1) * H) for k, gate in enumerate("ifgo")}
    cell = {f"i{g}": {"kernel": kernel[:, at]} for g, at in parts.items()}
    return cell | {f"h{g}": {"kernel": params["recurrent"][:, at], "bias": bias[at]} for g, at in parts.items()}


def test_equals_flax_with_gradients():
    words = inputs()
    ours, theirs = LSTM(H), nn.RNN(nn.OptimizedLSTMCell(H))
    params = ours.init(jax.random.key(1), words.x, words.mask)["params"]
    weight = jax.random.normal(jax.random.key(2), (B, N, H)) * words.mask[..., None]  # what is padded is not compared

    def run_ours(params, x):
        states = ours.apply({"params": params}, x, words.mask)
        return (states * weight).sum(), states

    def run_theirs(params, x):
        states = theirs.apply({"params": {"cell": flax_params(params)}}, x, seq_lengths=words.length)
        return (states * weight).sum(), states

    (_, states), gradient = jax.value_and_grad(run_ours, (0, 1), has_aux=True)(params, words.x)
    (_, expected), expected_gradient = jax.value_and_grad(run_theirs, (0, 1), has_aux=True)(params, words.x)
    chex.assert_shape(states, (B, N, H))
    chex.assert_trees_all_close(states * words.mask[..., None], expected * words.mask[..., None], atol=1e-6)
    chex.assert_trees_all_close(gradient, expected_gradient, atol=1e-5)


def test_state_is_carried_on_past_the_length():
    words = inputs()
    layer = LSTM(H)
    params = layer.init(jax.random.key(1), words.x, words.mask)
    states = np.asarray(layer.apply(params, words.x, words.mask))
    for b, length in enumerate([6, 1, 4, 0]):
        last = states[b, length - 1] if length else np.zeros(H)
        np.testing.assert_array_equal(states[b, length:], np.broadcast_to(last, (N - length, H)))


@pytest.mark.parametrize("transform", ["jit", "vmap", "scan"])
def test_gradient_under_transformations_equals_differences(transform):
    keys = jax.random.split(jax.random.key(3), 3)
    z, kernel = jax.random.normal(keys[0], (N, B, 4 * H)), jax.random.normal(keys[1], (H, 4 * H)) * 0.5
    mask, weight = jnp.asarray(inputs().mask).T, jax.random.normal(keys[2], (N, B, H))

    def value(z, kernel):
        return (lstm_scan(z, kernel, mask) * weight).sum()

    gradient = jax.grad(value, (0, 1))
    if transform == "vmap":
        dz, dk = (g[1] for g in jax.vmap(gradient)(jnp.stack([z + 1, z]), jnp.stack([kernel, kernel])))
    elif transform == "scan":
        dz, dk = (g[0] for g in jax.lax.scan(lambda c, zk: (c, gradient(*zk)), 0, (z[None], kernel[None]))[1])
    else:
        dz, dk = jax.jit(gradient)(z, kernel)
    direction = jax.random.normal(jax.random.key(9), z.shape), jax.random.normal(jax.random.key(8), kernel.shape)
    step = 1e-2
    ahead, behind = (value(z + s * direction[0], kernel + s * direction[1]) for s in (step, -step))
    slope = (dz * direction[0]).sum() + (dk * direction[1]).sum()
    np.testing.assert_allclose(slope, (ahead - behind) / (2 * step), rtol=2e-3)


def test_one_step_by_hand():
    # All weights zero but the biases, as z: i = f = o = sigmoid(0) = 1/2 and g = tanh(1): c = g/2, h = tanh(g/2)/2.
    z = jnp.zeros((1, 1, 4)).at[..., 2].set(1.0)
    h = lstm_scan(z, jnp.zeros((1, 4)), jnp.ones((1, 1), bool))
    np.testing.assert_allclose(float(h[0, 0, 0]), 0.5 * np.tanh(0.5 * np.tanh(1.0)), rtol=1e-6)


def test_a_later_word_does_not_move_an_earlier_state():
    words = inputs()
    layer = LSTM(H)
    params = layer.init(jax.random.key(1), words.x, words.mask)
    gradient = jax.grad(lambda x: layer.apply(params, x, words.mask)[:, 2].sum())(words.x)
    assert not np.asarray(gradient)[:, 3:].any()
    assert np.asarray(gradient)[0, :3].any(axis=-1).all()


def test_bfloat16_stays_near_and_keeps_float32_states():
    words = inputs()
    params = LSTM(H).init(jax.random.key(1), words.x, words.mask)
    states = LSTM(H, dtype=jnp.bfloat16).apply(params, words.x, words.mask)
    chex.assert_type(states, jnp.float32)
    chex.assert_trees_all_close(states, LSTM(H).apply(params, words.x, words.mask), atol=0.02)
