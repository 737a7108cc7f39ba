"""Audio encoders: independence of padding, patches by hand, and error messages."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.encoders.audio import AST, FrameRNN, OnSpectrum, SpectrogramCNN, ast_base
from mmjax.nn.mel import MFCC, LogMel
from mmjax.nn.recurrent import GRU, LSTM, Bidirectional
from mmjax.types import Padded, Tokens

LENGTHS = [9, 5, 1, 0]
FRAMES = Padded(jax.random.normal(jax.random.key(5), (4, 9, 6)), jnp.array(LENGTHS))
SMALL = AST(bands=6, frames=9, patch=4, stride=(2, 2), width=8, depth=1, heads=2, hidden=12)


def init_params(module, frames=FRAMES):
    return jax.jit(module.init)(jax.random.key(0), frames)["params"]


def run(module, params, frames):
    return jax.jit(module.apply)({"params": params}, frames)


def padded(frames, to):
    """The same clips padded to another length, with arbitrary values in the padding."""
    x = jnp.where(frames.mask[..., None], frames.x, 50.0)
    return Padded(jnp.pad(x, ((0, 0), (0, to - x.shape[1]), (0, 0)), constant_values=-50.0), frames.length)


@pytest.mark.parametrize("layer", [LSTM(3), Bidirectional(GRU(3))], ids=["lstm", "bidirectional gru"])
def test_frame_rnn_equals_the_layer_over_dense_frames(layer):
    module = FrameRNN(width=5, layer=layer)
    params = init_params(module)
    x = np.maximum(0, np.asarray(FRAMES.x) @ np.asarray(params["frame"]["kernel"]))  # the bias is initialised to zero
    states = jax.jit(layer.apply)({"params": params["layer"]}, jnp.asarray(x), FRAMES.mask)
    one = run(module, params, FRAMES)
    chex.assert_trees_all_close(one.x[:, 0], layer.last(states, FRAMES.length), atol=1e-6)
    np.testing.assert_array_equal(one.mask[:, 0], [True, True, True, False])
    every = run(module.clone(every_step=True), params, FRAMES)
    chex.assert_trees_all_close((every.x, every.mask), (states, FRAMES.mask), atol=1e-6)


@pytest.mark.parametrize(
    ("module", "to"),
    [(FrameRNN(4, Bidirectional(LSTM(3)), every_step=True), 12), (SpectrogramCNN(widths=(4, 5)), 14), (SMALL, 9)],
    ids=["frame_rnn", "spectrogram_cnn", "ast"],
)
def test_padding_changes_neither_tokens_nor_gradients(module, to):
    @jax.jit
    def perturb(params):
        keys = iter(jax.random.split(jax.random.key(2), 40))
        return jax.tree.map(lambda p: p + 0.1 * jax.random.normal(next(keys), p.shape), params)

    def value(params, x, length):
        tokens = module.apply({"params": params}, Padded(x, length))
        x = jnp.where(tokens.mask[..., None], tokens.x, 0)
        return jnp.sum(jnp.sin(x)), Tokens(x, tokens.mask)

    run, params, kept = jax.jit(jax.value_and_grad(value, (0, 1), has_aux=True)), perturb(init_params(module)), []
    for frames in (FRAMES, padded(FRAMES, to)):
        (_, tokens), (gradient, of_x) = run(params, frames.x, frames.length)
        assert not np.asarray(of_x)[~np.asarray(frames.mask)].any()
        kept.append((np.asarray(tokens.x)[np.asarray(tokens.mask)], gradient, of_x[:, :9]))
    chex.assert_trees_all_close(*kept, atol=1e-5)


def test_a_step_of_spectrogram_cnn_is_valid_if_one_of_its_frames_is():
    tokens = run(SpectrogramCNN(widths=(2, 3)), init_params(SpectrogramCNN(widths=(2, 3))), FRAMES)
    chex.assert_shape(tokens.x, (4, 3, 3))  # 9 frames, padded to 12; four frames per step
    np.testing.assert_array_equal(tokens.mask, [[True] * 3, [True, True, False], [True, False, False], [False] * 3])


def test_spectrogram_cnn_by_hand():
    """With an identity kernel, a step is the mean over band pairs of max(0, maximum over two frames and two bands)."""
    module = SpectrogramCNN(widths=(1,))
    kernel = jnp.zeros((3, 3, 1, 1)).at[1, 1].set(1.0)
    x = jnp.array([[[1.0, -2.0, 3.0, 0.0], [4.0, 0.0, -1.0, -1.0], [-5.0, -6.0, 8.0, 1.0]]])
    params = {"stage0": {"kernel": kernel, "bias": jnp.zeros(1)}}
    tokens = run(module, params, Padded(x, jnp.array([3])))
    np.testing.assert_array_equal(tokens.x[0, :, 0], [(4.0 + 3.0) / 2, (0.0 + 8.0) / 2])


def test_ast_patches():
    """With depth 0: each token is the layer norm of (patch * kernel + position)."""
    module = SMALL.clone(depth=0)
    assert module.grid == (2, 3)  # bands 0-3 and 2-5; frames 0-3, 2-5 and 4-7 (frame 8 is in no patch)
    params = init_params(module)
    params = params | {"positions": jax.random.normal(jax.random.key(1), (2 + 2 * 3, 8))}
    tokens = run(module, params, FRAMES)
    valid = [[True] * 3, [True] * 3, [True, False, False], [False] * 3]  # patches start at frames 0, 2 and 4
    np.testing.assert_array_equal(tokens.mask, [[row[0]] * 2 + row + row for row in valid])
    x = np.where(np.asarray(FRAMES.mask)[..., None], FRAMES.x, 0)
    for row in range(2):
        for column in range(3):
            patch = x[:, 2 * column : 2 * column + 4, 2 * row : 2 * row + 4]  # [b frames bands]
            y = np.einsum("btm,mtd->bd", patch, np.asarray(params["patches"]["kernel"])[:, :, 0])
            y = y + np.asarray(params["positions"])[2 + 3 * row + column]
            y = (y - y.mean(axis=-1, keepdims=True)) / y.std(axis=-1, keepdims=True)
            np.testing.assert_allclose(tokens.x[:, 2 + 3 * row + column], y, atol=1e-4)


def test_ast_on_a_shorter_input_equals_the_padded_clip():
    params = init_params(SMALL)
    short = Padded(FRAMES.x[:, :5], jnp.array([5, 5, 1, 0]))
    whole = run(SMALL, params, padded(short, 9))
    tokens = run(SMALL, params, short)
    chex.assert_shape(tokens.x, (4, 8, 8))  # patches start at frames 0, 2 and 4
    tiny = run(SMALL, params, Padded(short.x[:, :1], jnp.array([1, 1, 1, 0])))
    chex.assert_shape(tiny.x, (4, 4, 8))
    chex.assert_trees_all_close(tokens.x[:3][tokens.mask[:3]], whole.x[:3][whole.mask[:3]], atol=1e-5)
    chex.assert_trees_all_close(tiny.x[2], whole.x[2][whole.mask[2]], atol=1e-5)


def test_ast_base_has_the_size_of_the_paper():
    """1212 patches; 86.2 million parameters without the classifier (the paper says 87 M)."""
    module = ast_base()
    assert module.grid == (12, 101)
    x = Padded(jnp.zeros((1, 1024, 128)), jnp.ones(1, int))
    tokens, variables = jax.eval_shape(lambda: module.init_with_output(jax.random.key(0), x))
    assert tokens.x.shape == (1, 1214, 768)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == 86_187_264


def test_inputs_of_other_sizes_raise():
    with pytest.raises(ValueError, match=r"SpectrogramCNN\.widths has 3 stages.* at least 8 bands, but the input has 6"):
        jax.eval_shape(SpectrogramCNN().init, jax.random.key(0), FRAMES)
    for shape in ((2, 10, 6), (2, 9, 5)):
        with pytest.raises(ValueError, match=rf"takes 6 bands .* 9 frames .* {shape[2]} bands and {shape[1]} frames"):
            jax.eval_shape(SMALL.init, jax.random.key(0), Padded(jnp.zeros(shape), jnp.array([3, 3])))


def test_on_spectrum_equals_the_encoder_on_the_frames_of_the_front_end():
    mel = LogMel(rate=1000, window=0.032, hop=0.016, bands=5, low=50.0, high=500.0)
    wave = Padded(jax.random.normal(jax.random.key(3), (3, 80)), jnp.array([80, 40, 0]))
    for front in (mel, MFCC(mel, coefficients=4)):
        encoder = FrameRNN(3, LSTM(2))
        module = OnSpectrum(front, encoder)
        params = init_params(module, wave)
        tokens, gradient = jax.jit(
            lambda params, x: (
                module.apply({"params": params}, wave.replace(x=x)),
                jax.grad(lambda x: module.apply({"params": params}, wave.replace(x=x)).x.sum())(x),
            )
        )(params, wave.x)
        expected = run(encoder, params["encoder"], jax.jit(front.sequence)(wave))
        chex.assert_trees_all_close(tokens, expected, atol=1e-5)
        chex.assert_tree_all_finite(gradient)
        assert not np.asarray(gradient)[~np.asarray(wave.mask)].any() and np.asarray(gradient)[1, 1:32].any()
