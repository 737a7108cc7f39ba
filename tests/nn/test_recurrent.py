"""Recurrent layers and their hand-written gradients against flax, the papers' equations and finite differences."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.nn.recurrent import GRU, LSTM, RNN, Bidirectional, Stack, read
from mmjax.nn.recurrent_scan import gru_scan, lstm_scan, rnn_scan
from mmjax.types import Padded

B, N, D, H = 4, 6, 3, 5


def inputs():
    x = jax.random.normal(jax.random.key(0), (B, N, D))
    return Padded(x, jnp.array([6, 1, 4, 0]))


def flax_params(params):
    """Our parameters in the layout of flax's OptimizedLSTMCell: input kernels i{gate}, recurrent kernels h{gate} with bias."""
    kernel, bias = params["input"]["kernel"], params["input"]["bias"]
    parts = {gate: slice(k * H, (k + 1) * H) for k, gate in enumerate("ifgo")}
    cell = {f"i{g}": {"kernel": kernel[:, at]} for g, at in parts.items()}
    return cell | {f"h{g}": {"kernel": params["recurrent"][:, at], "bias": bias[at]} for g, at in parts.items()}


def test_equals_flax_with_gradients():
    padded = inputs()
    ours, theirs = LSTM(H), nn.RNN(nn.OptimizedLSTMCell(H))
    params = jax.jit(ours.init)(jax.random.key(1), padded.x, padded.mask)["params"]
    weight = jax.random.normal(jax.random.key(2), (B, N, H)) * padded.mask[..., None]  # padding is not compared

    def run_ours(params, x):
        states = ours.apply({"params": params}, x, padded.mask)
        return (states * weight).sum(), states

    def run_theirs(params, x):
        states = theirs.apply({"params": {"cell": flax_params(params)}}, x, seq_lengths=padded.length)
        return (states * weight).sum(), states

    (_, states), gradient = jax.jit(jax.value_and_grad(run_ours, (0, 1), has_aux=True))(params, padded.x)
    (_, expected), expected_gradient = jax.jit(jax.value_and_grad(run_theirs, (0, 1), has_aux=True))(params, padded.x)
    chex.assert_shape(states, (B, N, H))
    chex.assert_trees_all_close(states * padded.mask[..., None], expected * padded.mask[..., None], atol=1e-6)
    chex.assert_trees_all_close(gradient, expected_gradient, atol=1e-5)


KINDS = pytest.mark.parametrize("kind", [LSTM, GRU, RNN])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gru_step(h, x, w, u, b, b_n):
    """Cho et al. (2014), equations 5 to 8, with the reset gate of torch, which multiplies U h + b_n instead of h."""
    r = sigmoid(x @ w[:, :H] + b[:H] + h @ u[:, :H])
    z = sigmoid(x @ w[:, H : 2 * H] + b[H : 2 * H] + h @ u[:, H : 2 * H])
    new = np.tanh(x @ w[:, 2 * H :] + b[2 * H :] + r * (h @ u[:, 2 * H :] + b_n))
    return z * h + (1 - z) * new


def rnn_step(h, x, w, u, b):
    return np.tanh(x @ w + h @ u + b)


@pytest.mark.parametrize(("layer", "step"), [(GRU(H), gru_step), (RNN(H), rnn_step)], ids=["gru", "rnn"])
def test_equals_a_loop_over_the_equations(layer, step):
    padded = inputs()
    params = jax.jit(layer.init)(jax.random.key(1), padded.x, padded.mask)["params"]
    keys = iter(jax.random.split(jax.random.key(4), 9))
    params = jax.tree.map(lambda p: jax.random.normal(next(keys), p.shape), params)  # biases too
    states = jax.jit(layer.apply)({"params": params}, padded.x, padded.mask)
    chex.assert_type(states, jnp.float32)
    x, values = jax.tree.map(lambda a: np.asarray(a, np.float64), (padded.x, params))
    weights = values["input"]["kernel"], values["recurrent"], values["input"]["bias"]
    weights += (values["recurrent_bias"],) if "recurrent_bias" in values else ()
    for b, length in enumerate([6, 1, 4, 0]):
        h = np.zeros(H)
        for t in range(N):
            h = step(h, x[b, t], *weights) if t < length else h
            np.testing.assert_allclose(states[b, t], h, atol=1e-5)


