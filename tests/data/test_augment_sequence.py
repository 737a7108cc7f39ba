"""Gain, noise and masks of sounds, and noise of series: the right strength, and padding unchanged."""

import jax
import numpy as np
import pytest

from mmjax.data.augment import DropSteps, Gain, Jitter, Noise, Scaling, SpecAugment
from mmjax.nn.waveform import resample
from mmjax.robust.corrupt import Corrupt
from mmjax.types import Batch, Padded


def batch_of(x, length=None, modality="audio"):
    b = len(x)
    x = x if length is None else Padded(x, np.asarray(length, np.int32))
    return Batch({modality: x}, {modality: np.ones(b, bool)}, {}, np.ones(b, np.float32))


def augmented(augment, batch, seed=0):
    after = jax.jit(augment.__call__)(batch, jax.random.key(seed)).inputs[augment.modality]
    return np.asarray(after.x if isinstance(after, Padded) else after)


def test_gain():
    """One factor per clip, between 10^(-6/20) and 10^(6/20), uniform in decibels: about half are amplified."""
    x = np.random.default_rng(0).normal(size=(200, 5)).astype(np.float32)
    factor = augmented(Gain(6.0), batch_of(x, np.full(200, 5))) / x
    np.testing.assert_allclose(factor, np.broadcast_to(factor[:, :1], factor.shape), rtol=1e-5)
    decibels = 20 * np.log10(factor[:, 0])
    assert np.abs(decibels).max() <= 6.001 and np.abs(decibels).max() > 5.5
    assert abs(decibels.mean()) < 5 * 6 / np.sqrt(3 * 200)


def test_noise_has_the_given_power():
    """At 20 dB, the noise has a hundredth of the power of the clip's samples, and padding has none."""
    rng = np.random.default_rng(0)
    x, length = (3 * rng.normal(size=(6, 4000))).astype(np.float32), np.array([4000, 2000, 3000, 0, 4000, 2500])
    noise = augmented(Noise(1.0, (20.0, 20.0)), batch_of(x, length)) - x
    real = np.arange(4000)[None] < length[:, None]
    assert (noise[~real] == 0).all()
    for i in (0, 1, 2, 4, 5):
        ratio = (noise[i, : length[i]] ** 2).mean() / (x[i, : length[i]] ** 2).mean()
        assert abs(ratio / 0.01 - 1) < 5 * np.sqrt(2 / length[i])  # the mean of n squared normals has variance 2 / n
        assert abs(noise[i, : length[i]].mean()) < 5 * 0.3 / np.sqrt(length[i])


def test_noise_rate_and_range():
    """About half of the clips, each with its own level between 10 and 30 dB; silence remains silent."""
    x = np.random.default_rng(0).normal(size=(200, 300)).astype(np.float32)
    x[0] = 0
    noise = augmented(Noise(0.5, (10.0, 30.0)), batch_of(x, np.full(200, 300))) - x
    changed = noise.any(axis=1)
    assert abs(changed.sum() - 100) < 5 * np.sqrt(50) and not changed[0]
    decibels = -10 * np.log10((noise[changed] ** 2).mean(axis=1) / (x[changed] ** 2).mean(axis=1))
    assert 9 < decibels.min() < 14 and 26 < decibels.max() < 31


LENGTHS = np.array([20, 9, 4, 1, 0] * 60)


def masked(augment, seed=0, bands=12):
    x = np.ones((len(LENGTHS), 20, bands), np.float32)
    after = augmented(augment, batch_of(x, LENGTHS), seed)
    assert set(np.unique(after)) <= {0, 1} and (after[np.arange(20)[None] >= LENGTHS[:, None]] == 1).all()
    return after == 0


