"""TwoTowers by its definition, its outputs in the losses, and the parts that it is made of."""

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
WORDS = Padded(jnp.array([[1, 2, 3], [4, 5, 0]]), jnp.array([3, 2]))
PICTURES = jax.random.normal(jax.random.key(1), (2, 4, 4, 3))
APPLY = jax.jit(TOWERS.apply)
EMBED_IMAGE, EMBED_TEXT = (jax.jit(partial(TOWERS.apply, method=method)) for method in ("embed_image", "embed_text"))


@cache
def start():
    return jax.jit(TOWERS.init)(jax.random.key(0), {"image": PICTURES, "text": WORDS})


def test_logits_of_three_pictures_and_two_texts():
    variables = start()
    pictures = jnp.concatenate([PICTURES, PICTURES[:1]])
    outputs = APPLY(variables, {"image": pictures, "text": WORDS})
    x, y = outputs["image.embedding"], outputs["text.embedding"]
    chex.assert_shape([x, y], [(3, 4), (2, 4)])
    np.testing.assert_allclose(np.linalg.norm(np.concatenate([x, y]), axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(outputs["logits"], np.asarray(x) @ np.asarray(y).T / 0.1 - 3, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(EMBED_IMAGE(variables, pictures), x, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(EMBED_TEXT(variables, WORDS), y, rtol=1e-5, atol=1e-6)


def test_losses_take_the_outputs():
    """By the logits: InfoNCE is the mean of both ways' cross-entropies, SigLIP's the sum over all pairs."""
    outputs = APPLY(start(), {"image": PICTURES, "text": WORDS})
    present = {"image": jnp.ones(2, bool), "text": jnp.ones(2, bool)}
    batch = Batch({}, present, {}, jnp.ones(2))
    names = ("image.embedding", "text.embedding")
    logits = np.asarray(outputs["logits"], np.float64)
    own = np.diag(logits)
    both_ways = [np.log(np.exp(one).sum(axis=1)) - own for one in (logits, logits.T)]
    np.testing.assert_allclose(InfoNCE(*names, "temperature")(outputs, batch), np.mean(both_ways, axis=0), rtol=1e-4, atol=1e-5)
    signs = 2 * np.eye(2) - 1
    expected = np.log1p(np.exp(-signs * logits)).sum(axis=1)
    np.testing.assert_allclose(SigmoidPairs(*names, "temperature", "bias")(outputs, batch), expected, rtol=1e-4)


def test_a_text_is_known_at_its_last_word_whatever_follows():
    variables = start()
    other = WORDS.replace(x=WORDS.x.at[1, 2].set(9))
    same = [EMBED_TEXT(variables, words) for words in (WORDS, other)]
    np.testing.assert_array_equal(*same)


def test_one_way_no_word_sees_a_later_one():
    variables = jax.jit(TEXT.init)(jax.random.key(0), WORDS)

    def third(table):
        params = variables["params"] | {"word": {"embedding": table}}
        return TEXT.apply({"params": params}, WORDS).x[0, 1].sum()

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


def test_a_grid_cuts_what_is_beside_the_last_whole_patch():
    module = IMAGE.clone(grid=(2, 2))
    variables, run = jax.jit(module.init)(jax.random.key(0), PICTURES), jax.jit(module.apply)
    larger = jnp.pad(PICTURES, ((0, 0), (0, 1), (0, 1), (0, 0)), constant_values=7.0)
    np.testing.assert_array_equal(run(variables, larger).x, run(variables, PICTURES).x)