@KINDS
def test_the_state_is_constant_beyond_the_length(kind):
    padded = inputs()
    layer = kind(H)
    params = jax.jit(layer.init)(jax.random.key(1), padded.x, padded.mask)
    states = np.asarray(jax.jit(layer.apply)(params, padded.x, padded.mask))
    for b, length in enumerate([6, 1, 4, 0]):
        last = states[b, length - 1] if length else np.zeros(H)
        np.testing.assert_array_equal(states[b, length:], np.broadcast_to(last, (N - length, H)))
    np.testing.assert_array_equal(layer.last(jnp.asarray(states), padded.length), states[:, -1])


@KINDS
def test_inputs_beyond_the_length_have_no_influence(kind):
    padded = inputs()
    layer = Bidirectional(kind(H))
    params = jax.jit(layer.init)(jax.random.key(1), padded.x, padded.mask)

    def value(params, x):
        states = layer.apply(params, x, padded.mask)
        return (jnp.where(padded.mask[..., None], states, 0) ** 2).sum() + (layer.last(states, padded.length) ** 2).sum()

    run = jax.jit(jax.value_and_grad(value, (0, 1)))
    expected, (gradient, of_x) = run(params, padded.x)
    spoiled, (spoiled_gradient, _) = run(params, jnp.where(padded.mask[..., None], padded.x, 1e3))
    chex.assert_trees_all_equal((spoiled, spoiled_gradient), (expected, gradient))
    size = np.abs(np.asarray(of_x)).max(axis=-1)
    assert not size[~np.asarray(padded.mask)].any() and size[np.asarray(padded.mask)].all()


def test_bidirectional_equals_a_reversal_by_hand():
    padded, kind = inputs(), GRU
    layer = Bidirectional(kind(H))
    params = jax.jit(layer.init)(jax.random.key(1), padded.x, padded.mask)
    states = jax.jit(layer.apply)(params, padded.x, padded.mask)
    chex.assert_shape(states, (B, N, 2 * H))
    unidirectional = jax.jit(kind(H).apply)

    def reverse(x):
        """Reverses the steps within each length and keeps the padding in place."""
        return np.stack([np.concatenate([row[:n][::-1], row[n:]]) for row, n in zip(np.asarray(x), [6, 1, 4, 0])])

    forward = np.asarray(unidirectional({"params": params["params"]["forward"]}, padded.x, padded.mask))
    backward = reverse(unidirectional({"params": params["params"]["backward"]}, jnp.asarray(reverse(padded.x)), padded.mask))
    valid = np.asarray(padded.mask)
    np.testing.assert_allclose(states[valid], np.concatenate([forward, backward], axis=-1)[valid], atol=1e-6)
    assert not np.asarray(states)[~valid][:, H:].any()
    last = layer.last(states, padded.length)
    for b, n in enumerate([6, 1, 4]):
        np.testing.assert_allclose(last[b], np.concatenate([forward[b, n - 1], backward[b, 0]]), atol=1e-6)
    assert not np.asarray(last[3]).any()


def test_stack_applies_layers_in_sequence():
    padded = inputs()
    layer = Stack((Bidirectional(GRU(H)), LSTM(2)))
    params = jax.jit(layer.init)(jax.random.key(1), padded.x, padded.mask)["params"]
    states = jax.jit(layer.apply)({"params": params}, padded.x, padded.mask)
    first = jax.jit(Bidirectional(GRU(H)).apply)({"params": params["layers_0"]}, padded.x, padded.mask)
    second = jax.jit(LSTM(2).apply)({"params": params["layers_1"]}, first, padded.mask)
    chex.assert_trees_all_close(states, second, atol=1e-6)
    chex.assert_trees_all_equal(layer.last(states, padded.length), states[:, -1])
    tokens = jax.jit(lambda params: read(layer.bind({"params": params}), padded))(params)
    chex.assert_trees_all_close((tokens.x, tokens.mask), (states[:, -1:], (padded.length > 0)[:, None]), atol=1e-6)


