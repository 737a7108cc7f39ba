"""Video encoders: frames by hand, tubelets against a loop over a three-dimensional convolution, masks by gradients."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.encoders.image import CNN
from mmjax.encoders.series import TimeTransformer
from mmjax.encoders.video import FrameWise, Identity, VideoMAE, ViViT, interleaved_sinusoids, tubelets, vivit_b16x2
from mmjax.nn import LSTM, masked_mean
from mmjax.types import Padded, Tokens

B, N = 3, 4
LENGTH = np.array([4, 3, 0])


def video(size=4):
    return Padded(jax.random.normal(jax.random.key(0), (B, N, size, size, 2)), jnp.asarray(LENGTH))


def test_frame_wise_equals_single_frames():
    x, cnn, lstm = video(), CNN(widths=(5,)), LSTM(6)
    plain = FrameWise(cnn, Identity())
    model = FrameWise(cnn, lstm, every_step=False)
    params = jax.jit(model.init)(jax.random.key(1), x)["params"]
    of_frame = jax.jit(lambda images: masked_mean(cnn.apply({"params": params["encoder"]}, images)))
    by_hand = jnp.stack([of_frame(x.x[:, frame]) for frame in range(N)], axis=1)
    frames = jax.jit(plain.apply)({"params": {"encoder": params["encoder"]}}, x)
    valid = np.asarray(x.mask)
    np.testing.assert_array_equal(frames.mask, valid)
    np.testing.assert_allclose(np.asarray(frames.x)[valid], np.asarray(by_hand)[valid], atol=1e-6)
    states = jax.jit(lstm.apply)({"params": params["over_time"]}, by_hand, x.mask)
    tokens = jax.jit(model.apply)({"params": params}, x)
    chex.assert_shape(tokens.x, (B, 1, 6))
    np.testing.assert_allclose(tokens.x[:2, 0], states[jnp.arange(2), LENGTH[:2] - 1], atol=1e-6)
    np.testing.assert_array_equal(tokens.mask, [[True], [True], [False]])


class Counting(nn.Module):
    """An image encoder that takes `present` and returns the number of present images."""

    takes_present = True

    @nn.compact
    def __call__(self, x, *, train=False, present=None):
        count = jnp.full((x.shape[0], 1, 1), present.sum(), jnp.float32)
        return Tokens(count, jnp.ones(count.shape[:2], bool))


def test_the_image_encoder_receives_the_frame_mask():
    tokens = jax.jit(FrameWise(Counting(), Identity()).apply)({}, video())
    np.testing.assert_array_equal(tokens.x[tokens.mask], 7)  # 4 + 3 + 0


def test_train_reaches_the_encoder_and_the_layer_over_time():
    x = video()
    for model in (
        FrameWise(CNN(widths=(8,), dropout=0.5), Identity()),
        FrameWise(CNN(widths=(8,)), TimeTransformer(depth=1, heads=2, hidden=8, dropout=0.5)),
    ):
        params = jax.jit(model.init)(jax.random.key(1), x)
        run = jax.jit(lambda key, model=model, params=params: model.apply(params, x, train=True, rngs={"dropout": key}).x)
        assert np.abs(run(jax.random.key(2)) - run(jax.random.key(3))).max() > 1e-3


def test_tubelets_equal_a_convolution_over_time_and_space():
    """out[t, i, j, f] = sum over k, l, m, c of x[2t + k, 3i + l, 2j + m, c] w[k, l, m, c, f], stride = size."""
    size = (2, 3, 2)
    x = np.random.default_rng(0).normal(size=(2, 4, 6, 4, 2)).astype(np.float32)
    w = np.random.default_rng(1).normal(size=(*size, 2, 5)).astype(np.float32)
    expected = np.zeros((2, 2, 2, 2, 5), np.float32)
    for t, i, j in np.ndindex(2, 2, 2):
        for k, m, n in np.ndindex(*size):
            expected[:, t, i, j] += x[:, 2 * t + k, 3 * i + m, 2 * j + n] @ w[k, m, n]
    got = tubelets(jnp.asarray(x), size) @ jnp.asarray(w.reshape(-1, 5))
    np.testing.assert_allclose(got, expected.reshape(2, 8, 5), rtol=1e-4, atol=1e-5)


SMALL = ViViT(tubelet=(2, 2, 2), width=8, depth=1, heads=2, hidden=8)


def test_vivit_masks_tubelets():
    """4 frames of 4 x 4 in tubelets of 2 x 2 x 2: a class token and 2 times 4 tubelets. 2 frames have 4 valid tubelets."""
    x = video()
    x = x.replace(length=jnp.array([4, 2, 0]))
    params = jax.jit(SMALL.init)(jax.random.key(1), x)
    run = jax.jit(SMALL.apply)
    tokens = run(params, x)
    chex.assert_shape(tokens.x, (B, 9, 8))
    chex.assert_tree_all_finite(tokens.x)
    np.testing.assert_array_equal(tokens.mask, [[True] * 9, [True] * 5 + [False] * 4, [False] * 9])
    spoiled = run(params, Padded(jnp.where(x.mask[..., None, None, None], x.x, jnp.nan), x.length))
    np.testing.assert_array_equal(jnp.where(tokens.mask[..., None], tokens.x - spoiled.x, 0), 0)
    odd = run(params, x.replace(length=jnp.array([4, 3, 0])))  # a third frame is half a tubelet
    np.testing.assert_array_equal(odd.mask[1], [True] * 9)


@pytest.mark.parametrize(
    "model",
    [
        FrameWise(CNN(widths=(4,)), LSTM(5), every_step=False),
        FrameWise(CNN(widths=(4,)), TimeTransformer(depth=1, heads=2, hidden=8)),
        SMALL,
    ],
)
def test_the_gradient_is_zero_beyond_the_length(model):
    x = video()
    params = jax.jit(model.init)(jax.random.key(1), x)

    def value(values):
        tokens = model.apply(params, Padded(values, x.length))
        return (jnp.where(tokens.mask[..., None], tokens.x, 0) ** 3).sum()

    size = np.abs(jax.jit(jax.grad(value))(x.x)).reshape(B, N, -1).max(axis=-1)
    assert not size[~np.asarray(x.mask)].any() and (size[np.asarray(x.mask)] > 0).all()


@pytest.mark.parametrize("model", [SMALL, VideoMAE(width=8, depth=1, heads=2, hidden=8)])
def test_a_tubelet_that_does_not_divide_the_video(model):
    name = type(model).__name__
    with pytest.raises(ValueError, match=rf"{name}\.tubelet is \(2, 3, 2\); it must divide .*\(4, 4, 4\)"):
        model.clone(tubelet=(2, 3, 2)).init(jax.random.key(0), video())


def test_vivit_b16x2_has_the_published_shapes():
    """Per block 4 (768^2 + 768) + 2 * 768 * 3072 + 3072 + 768 + 4 * 768 = 7,087,872; a tubelet 1536 * 768 + 768; positions
    (16 * 14 * 14 + 1) * 768; class token and last norm 3 * 768."""
    x = Padded(jax.ShapeDtypeStruct((1, 32, 224, 224, 3), jnp.float32), jax.ShapeDtypeStruct((1,), jnp.int32))
    model = vivit_b16x2()
    params = jax.eval_shape(model.init, jax.random.key(0), x)["params"]
    tubelet = 2 * 16 * 16 * 3 * 768 + 768
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 12 * 7_087_872 + tubelet + 3137 * 768 + 3 * 768
    assert jax.eval_shape(model.apply, {"params": params}, x).x.shape == (1, 3137, 768)


def test_videomae_positions():
    """Width 4, position 1: sine and cosine of 1, then of 1 / 10000^(2 / 4) = 0.01."""
    expected = [[0, 1, 0, 1], [np.sin(1), np.cos(1), np.sin(0.01), np.cos(0.01)]]
    np.testing.assert_allclose(interleaved_sinusoids(2, 4), expected, atol=1e-7)


def test_videomae_masks_tubelets_beyond_the_length():
    """Two tubelets per two frames: 3 frames have four valid tubelets, 2 frames have two."""
    model = VideoMAE(tubelet=(2, 2, 4), width=4, depth=1, heads=1, hidden=4)
    video = Padded(jax.random.normal(jax.random.key(0), (2, 4, 4, 4, 1)), jnp.array([3, 2]))
    tokens, _ = jax.jit(model.init_with_output)(jax.random.key(1), video)
    np.testing.assert_array_equal(tokens.mask, [[True] * 4, [True, True, False, False]])