def test_spec_augment_masks_frames_within_the_length():
    """One contiguous mask of 0 to 6 frames and at most half of the clip, at any position."""
    frames = masked(SpecAugment(bands=0, frames=6, share=0.5, frame_masks=1))
    assert (frames.all(axis=2) == frames.any(axis=2)).all()
    for length in (20, 9, 4, 1, 0):
        rows = frames[length == LENGTHS][:, :length, 0]
        widths, most = rows.sum(axis=1), min(6, length // 2)
        assert widths.max(initial=0) == most and (most == 0 or set(widths.tolist()) == set(range(most + 1)))
        assert (np.abs(np.diff(np.pad(rows, ((0, 0), (1, 1))).astype(int), axis=1)).sum(axis=1) <= 2).all()  # contiguous
        assert most == 0 or rows.any(axis=0).all()


def test_spec_augment_masks_bands():
    """One mask of 0 to 5 bands over all frames of the clip; two masks cover at most ten."""
    bands = masked(SpecAugment(bands=5, frames=0, band_masks=1))
    long = bands[LENGTHS == 20]
    assert (long.all(axis=1) == long.any(axis=1)).all()
    widths = long[:, 0].sum(axis=1)
    assert set(widths.tolist()) == set(range(6)) and long[:, 0].any(axis=0).all()
    two = masked(SpecAugment(bands=99, frames=0, band_masks=2), bands=3)[LENGTHS == 20][:, 0].sum(axis=1)
    assert set(two.tolist()) == set(range(4))


def test_jitter_and_scaling():
    """Noise of deviation 0.1 on every value; one factor of deviation 0.2 per channel."""
    x = np.random.default_rng(0).normal(size=(40, 50, 3)).astype(np.float32)
    length = np.arange(40) + 5
    real = np.arange(50)[None] < length[:, None]
    for series in (batch_of(x, modality="series"), batch_of(x, length, "series")):
        there = real if isinstance(series.inputs["series"], Padded) else np.ones_like(real)
        noise = (augmented(Jitter(0.1), series) - x)[there]
        assert abs(noise.std() / 0.1 - 1) < 5 / np.sqrt(2 * noise.size) and abs(noise.mean()) < 5 * 0.1 / np.sqrt(noise.size)
        factor = augmented(Scaling(0.2), series) / x
        assert (factor[~there] == 1).all()
        for one, steps in zip(factor, there):
            np.testing.assert_allclose(one[steps], np.broadcast_to(one[:1], one[steps].shape), rtol=1e-4)
        first = factor[:, 0]
        assert abs(first.mean() - 1) < 5 * 0.2 / np.sqrt(first.size) and abs(first.std() / 0.2 - 1) < 0.35


def test_resample_a_tone():
    """440 Hz at 44.1 kHz remains 440 Hz at 16 kHz; 10 kHz, above half of the new rate, is removed."""
    pytest.importorskip("soxr")
    t, new = np.arange(44100) / 44100, np.arange(16000) / 16000
    low = resample(np.sin(2 * np.pi * 440 * t), 44100, 16000)
    assert low.shape == (16000,) and low.dtype == np.float32
    np.testing.assert_allclose(low[500:-500], np.sin(2 * np.pi * 440 * new)[500:-500], atol=1e-3)
    assert np.abs(resample(np.sin(2 * np.pi * 10_000 * t), 44100, 16000)[500:-500]).max() < 1e-3
    np.testing.assert_array_equal(resample(low, 16000, 16000), low)
    with pytest.raises(ValueError, match="the rates are 0 and 16000 Hz"):
        resample(low, 0, 16000)


def test_drop_steps_keeps_the_order_of_what_remains():
    """Each step holds its own number, so what remains must be increasing; a quarter of them are removed."""
    steps, b = 40, 200
    x = np.broadcast_to(np.arange(1, steps + 1, dtype=np.float32)[None, :, None], (b, steps, 2))
    length = np.full(b, steps, np.int32)
    length[:3] = (1, 0, 7)
    after = jax.jit(DropSteps(0.25).__call__)(batch_of(x, length, "video"), jax.random.key(0)).inputs["video"]
    kept = np.asarray(after.length)
    assert kept[0] == 1 and kept[1] == 0 and kept[2] <= 7
    for row, count in zip(np.asarray(after.x), kept):
        assert (np.diff(row[:count, 0]) > 0).all() and (row[count:] == 0).all()
    assert abs(kept[3:].mean() / steps - 0.75) < 5 * np.sqrt(0.75 * 0.25 / (steps * b))
    few = DropSteps(0.9)(batch_of(x[:50], length[3:53] * 0 + 1, "video"), jax.random.key(1)).inputs["video"]
    assert (np.asarray(few.length) == 1).all() and (np.asarray(few.x)[:, 0] == 1).all()
    with pytest.raises(ValueError, match=r"DropSteps.modality: 'audio' has no length"):
        DropSteps(0.5, "audio")(batch_of(x), jax.random.key(0))
    with pytest.raises(ValueError, match=r"DropSteps.rate is 1.0"):
        DropSteps(1.0)


def test_corrupt_applies_an_augmentation_to_test_inputs():
    x = batch_of(np.ones((4, 6, 2), np.float32), [6, 6, 6, 6], "video")
    changed, again = (Corrupt(DropSteps(0.5))(lambda batch: None, x, jax.random.key(3)) for _ in range(2))
    np.testing.assert_array_equal(changed.inputs["video"].length, again.inputs["video"].length)
    expected = DropSteps(0.5)(x, jax.random.key(3)).inputs["video"].length
    np.testing.assert_array_equal(changed.inputs["video"].length, expected)
    assert np.asarray(expected).min() < 6