def gru_scan_of(z, kernel, mask):
    """The first projection doubles as the bias, so that the test covers the gradient of the bias."""
    return gru_scan(z, kernel, z[0, 0, :H], mask)


@pytest.mark.parametrize(("scan", "gates"), [(lstm_scan, 4), (gru_scan_of, 3), (rnn_scan, 1)], ids=["lstm", "gru", "rnn"])
@pytest.mark.parametrize("transform", ["jit", "vmap", "scan"])
def test_gradients_under_transformations_equal_finite_differences(transform, scan, gates):
    keys = jax.random.split(jax.random.key(3), 3)
    z, kernel = jax.random.normal(keys[0], (N, B, gates * H)), jax.random.normal(keys[1], (H, gates * H)) * 0.5
    mask, weight = jnp.asarray(inputs().mask).T, jax.random.normal(keys[2], (N, B, H))

    def value(z, kernel):
        return (scan(z, kernel, mask) * weight).sum()

    gradient = jax.grad(value, (0, 1))
    if transform == "vmap":
        dz, dk = (g[1] for g in jax.vmap(gradient)(jnp.stack([z + 1, z]), jnp.stack([kernel, kernel])))
    elif transform == "scan":
        dz, dk = (g[0] for g in jax.lax.scan(lambda c, zk: (c, gradient(*zk)), 0, (z[None], kernel[None]))[1])
    else:
        dz, dk = jax.jit(gradient)(z, kernel)
    direction = jax.random.normal(jax.random.key(9), z.shape), jax.random.normal(jax.random.key(8), kernel.shape)
    step = 1e-2
    value = jax.jit(value)
    ahead, behind = (value(z + s * direction[0], kernel + s * direction[1]) for s in (step, -step))
    slope = (dz * direction[0]).sum() + (dk * direction[1]).sum()
    np.testing.assert_allclose(slope, (ahead - behind) / (2 * step), rtol=2e-3)


def test_one_step_by_hand():
    # z = 0 except for g: i = f = o = sigmoid(0) = 1/2, g = tanh(1), c = g/2, h = tanh(g/2)/2.
    z = jnp.zeros((1, 1, 4)).at[..., 2].set(1.0)
    h = lstm_scan(z, jnp.zeros((1, 4)), jnp.ones((1, 1), bool))
    np.testing.assert_allclose(float(h[0, 0, 0]), 0.5 * np.tanh(0.5 * np.tanh(1.0)), rtol=1e-6)


@KINDS
def test_states_do_not_depend_on_later_inputs(kind):
    padded = inputs()
    layer = kind(H)
    params = jax.jit(layer.init)(jax.random.key(1), padded.x, padded.mask)
    gradient = jax.jit(jax.grad(lambda x: layer.apply(params, x, padded.mask)[:, 2].sum()))(padded.x)
    assert not np.asarray(gradient)[:, 3:].any()
    assert np.asarray(gradient)[0, :3].any(axis=-1).all()


@KINDS
def test_bfloat16_is_near_float32_and_states_are_float32(kind):
    padded = inputs()
    params = jax.jit(kind(H).init)(jax.random.key(1), padded.x, padded.mask)
    half = kind(H, dtype=jnp.bfloat16)
    states = jax.jit(half.apply)(params, padded.x, padded.mask)
    chex.assert_type(states, jnp.float32)
    chex.assert_trees_all_close(states, jax.jit(kind(H).apply)(params, padded.x, padded.mask), atol=0.03)
    gradient = jax.jit(jax.grad(lambda p: half.apply(p, padded.x, padded.mask).sum()))(params)
    chex.assert_trees_all_equal_shapes_and_dtypes(gradient, params)
