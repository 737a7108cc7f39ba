"""The encoder of Whisper on clips shorter than its positions."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.encoders.whisper import WhisperEncoder, whisper_positions
from mmjax.types import Padded

ENCODER = WhisperEncoder(positions=6, width=8, depth=2, heads=2, hidden=12)
INIT, APPLY = jax.jit(ENCODER.init), jax.jit(ENCODER.apply)


@pytest.mark.parametrize("length", [12, 7, 4, 1])
def test_a_padded_clip_equals_the_clip_without_padding(length):
    """7 frames are 4 tokens."""
    x = jax.random.normal(jax.random.key(0), (1, 12, 5))
    variables = INIT(jax.random.key(1), Padded(x, jnp.array([12])))
    padded = APPLY(variables, Padded(x.at[:, length:].set(jnp.nan), jnp.array([length])))
    unpadded = APPLY(variables, Padded(x[:, :length], jnp.array([length])))
    count = -(-length // 2)
    np.testing.assert_array_equal(padded.mask[0], np.arange(6) < count)
    chex.assert_shape(unpadded.x, (1, count, 8))
    chex.assert_trees_all_close(padded.x[:, :count], unpadded.x, atol=1e-5)


def test_positions():
    """Width 4 has the rates 1 and 1 / 10000. The positions have no gradient."""
    expected = [[0, 0, 1, 1], [np.sin(1), np.sin(1e-4), np.cos(1), np.cos(1e-4)]]
    np.testing.assert_allclose(whisper_positions(2, 4), expected, atol=1e-7)
    frames = Padded(jax.random.normal(jax.random.key(0), (2, 12, 5)), jnp.array([12, 9]))
    variables = INIT(jax.random.key(1), frames)
    np.testing.assert_array_equal(variables["params"]["position"], whisper_positions(6, 8))
    gradient = jax.jit(jax.grad(lambda v: jnp.square(ENCODER.apply(v, frames).x[..., 0]).sum()))(variables)
    assert not np.any(gradient["params"]["position"]) and np.any(gradient["params"]["conv1"]["kernel"])


def test_a_clip_longer_than_the_positions():
    with pytest.raises(ValueError, match=r"WhisperEncoder\.positions is 6, for at most 12 frames, but the input has 13"):
        ENCODER.init(jax.random.key(0), Padded(jnp.zeros((1, 13, 5)), jnp.array([13])))
