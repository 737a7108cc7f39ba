"""Series encoders against NumPy loops over the papers' equations; causality, masks and patches by gradients."""

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


def perturb(params, key=9):
    """Perturbed parameters, so that no bias is zero."""
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(key), len(leaves))
    return tree.unflatten([leaf + 0.3 * jax.random.normal(k, leaf.shape) for leaf, k in zip(leaves, keys)])


def loop_conv(x_nc, conv, taps, dilation):
    """y_t = b + sum_i g v_i / |v| . x_{t - dilation (taps - 1 - i)}, by a loop over steps and features."""
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
    """Widths 4 and 4 after 2 channels: the first block has a 1x1 convolution on its residual, the second has none."""
    x, model = series(), TCN(widths=(4, 4), taps=3, every_step=True)
    params = perturb(jax.jit(model.init)(jax.random.key(1), x)["params"])["convolutions"]
    assert params.keys() == {"block0a", "block0b", "block1a", "block1b", "skip0"}
    tokens = jax.jit(model.apply)({"params": {"convolutions": params}}, x)
    for b in range(B):
        expected = np.asarray(x.x[b], np.float64)
        for block in range(2):
            y = expected
            for layer in "ab":
                y = np.maximum(loop_conv(y, params[f"block{block}{layer}"], 3, 2**block), 0)
            if block == 0:
                expected = expected @ np.asarray(params["skip0"]["kernel"]) + np.asarray(params["skip0"]["bias"])
            expected = np.maximum(expected + y, 0)
        np.testing.assert_allclose(tokens.x[b, : LENGTH[b]], expected[: LENGTH[b]], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(tokens.mask, np.arange(N)[None] < LENGTH[:, None])


def test_the_single_token_is_the_last_valid_step():
    x, model = series(), TCN(widths=(4,), every_step=True)
    params = jax.jit(model.init)(jax.random.key(1), x)
    steps, last = model.apply(params, x), TCN(widths=(4,)).apply(params, x)
    chex.assert_shape(last.x, (B, 1, 4))
    np.testing.assert_array_equal(last.x[:2, 0], steps.x[jnp.arange(2), LENGTH[:2] - 1])
    np.testing.assert_array_equal(last.mask, [[True], [True], [False]])


def test_the_receptive_field_of_tcn():
    """Taps 2, dilations 1 and 2: a step depends on 1 + 2 (2 - 1) (2^2 - 1) = 7 steps, itself and the six before."""
    model, x = TCN(widths=(3, 3), taps=2, every_step=True), series().x[:1]
    x = Padded(jnp.concatenate([x, x + 1], axis=1), jnp.array([14]))
    params = perturb(jax.jit(model.init)(jax.random.key(1), x), key=2)
    of_step = jax.jit(jax.vmap(jax.grad(lambda v, t: model.apply(params, Padded(v, x.length)).x[0, t].sum()), (None, 0)))
    size = np.abs(of_step(x.x, jnp.arange(14))[:, 0]).sum(axis=-1)  # [step of the output, step of the input]
    ago = np.arange(14)[:, None] - np.arange(14)[None]
    assert not size[ago < 0].any() and not size[ago > 6].any()
    assert all(size[ago == steps].any() for steps in range(7))


def test_weight_normalisation():
    """The output does not depend on the norm of `direction`; `length` scales it and is initialised with that norm."""
    x, model = series(), TemporalConvolutions(widths=(2,), taps=2)
    params = jax.jit(model.init)(jax.random.key(1), x.x, x.mask)["params"]
    initial = params["block0a"]
    np.testing.assert_allclose(initial["length"], np.linalg.norm(initial["direction"].reshape(4, 2), axis=0), rtol=1e-6)
    longer = {**params, "block0a": {**initial, "direction": 3 * initial["direction"]}}
    run = jax.jit(lambda params: model.apply({"params": params}, x.x, x.mask))
    np.testing.assert_allclose(run(params), run(longer), atol=1e-6)
    double = {**params, "block0a": {**initial, "length": 2 * initial["length"]}}
    assert np.abs(run(params) - run(double)).max() > 1e-3
    zero = {**params, "block0a": {**initial, "direction": 0 * initial["direction"]}}  # as after pruning
    chex.assert_tree_all_finite(jax.jit(jax.grad(lambda p: run(p).sum()))(zero))


def test_dropout_drops_whole_channels():
    x, model = series(), TemporalConvolutions(widths=(40,), taps=1, dropout=0.5)
    params = jax.jit(model.init)(jax.random.key(1), x.x, x.mask)["params"]
    params = jax.tree.map(jnp.abs, params) | {"skip0": jax.tree.map(jnp.zeros_like, params["skip0"])}  # relu(F(x)) remains
    positive, everywhere = jnp.abs(x.x) + 0.1, jnp.ones((B, N), bool)
    y = model.apply({"params": params}, positive, everywhere, train=True, rngs={"dropout": jax.random.key(3)})
    dropped = np.asarray(y == 0)
    assert (dropped.all(axis=1) | ~dropped.any(axis=1)).all()
    assert 0.3 < dropped[:, 0].mean() < 0.7 and (dropped[0] != dropped[1]).any()


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


def test_patches_and_their_mask():
    """7 steps in patches of 3: three patches. A length of 4 has two valid patches, 3 has one, 0 has none."""
    x = Padded(series().x, jnp.array([4, 3, 0]))
    params = perturb(jax.jit(PATCHES.init)(jax.random.key(1), x))
    run = jax.jit(PATCHES.apply)
    tokens = run(params, x)
    chex.assert_shape(tokens.x, (B, 3, 8))
    chex.assert_tree_all_finite(tokens.x)
    np.testing.assert_array_equal(tokens.mask, [[True, True, False], [True, False, False], [False] * 3])
    spoiled = run(params, Padded(jnp.where(x.mask[..., None], x.x, jnp.nan), x.length))
    np.testing.assert_array_equal(jnp.where(tokens.mask[..., None], tokens.x - spoiled.x, 0), 0)
    shorter = run(params, Padded(x.x, jnp.array([3, 3, 0])))  # the first patch attends to the fourth step
    assert np.abs(tokens.x[0, 0] - shorter.x[0, 0]).max() > 1e-4
    np.testing.assert_allclose(tokens.x[1, 0], shorter.x[1, 0], atol=1e-6)


def test_a_patch_concatenates_its_steps():
    """With depth 0: LN(W [x_3k; x_3k+1; x_3k+2] + b + position_k)."""
    x, model = series(), PatchTransformer(patch=3, width=8, depth=0)
    params = perturb(jax.jit(model.init)(jax.random.key(1), x)["params"])
    tokens = jax.jit(model.apply)({"params": params}, x)
    dense, over = params["patch_embedding"], params["over_time"]
    padded = np.concatenate([np.asarray(x.x[0]), np.zeros((2, C))])  # the third patch: the seventh step and two zeros
    for k in range(3):
        y = padded[3 * k : 3 * k + 3].reshape(-1) @ np.asarray(dense["kernel"]) + np.asarray(dense["bias"])
        y = y + np.asarray(over["positions"][k])
        y = (y - y.mean()) / np.sqrt(y.var() + 1e-6) * np.asarray(over["norm"]["scale"]) + np.asarray(over["norm"]["bias"])
        np.testing.assert_allclose(tokens.x[0, k], y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model", [TCN(widths=(4,)), TCN(widths=(4,), every_step=True), PATCHES])
def test_the_gradient_is_zero_beyond_the_length(model):
    x = series()
    params = jax.jit(model.init)(jax.random.key(1), x)

    def value(values):
        tokens = model.apply(params, Padded(values, x.length))
        return (jnp.where(tokens.mask[..., None], tokens.x, 0) ** 3).sum()

    size = np.abs(jax.jit(jax.grad(value))(x.x)).max(axis=-1)
    assert not size[~np.asarray(x.mask)].any()
    assert (size[np.asarray(x.mask)] > 0).mean() > 0.4
