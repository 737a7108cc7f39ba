"""wav2vec 2.0: independence of padding, and the positional convolution by hand."""

from functools import cache

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.encoders.wav2vec2 import PositionalConv, TimeNorm, Wav2Vec2, grouped_conv
from mmjax.types import Padded

SIZES = dict(widths=(4, 6), kernels=(10, 3), strides=(5, 2), width=8, depth=1, heads=2, hidden=12, taps=4, groups=2)


@cache
def compiled(each_norm):
    """(init, apply), compiled once for all lengths."""
    encoder = Wav2Vec2(**SIZES, each_norm=each_norm, pre_norm=each_norm)
    return jax.jit(encoder.init), jax.jit(encoder.apply)


@pytest.mark.parametrize("each_norm", [False, True])
@pytest.mark.parametrize("length", [60, 41, 20])
def test_a_padded_clip_equals_the_clip_without_padding(each_norm, length):
    """60, 41 and 20 samples contain 11, 7 and 3 windows of 10, and these contain 5, 3 and 1 windows of 3."""
    init, apply = compiled(each_norm)
    x = jax.random.normal(jax.random.key(0), (1, 60))
    variables = init(jax.random.key(1), Padded(x, jnp.array([60])))
    padded = apply(variables, Padded(x.at[:, length:].set(jnp.nan), jnp.array([length])))
    unpadded = apply(variables, Padded(x[:, :length], jnp.array([length])))
    count = {60: 5, 41: 3, 20: 1}[length]
    np.testing.assert_array_equal(padded.mask[0], np.arange(5) < count)
    assert unpadded.mask.shape == (1, count) and unpadded.mask.all()
    chex.assert_trees_all_close(padded.x[:, :count], unpadded.x, atol=1e-5)


@pytest.mark.parametrize("samples", [0, 1, 19])
def test_a_clip_too_short_for_a_token(samples):
    """A token needs three windows of ten samples every five: (3 - 1) 5 + 10 = 20 samples."""
    clip = Padded(jnp.ones((2, samples)), jnp.array([samples, 0]))
    tokens, _ = jax.jit(Wav2Vec2(**SIZES).init_with_output)(jax.random.key(0), clip)
    chex.assert_shape(tokens.x, (2, 1, 8))
    assert not tokens.mask.any() and jnp.isfinite(tokens.x).all()


@pytest.mark.parametrize("taps", [3, 4, 35])
def test_grouped_convolution(taps):
    """Feature 1 belongs to the first group of two, feature 2 to the second. 4 taps start two steps back, 3 taps one."""
    x, kernel = (jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate([(1, 9, 4), (taps, 2, 4)]))
    y = np.asarray(jax.jit(grouped_conv)(x, kernel))
    x, kernel = np.asarray(x), np.asarray(kernel)
    for step in (0, 4, 8):
        for feature, inputs in ((1, slice(0, 2)), (2, slice(2, 4))):
            sources = [(step + tap - taps // 2, tap) for tap in range(taps)]
            terms = [np.dot(x[0, source, inputs], kernel[tap, :, feature]) for source, tap in sources if 0 <= source < 9]
            np.testing.assert_allclose(y[0, step, feature], sum(terms), atol=1e-5)


def test_weight_normalisation():
    """The output does not depend on the norm of `direction`; the initial kernel equals `direction`."""
    layer, x = PositionalConv(taps=4, groups=2, activation=lambda x: x), jax.random.normal(jax.random.key(0), (1, 5, 4))
    params = jax.jit(layer.init)(jax.random.key(1), x)["params"]
    run = jax.jit(lambda params: layer.apply({"params": params}, x))
    chex.assert_trees_all_close(run(params), jax.jit(grouped_conv)(x, params["direction"]), atol=1e-6)
    chex.assert_trees_all_close(run(params), run(params | {"direction": 3 * params["direction"]}), atol=1e-6)


def test_norm_over_time():
    """1, 3 and 5 have the mean 3 and the variance 8 / 3. Steps beyond the length have no influence and yield the bias, 0."""
    x, mask = jnp.array([[[1.0], [3.0], [5.0], [99.0]]]), jnp.array([[True, True, True, False]])
    y, _ = jax.jit(TimeNorm(epsilon=0.0).init_with_output)(jax.random.key(0), x, mask)
    np.testing.assert_allclose(y[0, :, 0], np.array([-2, 0, 2, 0]) / np.sqrt(8 / 3), atol=1e-6)
