"""Log-mel frames against SciPy's periodogram and an independent filterbank."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.nn.mel import MFCC, LogMel, hz_to_mel, mel_to_hz
from mmjax.types import Padded

SMALL = LogMel(rate=8000, window=0.032, hop=0.01, bands=12, low=100.0, high=3500.0)  # window 256 samples, hop 80
LOG_STEP = 6.4 ** (1 / 27)  # Slaney's Auditory Toolbox: the factor per mel above 1 kHz


def slaney_hz(mel):
    """200/3 Hz per mel for the first 15 mels, then a factor of LOG_STEP per mel."""
    return 200 / 3 * mel if mel <= 15 else 1000 * LOG_STEP ** (mel - 15)


def slaney_mel(hz):
    return hz / (200 / 3) if hz <= 1000 else 15 + np.log(hz / 1000) / np.log(LOG_STEP)


def band_edges(mel):
    low, high = slaney_mel(mel.low), slaney_mel(mel.high)
    return [slaney_hz(low + (high - low) * k / (mel.bands + 1)) for k in range(mel.bands + 2)]


def triangle(hz, left, centre, right):
    """Height 2 / (right - left) at the centre, so that the area is 1."""
    return np.interp(hz, [left, centre, right], [0, 2 / (right - left), 0])


def independent(mel, wave):
    """The log-mel frames by SciPy's power spectral density of each window, integrated over the triangles.

    White noise of mean square 1 has density 2 / rate, which corresponds to energy 1.
    """
    signal = pytest.importorskip("scipy.signal")
    size, hop = round(mel.window * mel.rate), round(mel.hop * mel.rate)
    wave = np.pad(wave, (0, max(0, size - len(wave))))
    edges, frames = band_edges(mel), []
    for start in range(0, len(wave) - size + 1, hop):
        hz, density = signal.periodogram(wave[start : start + size], mel.rate, window="hann", detrend=False)
        energy = [np.sum(density * triangle(hz, *edges[b : b + 3])) * mel.rate / size for b in range(mel.bands)]
        frames.append(np.log(np.array(energy) * mel.rate / 2 + mel.floor))
    return np.array(frames)


@pytest.fixture(scope="module")
def log_mel():
    return jax.jit(SMALL.__call__)


def test_known_mels():
    """Slaney's two anchors (1 kHz is 15 mel, 6.4 kHz is 42), and 200 Hz = 3 mel."""
    np.testing.assert_allclose(hz_to_mel(np.array([0, 200, 1000, 6400])), [0, 3, 15, 42])
    np.testing.assert_allclose(mel_to_hz(np.array([0, 3, 15, 42])), [0, 200, 1000, 6400])
    hz = np.geomspace(20, 20_000, 50)
    np.testing.assert_allclose(hz_to_mel(hz), [slaney_mel(f) for f in hz])
    np.testing.assert_allclose(mel_to_hz(hz_to_mel(hz)), hz)


