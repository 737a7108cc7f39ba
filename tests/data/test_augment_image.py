"""Rotated, cropped, recoloured and mixed images against NumPy, SciPy and by hand."""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.data.augment import Colour, CutMix, MixUp, RandomCrop, Rotation
from mmjax.data.augment.image import bilinear, cropped, rotated
from mmjax.data.augment.mix import rectangle
from mmjax.types import Batch, Padded

B, H, W = 8, 7, 6


def random_image(h=H, w=W, c=4, seed=0):
    return np.random.default_rng(seed).normal(size=(h, w, c)).astype(np.float32)


def batch_of(image, label=None, present=None):
    b = len(image)
    present = np.ones(b, bool) if present is None else present
    label = np.arange(b) if label is None else label
    return Batch({"image": image}, {"image": present}, {"label": label}, np.ones(b, np.float32))


@lru_cache
def jitted(augment):
    return jax.jit(augment.__call__)


def images(augment, batch, seed=0):
    return np.asarray(jitted(augment)(batch, jax.random.key(seed)).inputs["image"])


def scipy_bilinear(image, row, column):
    ndimage = pytest.importorskip("scipy.ndimage")
    return np.stack([ndimage.map_coordinates(image[..., c], [row, column], order=1, mode="nearest") for c in range(4)], -1)


def test_bilinear_against_scipy():
    """Between pixels, on pixels, on the edge and far outside."""
    row, column = np.random.default_rng(1).uniform(-3, 9, (2, 5, 8)).astype(np.float32)
    row[0], column[1] = np.arange(8), np.array([0, 5, 5.5, -1, 3, 6, 2.5, 1])
    found = jax.jit(bilinear)(random_image(), row, column)
    np.testing.assert_allclose(np.asarray(found), scipy_bilinear(random_image(), row, column), atol=1e-5)


@pytest.mark.parametrize("quarters", [0, 1, 2, 3, -1])
def test_rotation_by_quarters(quarters):
    """As np.rot90, counter-clockwise; exactly the identity for no rotation."""
    square = random_image(w=H)
    found = np.asarray(jax.jit(rotated)(square, jnp.float32(quarters * np.pi / 2)))
    np.testing.assert_allclose(found, np.rot90(square, quarters), atol=1e-5)
    if quarters == 0:
        np.testing.assert_array_equal(found, square)


def test_rotation_against_scipy():
    """30 degrees, not square: the new pixel p is the old pixel at p rotated by -30 degrees."""
    angle = np.pi / 6
    y, x = np.mgrid[:H, :W] - np.array([(H - 1) / 2, (W - 1) / 2])[:, None, None]
    row = (H - 1) / 2 + np.cos(angle) * y + np.sin(angle) * x
    column = (W - 1) / 2 + np.cos(angle) * x - np.sin(angle) * y
    found = jax.jit(rotated)(random_image(), jnp.float32(angle))
    np.testing.assert_allclose(np.asarray(found), scipy_bilinear(random_image(), row, column), atol=1e-5)


def test_rotation_draws_angles():
    """The slope of a linear image shows the angle: all within 20 degrees, with both signs."""
    slope = np.broadcast_to(np.arange(9, dtype=np.float32)[None, None, :, None], (64, 9, 9, 1))
    turned = images(Rotation(20.0), batch_of(slope))[..., 0]
    # x -> cos x - sin y about the centre, so one step down changes the middle by -sin(angle).
    angle = np.rad2deg(np.arcsin(turned[:, 4, 4] - turned[:, 5, 4]))
    assert np.abs(angle).max() <= 20.01 and angle.min() < -15 and angle.max() > 15 and len(np.unique(angle)) == 64


def test_crop_of_everything_and_of_a_quarter():
    """The whole image is exactly the identity. In the lower right quarter, pixel (i, j) is row h/2 + (i + .5)/2 - .5."""
    one, zero, half = jnp.float32(1), jnp.float32(0), jnp.float32(0.5)
    np.testing.assert_array_equal(np.asarray(jax.jit(cropped)(random_image(), zero, zero, one, one)), random_image())
    row, column = np.meshgrid(H / 2 + (np.arange(H) + 0.5) / 2 - 0.5, W / 2 + (np.arange(W) + 0.5) / 2 - 0.5, indexing="ij")
    found = jax.jit(cropped)(random_image(), half, half, half, half)
    np.testing.assert_allclose(np.asarray(found), scipy_bilinear(random_image(), row, column), atol=1e-5)


