"""NaFlex: positions of any grid, and padding without an influence. Parity with the original is in tests/parity."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from mmjax.encoders import ImagePatches, NaFlex
from mmjax.encoders.naflex import _linear
from mmjax.model import mask_inputs

MODEL = NaFlex(side=2, width=8, depth=1, heads=2, hidden=8)
GRID = np.array([[2, 3], [1, 1], [3, 2], [2, 2]], np.int32)
X = np.random.default_rng(0).normal(size=(4, 7, 12)).astype(np.float32)


def test_interpolation_by_hand():
    """2 cells to 4: centres at 0.25, 0.75, 1.25, 1.75 of cells centred at 0.5 and 1.5. The outer ones see one cell only.
    3 cells to 1: the triangle is 3 times as wide, so distances 1, 0, 1 have the weights 2/3, 1, 2/3."""
    found = _linear(jnp.array([4]), jnp.arange(4)[None], 2)
    np.testing.assert_allclose(found[0], [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]], atol=1e-6)
    found = _linear(jnp.array([1]), jnp.zeros((1, 1), jnp.int32), 3)
    np.testing.assert_allclose(found[0], [[2 / 7, 3 / 7, 2 / 7]], atol=1e-6)


def test_padding_and_absent_images():
    """NaN in padded patches and in absent images changes nothing, and all is finite without any image."""
    images = ImagePatches(jnp.asarray(X), jnp.asarray(GRID))
    variables = MODEL.init(jax.random.key(0), images)
    mask = np.asarray(images.mask)
    assert mask.sum(axis=1).tolist() == [6, 1, 6, 4]

    @jax.jit
    def run(images, present):
        def loss(x):
            tokens = MODEL.apply(variables, mask_inputs(images.replace(x=x), present))
            return jnp.sum(jnp.where(tokens.mask[..., None], tokens.x, 0) ** 2), tokens

        return jax.value_and_grad(loss, has_aux=True)(images.x)

    present = jnp.array([True, False, True, True])
    spoiled = images.replace(x=jnp.where(mask[..., None] & present[:, None, None], X, jnp.nan))
    ((value, tokens), gradient), ((other, _), same) = run(images, present), run(spoiled, present)
    chex.assert_trees_all_equal((value, gradient), (other, same))
    assert not np.asarray(gradient)[~mask].any() and not np.asarray(gradient)[1].any() and np.asarray(gradient)[0].any()
    assert not np.asarray(tokens.mask)[1].any() and (np.asarray(tokens.mask)[0] == mask[0]).all()
    chex.assert_tree_all_finite(run(images, jnp.zeros(4, bool)))