@pytest.mark.parametrize("mel", [LogMel(), SMALL], ids=["default", "small"])
def test_filters(mel):
    """Each filter is a triangle, and its sum over the bins approximates its integral, 1.

    The error of the trapezoid rule at a kink with slope change s is at most s h^2 / 8 for bins h apart. The two kinks at the
    edges add up to 2 / (right - left) (1 / rise + 1 / fall) = 2 / (rise fall), and the kink at the centre is minus that.
    """
    filters, edges = mel.filters(), band_edges(mel)
    width = mel.rate / mel.window_samples
    hz = np.arange(mel.window_samples // 2 + 1) * width
    assert filters.shape == (len(hz), mel.bands)
    for b, (left, centre, right) in enumerate(zip(edges, edges[1:], edges[2:])):
        np.testing.assert_allclose(filters[:, b], triangle(hz, left, centre, right), rtol=1e-4, atol=1e-8)
        bound = 2 / ((centre - left) * (right - centre)) * width**2 / 8
        assert bound < 0.1 and abs(filters[:, b].sum() * width - 1) < bound + 1e-5


def test_against_scipy(log_mel):
    rng = np.random.default_rng(0)
    wave = rng.normal(size=(2, 1000)).astype(np.float32) * [[0.3], [0.001]]
    ours = np.asarray(log_mel(wave.astype(np.float32)))
    theirs = np.array([independent(SMALL, w) for w in wave.astype(np.float32)])
    assert ours.shape == theirs.shape == (2, 10, 12)  # 1 + (1000 - 256) // 80
    np.testing.assert_allclose(ours, theirs, atol=2e-4)


def test_levels():
    """White noise of mean square 1 has energy 1 in each band, silence the floor; amplitude times ten adds log 100."""
    wave = np.random.default_rng(1).normal(size=(1, 8000 * 60)).astype(np.float32)
    x = np.asarray(SMALL(jnp.asarray(np.concatenate([wave, wave / 10, 0 * wave]))))
    energy = np.exp(x).mean(axis=1)
    np.testing.assert_allclose(energy[0], 1, atol=0.1)  # 1874 of 5997 frames do not overlap: standard deviation below 0.03
    np.testing.assert_allclose(x[0] - x[1], np.log(100), atol=1e-2)
    np.testing.assert_allclose(x[2], np.log(1e-6), rtol=1e-6)


def test_a_sine_peaks_in_its_band(log_mel):
    time = np.arange(1000) / SMALL.rate
    waves = [np.sin(2 * np.pi * centre * time) for centre in band_edges(SMALL)[1:-1]]
    for band in range(0, SMALL.bands - 1, 2):  # pairs, so that all tests share one compiled shape
        x = np.asarray(log_mel(np.array(waves[band : band + 2], np.float32)))
        assert (x[0].argmax(axis=-1) == band).all() and (x[1].argmax(axis=-1) == band + 1).all()


def test_jit_and_batching_change_nothing(log_mel):
    wave = np.random.default_rng(2).normal(size=(2, 1000)).astype(np.float32)
    together = np.asarray(log_mel(wave))
    np.testing.assert_allclose(np.asarray(SMALL(jnp.asarray(wave[1:])))[0], together[1], atol=1e-4)
    changed = wave.copy()
    changed[0, 80 * 4 :] = 0  # frame 0 covers samples 0..255, frame 1 80..335
    np.testing.assert_array_equal(np.asarray(log_mel(changed))[1], together[1])
    np.testing.assert_array_equal(np.asarray(log_mel(changed))[0, 0], together[0, 0])


@pytest.mark.parametrize(
    ("samples", "frames"), [(0, 1), (1, 1), (255, 1), (256, 1), (335, 1), (336, 2), (415, 2), (416, 3), (1000, 10)]
)
def test_frame_counts(samples, frames):
    """Windows of 256 samples every 80 samples: the second one needs 336."""
    assert SMALL.frames(samples) == frames


def test_sequence_lengths():
    """A frame counts if its whole window is inside the clip. A shorter clip has one frame, an empty clip none."""
    lengths = np.array([0, 1, 255, 256, 335, 336, 1000], np.int32)
    wave = Padded(np.zeros((7, 1000), np.float32), lengths)
    frames = jax.jit(SMALL.sequence)(wave)
    assert frames.x.shape == (7, 10, 12)
    assert np.asarray(frames.length).tolist() == [0, 1, 1, 1, 1, 2, 10]
    assert np.asarray(frames.mask).sum(axis=1).tolist() == [0, 1, 1, 1, 1, 2, 10]


def test_clips_shorter_than_a_window_are_padded_with_zeros():
    wave = np.random.default_rng(3).normal(size=100).astype(np.float32)
    x = np.asarray(SMALL(jnp.asarray(wave[None])))
    assert x.shape == (1, 1, 12)
    np.testing.assert_allclose(x[0], independent(SMALL, wave), atol=2e-4)


@pytest.mark.parametrize("edges", [{"low": -1.0}, {"low": 5000.0, "high": 4000.0}, {"high": 8001.0}])
def test_bands_out_of_range(edges):
    with pytest.raises(ValueError, match=r"LogMel\.low is .* Hz and LogMel\.high .* Hz; .*0 <= low < high <= rate / 2.*8000"):
        LogMel(**edges)


@pytest.mark.parametrize("hop", [0.0, -0.01, 0.05])
def test_hop_out_of_range(hop):
    with pytest.raises(ValueError, match=rf"LogMel\.hop is {hop} s; it must be .* at most LogMel\.window, 0\.04 s"):
        LogMel(hop=hop)


def test_mfcc_equals_scipys_cosine_transform_of_the_log_mel(log_mel):
    """Without a lifter, and with one: coefficient k times 1 + L / 2 sin(pi k / L)."""
    fft = pytest.importorskip("scipy.fft")
    wave = np.random.default_rng(4).normal(size=(2, 1000)).astype(np.float32)
    cosine = fft.dct(np.asarray(log_mel(wave)), type=2, norm="ortho", axis=-1)
    np.testing.assert_allclose(jax.jit(MFCC(SMALL, coefficients=7).__call__)(wave), cosine[..., :7], atol=1e-4)
    lift = 1 + 22 / 2 * np.sin(np.pi * np.arange(12) / 22)
    liftered = MFCC(SMALL, coefficients=12, lifter=22)
    np.testing.assert_allclose(jax.jit(liftered.__call__)(wave), cosine * lift, atol=1e-3)


def test_mfcc_sequence_has_the_frames_of_the_log_mel():
    mfcc = MFCC(SMALL, coefficients=5)
    assert (mfcc.rate, mfcc.frames(416)) == (8000, 3)
    wave = Padded(np.random.default_rng(5).normal(size=(3, 416)).astype(np.float32), np.array([416, 100, 0]))
    frames = jax.jit(mfcc.sequence)(wave)
    assert frames.x.shape == (3, 3, 5)
    assert np.asarray(frames.length).tolist() == [3, 1, 0]
    transform = mfcc.transform()
    np.testing.assert_allclose(transform.T @ transform, np.eye(5), atol=1e-6)
    unpadded = np.asarray(mfcc(jnp.asarray(wave.x[1:2, :100])))  # samples beyond the length count as zeros
    np.testing.assert_allclose(frames.x[1, :1], unpadded[0], atol=1e-4)


def test_mfcc_out_of_range():
    with pytest.raises(ValueError, match=r"MFCC\.coefficients is 13; .* at most the 12 bands"):
        MFCC(SMALL)
    with pytest.raises(ValueError, match=r"MFCC\.lifter is -1"):
        MFCC(SMALL, coefficients=5, lifter=-1)
