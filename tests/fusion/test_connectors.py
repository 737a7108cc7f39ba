"""Connectors against values by hand; that absent modalities do not matter is in the contract suite."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.fusion import (
    GridMean,
    MLPConnector,
    Normalised,
    PixelShuffle,
    QFormer,
    Resampler,
    blip2_qformer,
    flamingo_resampler,
    gemma3_connector,
    idefics3_connector,
    llava_mlp,
)
from mmjax.types import Tokens


class Same(nn.Module):
    """A connector that changes nothing."""

    def __call__(self, tokens, *, train=False):
        return tokens["image"]


def image(rows, columns, images=1, width=2):
    """Tokens whose features are (number, 100 * number); the last one is masked and NaN."""
    x = np.arange(images * rows * columns, dtype=np.float32)[None, :, None] * np.array([1, 100])[None, None, :width]
    mask = np.ones(x.shape[:2], bool)
    mask[0, -1], x[0, -1] = False, np.nan
    return {"image": Tokens(jnp.asarray(x, jnp.float32), jnp.asarray(mask))}


def test_pixel_shuffle():
    """Two images of 2 x 4 tokens, numbered 0 to 15 by rows: cells of 2 x 2 tokens in the order rows, columns, features."""
    found = PixelShuffle(Same(), side=2, grid=(2, 4)).apply({}, image(2, 4, 2))
    cells = np.array([[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 0]])  # 15 is masked: zeros
    expected = (cells[..., None] * np.array([1, 100])).reshape(1, 4, 8)
    np.testing.assert_array_equal(found.x, expected)
    assert found.mask.all()


def test_grid_mean():
    """The mean of the last cell is that of its three valid tokens."""
    found = GridMean(Same(), side=2, grid=(2, 4)).apply({}, image(2, 4))
    np.testing.assert_allclose(found.x[0, :, 0], [(0 + 1 + 4 + 5) / 4, (2 + 3 + 6) / 3], rtol=1e-6)


def test_a_cell_without_a_valid_token_is_masked():
    tokens = image(2, 2)["image"]
    found = GridMean(Same(), side=1, grid=(2, 2)).apply({}, {"image": tokens})
    assert found.mask.tolist() == [[True, True, True, False]] and not found.x[0, -1].any()


def test_normalised():
    """A token (3, 4) has the root mean square sqrt(12.5)."""
    tokens = {"image": Tokens(jnp.array([[[3.0, 4.0]]]), jnp.ones((1, 1), bool))}
    module = Normalised(Same(), offset=1.0)
    found, variables = module.init_with_output(jax.random.key(0), tokens)
    np.testing.assert_allclose(found.x[0, 0], np.array([3, 4]) / np.sqrt(12.5), rtol=1e-5)
    assert not variables["params"]["image_norm"]["scale"].any()  # the offset is the initial scale


def test_mlp_by_hand():
    module = MLPConnector(1, hidden=(2,), activation=jax.nn.relu)
    params = {
        "image_dense0": {"kernel": jnp.array([[1.0, -1.0]]), "bias": jnp.array([0.0, 1.0])},
        "image_dense1": {"kernel": jnp.array([[10.0], [100.0]]), "bias": jnp.array([0.5])},
    }
    tokens = {"image": Tokens(jnp.array([[[2.0], [-3.0]]]), jnp.ones((1, 2), bool))}
    # 2 -> (2, -1) -> relu (2, 0) -> 20.5; -3 -> (-3, 4) -> relu (0, 4) -> 400.5
    np.testing.assert_allclose(module.apply({"params": params}, tokens).x[0, :, 0], [20.5, 400.5])


@pytest.mark.parametrize("kind", [Resampler, partial(QFormer, 5)])
def test_queries_of_each_modality(kind):
    """Three vectors for each of two modalities, independent of each other and of masked tokens."""
    x = jax.random.normal(jax.random.key(1), (2, 5, 4))
    tokens = {name: Tokens(x[:, :n], jnp.array([[True] * n, [False] * n])) for name, n in (("a", 2), ("b", 5))}
    module = kind(queries=3, width=8, depth=1, heads=2, hidden=8)
    variables, apply = jax.jit(module.init)(jax.random.key(0), tokens), jax.jit(module.apply)
    changed = tokens | {"b": tokens["b"].replace(x=jnp.square(x))}
    found, after = apply(variables, tokens), apply(variables, changed)
    assert found.mask.tolist() == [[True] * 6, [False] * 6]
    np.testing.assert_array_equal(found.x[:, :3], after.x[:, :3])
    assert np.abs(found.x[0, 3:] - after.x[0, 3:]).max() > 1e-4
    np.testing.assert_array_equal(found.x[1], after.x[1])


def test_frames_of_a_resampler():
    """The order of frames matters, that of the tokens of a frame does not, and frames are equally long."""
    x = jax.random.normal(jax.random.key(1), (1, 4, 5))
    tokens = lambda *order: {"video": Tokens(x[:, jnp.array(order)], jnp.ones((1, len(order)), bool))}
    module = Resampler(queries=2, width=8, depth=1, heads=2, hidden=8, frames=2)
    variables, apply = jax.jit(module.init)(jax.random.key(0), tokens(0, 1, 2, 3)), jax.jit(module.apply)
    variables["params"]["video_frames"] *= 50  # as large as the tokens
    found = [apply(variables, tokens(*order)).x for order in ((0, 1, 2, 3), (1, 0, 3, 2), (2, 3, 0, 1))]
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)
    assert np.abs(found[0] - found[2]).max() > 1e-2
    with pytest.raises(ValueError, match=r"Resampler.frames is 2; it must divide the number of tokens of 'video', which is 3"):
        jax.eval_shape(module.init, jax.random.key(0), tokens(0, 1, 2))


def test_published_sizes():
    """LLaVA-1.5 7B: 1024 -> 4096 -> 4096 with biases. SmolVLM-256M: 768 * 4 * 4 -> 576. Gemma 3 4B: a norm of 1152 and
    1152 -> 2560."""
    grid = {"image": Tokens(jax.ShapeDtypeStruct((1, 1024, 1), jnp.float32), jax.ShapeDtypeStruct((1, 1024), bool))}

    def parameters(module, width):
        given = {"image": grid["image"].replace(x=jax.ShapeDtypeStruct((1, 1024, width), jnp.float32))}
        shapes = jax.eval_shape(module.init, jax.random.key(0), given)
        return sum(leaf.size for leaf in jax.tree.leaves(shapes))

    assert parameters(llava_mlp(4096), 1024) == 1024 * 4096 + 4096 * 4096 + 2 * 4096
    assert parameters(idefics3_connector(576, 4, (32, 32)), 768) == 768 * 16 * 576
    assert parameters(gemma3_connector(2560, 4, (32, 32)), 1152) == 1152 + 1152 * 2560
    assert flamingo_resampler(1536).queries == 64 and flamingo_resampler(1536).depth == 6
    assert (blip2_qformer(2560).queries, blip2_qformer(2560).width, blip2_qformer(2560).depth) == (32, 768, 12)


@pytest.mark.parametrize("kind", [PixelShuffle, GridMean])
def test_bad_grids(kind):
    with pytest.raises(ValueError, match=rf"{kind.__name__}\.side is 3; it must divide .*\(2, 4\)"):
        kind(Same(), 3, (2, 4)).apply({}, image(2, 4))
    with pytest.raises(ValueError, match=rf"{kind.__name__}\.grid is \(2, 4\), but 'image' has 9 tokens"):
        kind(Same(), 2, (2, 4)).apply({}, image(3, 3))
