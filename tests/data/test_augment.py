"""Augmentations: the identity at rate zero, correct by hand, and independent of how a batch is split."""

from dataclasses import dataclass
from functools import lru_cache, partial

import jax
import numpy as np
import pytest

from mmjax.data.augment import (
    Colour,
    CutMix,
    DropModalities,
    Flip,
    Gain,
    Jitter,
    MixUp,
    Noise,
    RandomCrop,
    Rotation,
    Scaling,
    Shift,
    SpecAugment,
)
from mmjax.data.dataset import Column, Dataset, Rows
from mmjax.data.feed import DeviceFeed, HostFeed, load_columns
from mmjax.shards import SHARD
from mmjax.types import Batch, Padded

B, H, W = 8, 5, 6


@dataclass(frozen=True)
class Chain:
    """Several augmentations in sequence, compiled together. own: the modalities that they change."""

    augments: tuple
    own: tuple[str, ...]

    def __call__(self, batch, key):
        for i, augment in enumerate(self.augments):
            batch = augment(batch, jax.random.fold_in(key, i))
        return batch


IMAGES = Chain((Shift(2), Flip(0.5), RandomCrop(0.3), Rotation(40.0), Colour(0.3, 0.3, 0.3)), ("image",))
WAVES = Chain((Gain(6.0, "wave"), Noise(0.7, (0.0, 20.0), "wave")), ("wave",))
SPECTRA = Chain((Jitter(0.1, "spectrum"), Scaling(0.1, "spectrum"), SpecAugment(2, 2, modality="spectrum")), ("spectrum",))
MIXES = Chain((MixUp(B, 0.7), CutMix(B, 0.7)), ("image",))
MODALITIES = Chain((DropModalities(0.5),), ())
CHAINS = {"images": IMAGES, "waves": WAVES, "spectra": SPECTRA, "mixes": MIXES, "modalities": MODALITIES}


def batch_of(b=B, seed=0):
    rng = np.random.default_rng(seed)
    inputs = {"image": rng.normal(size=(b, H, W, 4)).astype(np.float32), "text": np.arange(b * 3).reshape(b, 3)}
    present = {"image": rng.random(b) < 0.7, "text": rng.random(b) < 0.7, "audio": rng.random(b) < 0.7}
    inputs["audio"] = np.zeros((b, 1), np.float32)
    inputs["wave"] = Padded(rng.normal(size=(b, 9)).astype(np.float32), rng.integers(0, 10, b).astype(np.int32))
    inputs["spectrum"] = Padded(rng.normal(size=(b, 7, 4)).astype(np.float32), rng.integers(0, 8, b).astype(np.int32))
    present |= {"wave": np.ones(b, bool), "spectrum": np.ones(b, bool)}
    return Batch(inputs, present, {"label": np.arange(b)}, np.ones(b, np.float32))


@pytest.fixture(scope="module", params=CHAINS.values(), ids=CHAINS)
def augment(request):
    return request.param


@pytest.fixture(scope="module")
def whole(augment):
    """The augmentation of a whole batch on one device, compiled once for the tests below."""
    return jax.jit(augment.__call__)


def assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


OFF = [
    Shift(0), Flip(0.0), DropModalities(0.0), RandomCrop(1.0), Rotation(0.0), Colour(0.0, 0.0, 0.0), Gain(0.0), Noise(0.0),
    SpecAugment(0, 0), SpecAugment(band_masks=0, frame_masks=0), Jitter(0.0), Scaling(0.0), MixUp(3, 0.0), CutMix(3, 0.0),
]  # fmt: skip
WITHOUT = [Shift(2, "video"), Flip(0.5, "video"), Noise(modality="video"), Jitter(), CutMix(3, modality="video")]


@pytest.mark.parametrize("off", [*OFF, *WITHOUT, MixUp(3, modalities=("text", "video"))], ids=repr)
def test_identity_when_off(off):
    """At rate zero, or without the modality."""
    batch = batch_of()
    assert_same(off(batch, jax.random.key(0)), batch)


def test_split_over_devices(augment, whole):
    """Four devices with a quarter of the batch each draw the same as one device with the whole batch."""
    batch = batch_of()
    parts = jax.tree.map(lambda leaf: leaf.reshape(4, B // 4, *leaf.shape[1:]), batch)
    split = jax.pmap(augment.__call__, axis_name=SHARD, in_axes=(0, None))(parts, jax.random.key(3))
    split = jax.tree.map(lambda leaf: np.asarray(leaf).reshape(B, *leaf.shape[2:]), split)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-5), split, whole(batch, jax.random.key(3)))


def test_under_vmap_over_seeds(augment, whole):
    """Each seed gets the same as by itself, and seeds differ."""
    batch, keys = batch_of(), jax.random.split(jax.random.key(1), 2)
    together = jax.jit(jax.vmap(augment.__call__, in_axes=(None, 0)))(batch, keys)
    for seed in range(2):
        ours = jax.tree.map(lambda leaf, s=seed: np.asarray(leaf)[s], together)
        jax.tree.map(partial(np.testing.assert_allclose, atol=1e-5), ours, whole(batch, keys[seed]))
    changed = {name: together.inputs[name] for name in augment.own} or together.present
    assert any((np.asarray(leaf)[0] != np.asarray(leaf)[1]).any() for leaf in jax.tree.leaves(changed))


