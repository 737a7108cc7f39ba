"""TwoTowers against its definition, its outputs in the losses, and its modules."""

from functools import cache, partial

import chex
import jax
import jax.numpy as jnp
import numpy as np

from mmjax.encoders import Features, Pooled, TextTransformer, ViT
from mmjax.heads import Bias, Projection, Temperature
from mmjax.losses import InfoNCE, SigmoidPairs
from mmjax.model import TwoTowers
from mmjax.nn import first_token, last_token, masked_mean
from mmjax.types import Batch, Padded, Tokens

TEXT = TextTransformer(vocabulary=11, width=8, depth=1, heads=2, hidden=8, positions=6)
IMAGE = ViT(patch=2, width=8, depth=1, heads=2, hidden=8, class_token=False)
TOWERS = TwoTowers(
    Pooled(IMAGE, masked_mean), Pooled(TEXT, last_token), Projection(4), Projection(4), Temperature(0.1), Bias(-3.0)
)
TEXTS = Padded(jnp.array([[1, 2, 3], [4, 5, 0]]), jnp.array([3, 2]))
IMAGES = jax.random.normal(jax.random.key(1), (2, 4, 4, 3))
APPLY = jax.jit(TOWERS.apply)
EMBED_IMAGE, EMBED_TEXT = (jax.jit(partial(TOWERS.apply, method=method)) for method in ("embed_image", "embed_text"))


@cache
def start():
    return jax.jit(TOWERS.init)(jax.random.key(0), {"image": IMAGES, "text": TEXTS})


def test_logits_of_three_images_and_two_texts():
    variables = start()
    images = jnp.concatenate([IMAGES, IMAGES[:1]])
    outputs = APPLY(variables, {"image": images, "text": TEXTS})
    x, y = outputs["image.embedding"], outputs["text.embedding"]
    chex.assert_shape([x, y, outputs["temperature"], outputs["bias"]], [(3, 4), (2, 4), (), ()])
    np.testing.assert_allclose(np.linalg.norm(np.concatenate([x, y]), axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(outputs["logits"], np.asarray(x) @ np.asarray(y).T / 0.1 - 3, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(EMBED_IMAGE(variables, images), x, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(EMBED_TEXT(variables, TEXTS), y, rtol=1e-5, atol=1e-6)


def test_losses_take_the_outputs():
    """In terms of the logits: InfoNCE is the mean cross-entropy of both directions, the SigLIP loss a sum over pairs."""
    outputs = APPLY(start(), {"image": IMAGES, "text": TEXTS})
    present = {"image": jnp.ones(2, bool), "text": jnp.ones(2, bool)}
    batch = Batch({}, present, {}, jnp.ones(2))
    names = ("image.embedding", "text.embedding")
    logits = np.asarray(outputs["logits"], np.float64)
    positive = np.diag(logits)
    directions = [np.log(np.exp(one).sum(axis=1)) - positive for one in (logits, logits.T)]
    info_nce = InfoNCE(*names, "temperature")(outputs, batch)
    np.testing.assert_allclose(info_nce, np.mean(directions, axis=0), rtol=1e-4, atol=1e-5)
    signs = 2 * np.eye(2) - 1
    expected = np.log1p(np.exp(-signs * logits)).sum(axis=1)
    np.testing.assert_allclose(SigmoidPairs(*names, "temperature", "bias")(outputs, batch), expected, rtol=1e-4)


def test_a_text_embedding_ignores_padding():
    variables = start()
    other = TEXTS.replace(x=TEXTS.x.at[1, 2].set(9))
    same = [EMBED_TEXT(variables, texts) for texts in (TEXTS, other)]
    np.testing.assert_array_equal(*same)


def test_a_causal_text_encoder_ignores_later_tokens():
    variables = jax.jit(TEXT.init)(jax.random.key(0), TEXTS)

    def third(table):
        params = variables["params"] | {"word": {"embedding": table}}
        return TEXT.apply({"params": params}, TEXTS).x[0, 1].sum()

    gradient = np.asarray(jax.jit(jax.grad(third))(variables["params"]["word"]["embedding"]))
    assert np.abs(gradient[[1, 2]]).max() > 0 and np.abs(gradient[3]).max() == 0


def test_pooled_tokens():
    tokens = Tokens(jnp.arange(12.0).reshape(2, 3, 2), jnp.array([[True, True, False], [False] * 3]))
    np.testing.assert_array_equal(first_token(tokens), [[0, 1], [6, 7]])
    np.testing.assert_array_equal(last_token(tokens), [[2, 3], [6, 7]])
    frames = Padded(jnp.ones((2, 3, 2)), jnp.array([2, 0]))
    pooled = Pooled(Features(4), first_token)
    found, _ = jax.jit(pooled.init_with_output)(jax.random.key(0), frames)
    chex.assert_shape(found.x, (2, 1, 4))
    np.testing.assert_array_equal(found.mask, [[True], [False]])


def test_a_grid_crops_incomplete_patches():
    module = IMAGE.clone(grid=(2, 2))
    variables, run = jax.jit(module.init)(jax.random.key(0), IMAGES), jax.jit(module.apply)
    larger = jnp.pad(IMAGES, ((0, 0), (0, 1), (0, 1), (0, 0)), constant_values=7.0)
    np.testing.assert_array_equal(run(variables, larger).x, run(variables, IMAGES).x)
