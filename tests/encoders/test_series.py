"""Series encoders against NumPy loops of the papers' equations; causality, masks and patches by gradient."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.encoders.series import TCN, PatchTransformer, TemporalConvolutions, causal_conv
from mmjax.types import Padded

B, N, C = 3, 7, 2
LENGTH = np.array([7, 3, 0])


def series(key=0):
    return Padded(jax.random.normal(jax.random.key(key), (B, N, C)), jnp.asarray(LENGTH))


def moved(params, key=9):
    """Parameters that are nowhere zero or at their initial value."""
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(key), len(leaves))
    return tree.unflatten([leaf + 0.3 * jax.random.normal(k, leaf.shape) for leaf, k in zip(leaves, keys)])


def loop_conv(x_nc, conv, taps, dilation):
    """y_t = b + sum_i g v_i / |v| . x_{t - dilation (taps - 1 - i)}, a step and a feature at a time."""
    v, g, b = (np.asarray(conv[name], np.float64) for name in ("direction", "length", "bias"))
    y = np.zeros((len(x_nc), len(b)))
    for t in range(len(x_nc)):
        for d in range(len(b)):
            y[t, d] = b[d]
            for i in range(taps):
                past = t - dilation * (taps - 1 - i)
                if past >= 0:
                    y[t, d] += g[d] * v[i, :, d] @ x_nc[past] / np.linalg.norm(v[:, :, d])
    return y


def test_tcn_equals_the_papers_equations():
    """Widths 4 and 4 after 2 channels: the first block has a 1x1 convolution beside it, the second has none."""
    x, model = series(), TCN(widths=(4, 4), taps=3, every_step=True)
    params = moved(jax.jit(model.init)(jax.random.key(1), x)["params"])["convolutions"]
    assert params.keys() == {"block0a", "block0b", "block1a", "block1b", "skip0"}
    tokens = jax.jit(model.apply)({"params": {"convolutions": params}}, x)
    for b in range(B):
        expected = np.asarray(x.x[b], np.float64)
        for block in range(2):
            y = expected
            for part in "ab":
                y = np.maximum(loop_conv(y, params[f"block{block}{part}"], 3, 2**block), 0)
            if block == 0:
                expected = expected @ np.asarray(params["skip0"]["kernel"]) + np.asarray(params["skip0"]["bias"])
            expected = np.maximum(expected + y, 0)
        np.testing.assert_allclose(tokens.x[b, : LENGTH[b]], expected[: LENGTH[b]], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(tokens.mask, np.arange(N)[None] < LENGTH[:, None])


def test_last_token_is_the_last_real_step():
    x, model = series(), TCN(widths=(4,), every_step=True)
    params = jax.jit(model.init)(jax.random.key(1), x)
    steps, last = model.apply(params, x), TCN(widths=(4,)).apply(params, x)
    chex.assert_shape(last.x, (B, 1, 4))
    np.testing.assert_array_equal(last.x[:2, 0], steps.x[jnp.arange(2), LENGTH[:2] - 1])
    np.testing.assert_array_equal(last.mask, [[True], [True], [False]])


def test_tcn_sees_the_receptive_field_and_no_future():
    """Taps 2, dilations 1 and 2: a step sees 1 + 2 (2 - 1) (2^2 - 1) = 7 steps, itself and the six before."""
    model, x = TCN(widths=(3, 3), taps=2, every_step=True), series().x[:1]
    x = Padded(jnp.concatenate([x, x + 1], axis=1), jnp.array([14]))
    params = moved(jax.jit(model.init)(jax.random.key(1), x), key=2)
    of_step = jax.jit(jax.vmap(jax.grad(lambda v, t: model.apply(params, Padded(v, x.length)).x[0, t].sum()), (None, 0)))
    size = np.abs(of_step(x.x, jnp.arange(14))[:, 0]).sum(axis=-1)  # [step of the output, step of the input]
    ago = np.arange(14)[:, None] - np.arange(14)[None]
    assert not size[ago < 0].any() and not size[ago > 6].any()
    assert all(size[ago == steps].any() for steps in range(7))


def test_weight_normalisation():
    """The result does not depend on the length of `direction`, and is proportional to `length`; at first they agree."""
    x, model = series(), TemporalConvolutions(widths=(2,), taps=2)
    params = jax.jit(model.init)(jax.random.key(1), x.x, x.mask)["params"]
    start = params["block0a"]
    np.testing.assert_allclose(start["length"], np.linalg.norm(start["direction"].reshape(4, 2), axis=0), rtol=1e-6)
    longer = {**params, "block0a": {**start, "direction": 3 * start["direction"]}}
    run = jax.jit(lambda params: model.apply({"params": params}, x.x, x.mask))
    np.testing.assert_allclose(run(params), run(longer), atol=1e-6)
    double = {**params, "block0a": {**start, "length": 2 * start["length"]}}
    assert np.abs(run(params) - run(double)).max() > 1e-3
    zero = {**params, "block0a": {**start, "direction": 0 * start["direction"]}}  # as after pruning
    chex.assert_tree_all_finite(jax.jit(jax.grad(lambda p: run(p).sum()))(zero))


def test_dropout_takes_whole_channels():
    x, model = series(), TemporalConvolutions(widths=(40,), taps=1, dropout=0.5)
    params = jax.jit(model.init)(jax.random.key(1), x.x, x.mask)["params"]
    params = jax.tree.map(jnp.abs, params) | {"skip0": jax.tree.map(jnp.zeros_like, params["skip0"])}  # what is left is F(x)
    positive, everywhere = jnp.abs(x.x) + 0.1, jnp.ones((B, N), bool)
    y = model.apply({"params": params}, positive, everywhere, train=True, rngs={"dropout": jax.random.key(3)})
    gone = np.asarray(y == 0)
    assert (gone.all(axis=1) | ~gone.any(axis=1)).all()
    assert 0.3 < gone[:, 0].mean() < 0.7 and (gone[0] != gone[1]).any()


@pytest.mark.parametrize("transform", ["vmap", "scan"])
def test_causal_conv_under_transformations(transform):
    x, kernels = series().x, jax.random.normal(jax.random.key(4), (2, 3, C, 5))
    one = jax.grad(lambda kernel: (causal_conv(x, kernel, 2) ** 2).sum())
    expected = jnp.stack([one(kernel) for kernel in kernels])
    if transform == "vmap":
        got = jax.jit(jax.vmap(one))(kernels)
    else:
        got = jax.lax.scan(lambda carry, kernel: (carry, one(kernel)), 0, kernels)[1]
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-4)


PATCHES = PatchTransformer(patch=3, width=8, depth=1, heads=2, hidden=8)


def test_patches_are_cut_and_masked():
    """7 steps in patches of 3: three patches. Of length 3 one is real, of 4 two, of 0 none."""
    x = Padded(series().x, jnp.array([4, 3, 0]))
    params = moved(jax.jit(PATCHES.init)(jax.random.key(1), x))
    run = jax.jit(PATCHES.apply)
    tokens = run(params, x)
    chex.assert_shape(tokens.x, (B, 3, 8))
    chex.assert_tree_all_finite(tokens.x)
    np.testing.assert_array_equal(tokens.mask, [[True, True, False], [True, False, False], [False] * 3])
    spoiled = run(params, Padded(jnp.where(x.mask[..., None], x.x, jnp.nan), x.length))
    np.testing.assert_array_equal(jnp.where(tokens.mask[..., None], tokens.x - spoiled.x, 0), 0)
    shorter = run(params, Padded(x.x, jnp.array([3, 3, 0])))  # what the fourth step adds is seen by the first patch
    assert np.abs(tokens.x[0, 0] - shorter.x[0, 0]).max() > 1e-4
    np.testing.assert_allclose(tokens.x[1, 0], shorter.x[1, 0], atol=1e-6)


def test_a_patch_is_its_steps_side_by_side():
    """Without a block (depth 0): LN(W [x_3k; x_3k+1; x_3k+2] + b + position_k)."""
    x, model = series(), PatchTransformer(patch=3, width=8, depth=0)
    params = moved(jax.jit(model.init)(jax.random.key(1), x)["params"])
    tokens = jax.jit(model.apply)({"params": params}, x)
    dense, over = params["patch_embedding"], params["over_time"]
    padded = np.concatenate([np.asarray(x.x[0]), np.zeros((2, C))])  # the seventh step and two of zeros
    for k in range(3):
        y = padded[3 * k : 3 * k + 3].reshape(-1) @ np.asarray(dense["kernel"]) + np.asarray(dense["bias"])
        y = y + np.asarray(over["positions"][k])
        y = (y - y.mean()) / np.sqrt(y.var() + 1e-6) * np.asarray(over["norm"]["scale"]) + np.asarray(over["norm"]["bias"])
        np.testing.assert_allclose(tokens.x[0, k], y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model", [TCN(widths=(4,)), TCN(widths=(4,), every_step=True), PATCHES])
def test_gradient_is_zero_past_the_length(model):
    x = series()
    params = jax.jit(model.init)(jax.random.key(1), x)

    def value(values):
        tokens = model.apply(params, Padded(values, x.length))
        return (jnp.where(tokens.mask[..., None], tokens.x, 0) ** 3).sum()

    size = np.abs(jax.jit(jax.grad(value))(x.x)).max(axis=-1)
    assert not size[~np.asarray(x.mask)].any()
    assert (size[np.asarray(x.mask)] > 0).mean() > 0.4