def test_random_crop_areas_and_shapes():
    """Two linear channels show the height, width and position of each crop: within bounds, inside, and all different."""
    y, x = np.mgrid[:32, :32].astype(np.float32)
    crops = images(RandomCrop(0.4, ratio=1.5), batch_of(np.broadcast_to(np.stack([y, x], -1), (200, 32, 32, 2))))
    height, width = ((crops[:, 16, 16, c] - crops[:, 12, 12, c]) * 8 / 32 for c in range(2))  # four steps of the middle
    area, ratio = height * width, width / height
    assert 0.399 < area.min() < 0.45 and 0.9 < area.max() < 1.001
    assert 1 / 1.51 < ratio.min() < 0.75 and 1.33 < ratio.max() < 1.51
    assert crops.min() >= 0 and crops.max() <= 31 and (height < 1.001).all() and (width < 1.001).all()
    top = crops[:, 16, 16, 0] - 16.5 * height + 0.5  # the centre of pixel 16 is at 16.5 / 32 of the crop
    assert top.min() > -0.01 and (top + 32 * height).max() < 32.01 and top.std() > 1
    with pytest.raises(ValueError, match=r"RandomCrop.area is 0\.0"):
        RandomCrop(0.0)


def test_colour_by_hand():
    """Each change by itself is one offset or one factor per image. Alpha does not change."""
    x = np.stack([random_image(seed=seed) for seed in range(40)])
    bright = images(Colour(0.3, 0.0, 0.0), batch_of(x)) - x
    assert bright[..., 3].max() == bright[..., 3].min() == 0
    shift = bright[:, 0, 0, 0]
    np.testing.assert_allclose(bright[..., :3], np.broadcast_to(shift[:, None, None, None], x[..., :3].shape), atol=1e-5)
    assert np.abs(shift).max() <= 0.3 and shift.min() < -0.2 and shift.max() > 0.2

    colours, mean = x[..., :3], x[..., :3].mean(axis=(1, 2), keepdims=True)
    grey = colours.mean(axis=-1, keepdims=True)
    for augment, centre in ((Colour(0.0, 0.4, 0.0), mean), (Colour(0.0, 0.0, 0.4), grey)):
        changed = images(augment, batch_of(x))
        np.testing.assert_array_equal(changed[..., 3], x[..., 3])
        factor = ((changed[..., :3] - centre) * (colours - centre)).sum((1, 2, 3)) / ((colours - centre) ** 2).sum((1, 2, 3))
        expected = centre + factor[:, None, None, None] * (colours - centre)
        np.testing.assert_allclose(changed[..., :3], expected, atol=1e-5)
        assert 0.6 <= factor.min() < 0.75 and 1.25 < factor.max() <= 1.4


def test_contrast_of_z_scores():
    """Contrast commutes with z-scoring of channels for the same key."""
    x, mean, deviation = random_image()[None], np.array([0.3, -1, 2, 0], np.float32), np.array([0.5, 2, 0.1, 1], np.float32)
    z = (x - mean[None, None, None]) / deviation[None, None, None]
    contrast = Colour(0.0, 0.5, 0.0)
    back = images(contrast, batch_of(z)) * deviation[None, None, None] + mean[None, None, None]
    np.testing.assert_allclose(back, images(contrast, batch_of(x)), atol=1e-5)


def mixed_batch(absent=(), b=B):
    """Image i is constant, i + 1; its label is i."""
    present = np.array([i not in absent for i in range(b)])
    image = np.broadcast_to(np.arange(1, b + 1, dtype=np.float32)[:, None, None, None], (b, H, W, 2)).copy()
    image[list(absent)] = np.nan
    return batch_of(image, present=present)


def test_mixup_by_hand():
    """The label shows lambda and the partner; the image must be lambda x + (1 - lambda) x of the partner."""
    after = jitted(MixUp(B, 1.0))(mixed_batch(), jax.random.key(2))
    label, image = np.asarray(after.targets["label"]), np.asarray(after.inputs["image"])
    assert label.shape == (B, B) and label.dtype == np.float32
    np.testing.assert_allclose(label.sum(axis=1), 1, rtol=1e-6)
    share = np.diagonal(label)
    partner = np.where(label - np.diag(share) > 0, np.arange(B)[None], 0).max(axis=1)
    partner = np.where(share == 1, np.arange(B), partner)
    assert len(np.unique(partner)) == B  # a permutation
    expected = share * np.arange(1, B + 1) + (1 - share) * (partner + 1)
    np.testing.assert_allclose(image, np.broadcast_to(expected[:, None, None, None], image.shape), rtol=1e-5)
    assert len(np.unique(share)) >= B - 2 and (share < 1).sum() >= B - 3


def test_mixup_lambda_is_beta():
    """Beta(a, a) has mean 1/2 and variance 1 / (4 (2 a + 1)); over 500 examples, which may be their own partner."""
    alpha = 0.3
    batch = batch_of(np.ones((500, 1, 1, 1), np.float32))
    label = np.asarray(jax.jit(MixUp(500, alpha).__call__)(batch, jax.random.key(1)).targets["label"])
    share, variance = np.diagonal(label), 1 / (4 * (2 * alpha + 1))
    assert abs(share.mean() - 0.5) < 5 * np.sqrt(variance / 500) and abs(share.var() / variance - 1) < 0.25