def test_nothing_else_changes(augment, whole):
    batch = batch_of()
    after = whole(batch, jax.random.key(0))
    assert_same(after.weight, batch.weight)
    if augment is not MIXES:
        assert_same(after.targets, batch.targets)
    if augment is not MODALITIES:
        assert_same(after.present, batch.present)
    for name, before in batch.inputs.items():
        if name not in augment.own:
            assert_same(after.inputs[name], before)
        elif isinstance(before, Padded):
            padding = ~np.asarray(before.mask)
            assert padding.any() and (np.asarray(after.inputs[name].x) == before.x)[padding].all()
            assert_same(after.inputs[name].length, before.length)


def copies_of(image, b=B):
    """The same image b times."""
    image = np.broadcast_to(image, (b, *image.shape))
    return Batch({"image": image}, {"image": np.ones(b, bool)}, {}, np.ones(b, np.float32))


def moved(image, down, right):
    """By hand: pixel (i, j) is the original pixel (i - down, j - right), or the nearest edge outside."""
    h, w, _ = image.shape
    rows = [[image[min(max(i - down, 0), h - 1), min(max(j - right, 0), w - 1)] for j in range(w)] for i in range(h)]
    return np.array(rows)


def test_shift_by_hand():
    """Each result is shifted by at most one pixel each way, and all nine shifts are about equally frequent."""
    image = np.arange(H * W * 2, dtype=np.float32).reshape(H, W, 2)
    n = 900
    images = np.asarray(jax.jit(Shift(1).__call__)(copies_of(image, n), jax.random.key(0)).inputs["image"])
    moves = {moved(image, down, right).tobytes(): 0 for down in (-1, 0, 1) for right in (-1, 0, 1)}
    assert len(moves) == 9
    for image in images:
        moves[image.tobytes()] += 1  # KeyError: no such move
    assert np.abs(np.array(list(moves.values())) - n / 9).max() < 5 * np.sqrt(n * 1 / 9 * 8 / 9)


def test_flip_by_hand():
    """At rate one, left becomes right; at a half, about half of the images are mirrored."""
    image = np.arange(H * W * 2, dtype=np.float32).reshape(H, W, 2)
    mirrored = np.array([[row[W - 1 - j] for j in range(W)] for row in image])
    assert (np.asarray(jax.jit(Flip(1.0).__call__)(copies_of(image), jax.random.key(0)).inputs["image"]) == mirrored).all()
    n = 400
    images = np.asarray(jax.jit(Flip(0.5).__call__)(copies_of(image, n), jax.random.key(0)).inputs["image"])
    flipped = (images == mirrored).all(axis=(1, 2, 3))
    assert (flipped | (images == image).all(axis=(1, 2, 3))).all()
    assert abs(flipped.sum() - n / 2) < 5 * np.sqrt(n / 4)


@lru_cache
def _drop(rate):
    return jax.jit(DropModalities(rate).__call__)


def dropped(rate, present, n=2000):
    """Bool[n modalities] after dropout, for n examples with the same modalities present."""
    names = [f"m{i}" for i in range(len(present))]
    batch = Batch({}, {name: np.full(n, there) for name, there in zip(names, present)}, {}, np.ones(n, np.float32))
    after = _drop(rate)(batch, jax.random.key(7)).present
    assert sorted(after) == names
    return np.stack([np.asarray(after[name]) for name in names], axis=1)


@pytest.mark.parametrize("rate", [0.3, 0.9])
def test_drop_modalities_frequency(rate):
    """Each of three present modalities remains with probability 1 - rate + rate^3, since all remain if all would go."""
    kept = dropped(rate, [True, True, True])
    p = 1 - rate + rate**3
    assert np.abs(kept.sum(axis=0) - 2000 * p).max() < 5 * np.sqrt(2000 * p * (1 - p))
    assert kept.any(axis=1).all()
    all_three = (1 - rate) ** 3 + rate**3  # independent draws: all remain, or all would go
    assert abs(kept.all(axis=1).sum() - 2000 * all_three) < 5 * np.sqrt(2000 * all_three * (1 - all_three))


def test_drop_modalities_keeps_the_last_and_adds_none():
    two = dropped(0.9, [True, False, True])
    assert not two[:, 1].any() and two.any(axis=1).all()
    assert 0 < (two.sum(axis=1) == 1).sum() < 2000
    one = dropped(0.9, [False, True, False])
    assert one[:, 1].all() and not one[:, [0, 2]].any()
    assert not dropped(0.9, [False, False, False]).any()


def test_both_feeds_give_the_same_augmented_batch():
    pytest.importorskip("grain")
    items = np.random.default_rng(0).normal(size=(6, H, W, 4)).astype(np.float32)
    columns = {"image": Column(6, lambda i: items[i], lambda x: x * 2)}
    rows = Rows({"image": np.array([5, 0, -1, 3, 2, 4], np.int32)}, {"label": np.arange(6)}, np.ones(6, np.float32))
    dataset = Dataset(columns, {"train": rows}, {}, "")
    index = np.array([4, 0, 1, 5])
    (streamed,) = HostFeed(dataset, rows, ["image"]).stream(lambda step: index, 0, 1)
    gathered = DeviceFeed(load_columns(dataset), rows)(index)
    step = jax.jit(Chain((Rotation(30.0), Flip(0.5)), ()).__call__)
    assert_same(step(streamed, jax.random.key(5)), step(gathered, jax.random.key(5)))
