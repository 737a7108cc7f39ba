"""VGG, ResNet and ViT: published sizes, shapes, absent examples and errors. `tests/parity` compares their outputs."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.encoders.resnet import ResNet, resnet18, resnet34, resnet50, resnet101
from mmjax.encoders.vgg import VGG, vgg11, vgg13, vgg16, vgg19
from mmjax.encoders.vit import ViT, interpolate_grid, patches, vit_b16, vit_l16, vit_s16, vit_ti16


def shapes(module, side=224):
    """The shapes of (variables, tokens)."""
    return jax.eval_shape(lambda x: module.init_with_output(jax.random.key(0), x), jnp.ones((2, side, side, 3)))[::-1]


def parameters(variables):
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


# Published numbers of parameters, including the layer to 1000 classes: torchvision for VGG, ResNet, ViT-B and ViT-L, timm for
# DeiT-Ti and DeiT-S.
@pytest.mark.parametrize(
    ("module", "published", "width", "tokens", "dimension"),
    [
        (vgg11(), 132_863_336, 4096, 1, 4096),
        (vgg13(), 133_047_848, 4096, 1, 4096),
        (vgg16(), 138_357_544, 4096, 1, 4096),
        (vgg19(), 143_667_240, 4096, 1, 4096),
        (vgg16(batch_norm=True), 138_365_992, 4096, 1, 4096),
        (resnet18(), 11_689_512, 512, 49, 512),
        (resnet34(), 21_797_672, 512, 49, 512),
        (resnet50(), 25_557_032, 2048, 49, 2048),
        (resnet101(), 44_549_160, 2048, 49, 2048),
        (vit_ti16(), 5_717_416, 192, 197, 192),
        (vit_s16(), 22_050_664, 384, 197, 384),
        (vit_b16(), 86_567_656, 768, 197, 768),
        (vit_l16(), 304_326_632, 1024, 197, 1024),
    ],
)
def test_published_sizes(module, published, width, tokens, dimension):
    variables, out = shapes(module)
    assert parameters(variables) == published - 1000 * (width + 1)
    chex.assert_shape(out.x, (2, tokens, dimension))
    chex.assert_shape(out.mask, (2, tokens))


def test_small_images():
    assert shapes(vgg11(hidden=()), 32)[1].x.shape == (2, 1, 512)
    assert shapes(vgg11(hidden=(16,)), 48)[1].x.shape == (2, 1, 16)
    assert shapes(resnet18(), 32)[1].x.shape == (2, 1, 512)
    assert shapes(resnet18(stem=3), 32)[1].x.shape == (2, 16, 512)  # 32 px halved three times
    assert shapes(vit_ti16(), 32)[1].x.shape == (2, 5, 192)


def test_errors():
    with pytest.raises(ValueError, match=r"VGG.stages has 5 stages.*at least 32 px per side, but the image has 31 x 31 px"):
        shapes(vgg11(), 31)
    with pytest.raises(ValueError, match=r"ViT.patch is 16.*\(40, 40\)"):
        shapes(vit_ti16(), 40)
    with pytest.raises(ValueError, match=r"ResNet.stem is 4"):
        shapes(ResNet(stem=4), 32)
    model = ViT(patch=4, width=4, depth=1, heads=1, hidden=4)
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 8, 8, 3)))
    with pytest.raises(ValueError, match=r"ViT was initialised for 4 patches, but the image has 6; set ViT.grid"):
        jax.eval_shape(model.apply, variables, jnp.ones((1, 8, 12, 3)))


def test_patches_by_hand():
    # Pixels 0 to 15 row by row: the first patch of 2 x 2 is 0 1 / 4 5, the next one, to its right, 2 3 / 6 7.
    got = patches(jnp.arange(16.0).reshape(1, 4, 4, 1), 2)
    np.testing.assert_array_equal(got[0], [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]])


def test_smooth_interpolation_by_hand():
    """From 3 cells to 1, the kernel is 3 times as wide: distances 1/3, 0, 1/3 have the weights 1.5/27 - 2.5/9 + 1 = 7/9, 1
    and 7/9. From 1 cell to 2, there is only one cell."""
    found = interpolate_grid(jnp.array([[0.0], [3.0], [9.0]]), (3, 1), (1, 1), smooth=True)
    np.testing.assert_allclose(found, [[(3 + 9 * 7 / 9) / (1 + 14 / 9)]], rtol=1e-6)
    np.testing.assert_allclose(interpolate_grid(jnp.array([[5.0]]), (1, 1), (2, 1), smooth=True), [[5], [5]], rtol=1e-6)


WITH_BATCH_NORM = {
    "vgg": VGG(stages=((1, 4), (2, 6)), hidden=(5,), batch_norm=True, dropout=0.0),
    "basic": ResNet(stages=((1, 4), (1, 6))),
    "bottleneck": ResNet(stages=((1, 4), (1, 6)), bottleneck=True, stem=3),
}


@pytest.mark.parametrize("name", WITH_BATCH_NORM)
def test_absent_images_do_not_change_statistics_or_gradients(name):
    model, x = WITH_BATCH_NORM[name], jax.random.normal(jax.random.key(1), (6, 16, 16, 3))
    present = jnp.array([True, False, True, True, True, False])
    variables = jax.jit(model.init)(jax.random.key(0), x)
    rows = np.flatnonzero(present)

    @jax.jit
    def run(x):
        def loss(params):
            tokens, updated = model.apply(
                {**variables, "params": params}, x, train=True, present=present, mutable=["batch_stats"]
            )
            return tokens.x[rows].sum(), (tokens.x[rows], updated)

        return jax.value_and_grad(loss, has_aux=True)(variables["params"])

    (_, (tokens, updated)), gradient = run(x)
    zeros, large = (x * jnp.where(present, 1, factor)[:, None, None, None] for factor in (0, 7))
    chex.assert_trees_all_equal(run(zeros), run(large), run(x))
    chex.assert_tree_all_finite((tokens, updated, gradient))
    changed = jax.tree.map(lambda a, b: bool((a != b).any()), variables["batch_stats"], updated["batch_stats"])
    assert all(jax.tree.leaves(changed))  # every layer was updated


@pytest.mark.parametrize(
    "model", [WITH_BATCH_NORM["vgg"], WITH_BATCH_NORM["bottleneck"], ViT(patch=8, width=8, depth=1, heads=2, hidden=8)]
)
def test_bfloat16_is_near_float32(model):
    x = jax.random.normal(jax.random.key(1), (2, 16, 16, 3))
    variables = jax.jit(model.init)(jax.random.key(0), x)
    full, half = (jax.jit(model.clone(dtype=dtype).apply)(variables, x).x for dtype in (jnp.float32, jnp.bfloat16))
    chex.assert_type(half, jnp.float32)
    chex.assert_trees_all_close(half, full, atol=0.05 * float(jnp.abs(full).max()))