@pytest.mark.parametrize("augment", [MixUp(B, 1.0), CutMix(B, 1.0)], ids=lambda a: type(a).__name__)
def test_absent_images_and_padding_are_not_mixed(augment):
    batch = mixed_batch(absent=(1, 4))
    batch = batch.replace(weight=batch.weight * (np.arange(B) != 6))
    for seed in range(4):
        after = jitted(augment)(batch, jax.random.key(seed))
        label, image = np.asarray(after.targets["label"]), np.asarray(after.inputs["image"])
        for i in (1, 4, 6):
            one_hot = np.arange(B) == i
            assert (label[i] == one_hot).all() and (label[:, i] == one_hot).all()
            np.testing.assert_array_equal(image[i], batch.inputs["image"][i])
        assert np.isfinite(image[[0, 2, 3, 5, 6, 7]]).all()


def test_mixup_of_two_modalities():
    """The same lambda for both, and only if both examples have both; other modalities and targets do not change."""
    batch = mixed_batch()
    x = np.arange(B, dtype=np.float32)[:, None]
    inputs = {**batch.inputs, "a": x, "b": x * 10, "tokens": Padded(np.zeros((B, 3), np.int32), np.ones(B, np.int32))}
    present = {"image": np.arange(B) != 3, "a": np.ones(B, bool), "b": np.arange(B) != 5, "tokens": np.ones(B, bool)}
    batch = batch.replace(inputs=inputs, present=present, targets={**batch.targets, "other": np.arange(B)})
    after = jax.jit(MixUp(B, 1.0, modalities=("a", "b")).__call__)(batch, jax.random.key(0))
    a, b, label = (np.asarray(leaf) for leaf in (after.inputs["a"], after.inputs["b"], after.targets["label"]))
    np.testing.assert_allclose(b, a * 10, rtol=1e-5)
    np.testing.assert_allclose(a[:, 0], label @ np.arange(B), rtol=1e-5, atol=1e-5)
    assert (label[5] == (np.arange(B) == 5)).all() and (label[:, 5] == (np.arange(B) == 5)).all() and label[3, 3] < 1
    np.testing.assert_array_equal(np.asarray(after.inputs["image"]), batch.inputs["image"])
    np.testing.assert_array_equal(np.asarray(after.targets["other"]), np.arange(B))
    with pytest.raises(ValueError, match="'tokens' cannot be mixed; its inputs must be arrays of floats"):
        jax.jit(MixUp(B, modalities=("tokens",)).__call__)(batch, jax.random.key(0))


def test_distributions_are_mixed():
    """From two classes each, some get more; all add up to 1."""
    label = np.asarray((jnp.eye(B) + jnp.eye(B)[::-1]) / 2)
    batch = mixed_batch().replace(targets={"label": label})
    after = np.asarray(jitted(CutMix(B, 1.0))(batch, jax.random.key(3)).targets["label"])
    np.testing.assert_allclose(after.sum(axis=1), 1, rtol=1e-5)
    assert (after >= 0).all() and ((after > 0).sum(axis=1) > 2).any()


def test_cutmix_by_hand():
    """The partner's pixels are one rectangle in each image; the label has the shares of pixels."""
    after = jitted(CutMix(B, 1.0))(mixed_batch(), jax.random.key(3))
    label, image = np.asarray(after.targets["label"]), np.asarray(after.inputs["image"])
    mixed = 0
    for i in range(B):
        assert (image[i, ..., 0] == image[i, ..., 1]).all() and set(np.unique(image[i]) - 1) <= {i, *np.flatnonzero(label[i])}
        cut = image[i, ..., 0] != i + 1
        np.testing.assert_allclose(label[i, i], 1 - cut.mean(), atol=1e-6)
        if cut.any():
            mixed += 1
            rows, columns = np.flatnonzero(cut.any(axis=1)), np.flatnonzero(cut.any(axis=0))
            assert cut[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
            partner = int(image[i, ..., 0][cut][0]) - 1
            np.testing.assert_allclose(label[i, partner], cut.mean(), atol=1e-6)
    assert mixed >= 3


def test_rectangle_sizes():
    """lambda 3/4 gives a quarter of the area, half of each side, unless clipped; lambda 1 gives nothing."""
    keys = jax.random.split(jax.random.key(0), 100)
    draw = jax.jit(jax.vmap(lambda key, share: rectangle(key, (16, 24), share), in_axes=(0, None)))
    quarter = np.asarray(draw(keys, jnp.float32(0.75)))
    heights, widths = quarter.any(axis=2).sum(axis=1), quarter.any(axis=1).sum(axis=1)
    assert heights.max() == 8 and widths.max() == 12 and heights.min() >= 4 and widths.min() >= 6
    assert ((heights == 8) & (widths == 12)).mean() > 0.1
    assert not np.asarray(draw(keys, jnp.float32(1))).any()
