"""Audio preprocessing equals that of transformers' feature extractors, on 100 varied recordings."""

import jax
import numpy as np
import pytest
import soxr

from mmjax.pretrained import WeightsError
from mmjax.pretrained.audio import ASTPreprocessing, WaveformPreprocessing, WhisperPreprocessing
from mmjax.pretrained.source import Source
from mmjax.types import Padded

pytestmark = pytest.mark.parity
RATES = [16_000, 8000, 44_100, 22_050]


def recordings(shortest=1, longest=3.0):
    """Silence, single samples, noise, chirps, clipping, low levels, offsets; short and long, at four rates."""
    rng = np.random.default_rng(0)
    result = []
    for number in range(100):
        rate = RATES[number % 4]
        smallest = -(-shortest * rate // 16_000) + 1
        size = int(rng.uniform(0.03, longest) * rate) if number >= 12 else max(smallest, (0, 399, 480)[number % 3])
        time = np.arange(size) / rate
        chirp = np.sin(2 * np.pi * (50 + rng.uniform(0, 1500) * time) * time)
        noise = rng.normal(size=size)
        wave = {
            0: np.zeros(size),
            1: chirp,
            2: 0.1 * noise,
            3: np.clip(4 * chirp, -1, 1),
            4: 1e-3 * chirp + 1e-5 * noise,
            5: 0.3 + 0.2 * chirp,
            6: np.where(time < 0.05, noise, 0),
            7: np.round(0.5 * chirp * 32767) / 32768,
        }[number * 3 % 8 if number >= 12 else number % 8]
        result.append((wave.astype(np.float32), rate))
    assert len(result) == 100 and {rate for _, rate in result} == set(RATES)
    return result


def at_16_khz(recording):
    wave, rate = recording
    return wave if rate == 16_000 else soxr.resample(wave, rate, 16_000, quality="VHQ")


def folder_of(extractor, tmp_path):
    extractor.save_pretrained(tmp_path)
    return tmp_path


def assert_close(ours, theirs, number, rounding=0):
    """rounding: the resolution of float32, added to the tolerance of 1e-4 of the largest value."""
    assert ours.shape == theirs.shape
    worst = np.abs(ours - theirs) / (1e-4 * max(np.abs(theirs).max(), 1) + rounding)
    assert worst.max() <= 1, f"recording {number}: {worst.max()} times the tolerance at {np.argmax(worst)}"


@pytest.mark.parametrize(("bands", "seconds"), [(80, 30.0), (128, 2.0)])
def test_whisper(bands, seconds, tmp_path):
    """Ten recordings at 30 s, since the original is slow, one of them of 31 s; all hundred at 2 s."""
    from transformers import WhisperFeatureExtractor

    theirs = WhisperFeatureExtractor(feature_size=bands, chunk_length=int(seconds))
    ours = WhisperPreprocessing.of(Source("here", {"num_mel_bins": bands}, {}, folder_of(theirs, tmp_path)))
    assert ours == WhisperPreprocessing(bands, seconds)
    given = recordings()
    if seconds == 30:
        rng = np.random.default_rng(1)
        given = [*given[:9], (rng.normal(size=31 * 16_000).astype(np.float32), 16_000)]
    finish = jax.jit(ours.finish)
    for number, recording in enumerate(given):
        read = ours.read(recording)
        frames = finish(Padded(read.x[None], read.length[None]))
        wave = at_16_khz(recording)
        expected = theirs(wave, sampling_rate=16_000, return_attention_mask=True, return_tensors="np")
        assert_close(frames.x[0], expected["input_features"][0].T, number)
        assert int(frames.length[0]) == round(100 * seconds)
        assert min(round(100 * seconds), -(-len(wave) // 160)) == int(expected["attention_mask"].sum())


def test_whisper_with_masked_padding():
    """The frames are the same; the length is that of transformers' attention mask. int16 equals float times 32768."""
    wave = np.round(3000 * np.random.default_rng(0).normal(size=8001)).astype(np.int16)
    padded, masked = WhisperPreprocessing(seconds=1.0), WhisperPreprocessing(seconds=1.0, attend_to_padding=False)
    both = [padded.batch([(wave, 16_000)]), masked.batch([(wave / np.float32(32768), 16_000)])]
    np.testing.assert_allclose(both[0].x, both[1].x, atol=1e-6)
    assert [int(frames.length[0]) for frames in both] == [100, 51]
    assert padded.read((wave, 16_000)).x.dtype == np.int16


@pytest.mark.filterwarnings("ignore:At least one mel filter has all zero values")
@pytest.mark.parametrize(("bands", "frames", "normal"), [(128, 1024, True), (64, 200, True), (40, 90, False)])
def test_ast(bands, frames, normal, tmp_path):
    """The original's NumPy version, without torchaudio. It fails for less than one window of 400 samples.

    It computes in float64. Our float32 Fourier transform has an error of about 5e-8 of the frame's largest amplitude. The error
    of a log energy is thus 2 x 5e-8 / (relative amplitude): 1e-5 for an energy of 1e-4 of the largest.
    """
    from transformers import ASTFeatureExtractor

    theirs = ASTFeatureExtractor(num_mel_bins=bands, max_length=frames, do_normalize=normal, mean=-3.5, std=4.0)
    config = {"num_mel_bins": bands, "max_length": frames}
    ours = ASTPreprocessing.of(Source("here", config, {}, folder_of(theirs, tmp_path)))
    finish = jax.jit(ours.finish)
    given = recordings(shortest=400) if frames < 1024 else recordings(shortest=400, longest=12.0)[:30]
    for number, recording in enumerate(given):
        read = ours.read(recording)
        found = finish(Padded(read.x[None], read.length[None]))
        expected = theirs(at_16_khz(recording), sampling_rate=16_000, return_tensors="np")["input_values"][0]
        scale = 2 * 4.0 if normal else 1
        below = (expected - expected.max(axis=1, keepdims=True)) * scale
        assert_close(found.x[0], expected, number, 2 * 5e-8 / np.exp(below / 2) / scale)
    assert int(found.length[0]) == frames


def test_ast_with_masked_padding():
    """880 samples give 1 + (880 - 400) / 160 = 4 windows. 399 samples give none; all frames are normalised zeros."""
    noise = np.random.default_rng(0).normal(size=880).astype(np.float32)
    frames = ASTPreprocessing(bands=20, frames=6, attend_to_padding=False).batch([(noise, 16_000), (noise[:399], 16_000)])
    np.testing.assert_array_equal(frames.length, [4, 0])
    np.testing.assert_allclose(frames.x[1], 4.2677393 / (2 * 4.5689974), rtol=1e-6)


@pytest.mark.parametrize("normal", [True, False])
def test_wav2vec2(normal, tmp_path):
    """In batches of ten, padded to the longest; our lengths equal the sums of the attention mask."""
    from transformers import Wav2Vec2FeatureExtractor

    theirs = Wav2Vec2FeatureExtractor(do_normalize=normal, return_attention_mask=True)
    ours = WaveformPreprocessing.of(Source("here", {}, {}, folder_of(theirs, tmp_path)))
    assert ours == WaveformPreprocessing(normal)
    given = recordings()
    for first in range(0, 100, 10):
        part = given[first : first + 10]
        found = ours.batch(part)
        waves = [at_16_khz(recording) for recording in part]
        expected = theirs(waves, padding=True, sampling_rate=16_000, return_tensors="np")
        assert_close(np.asarray(found.x), expected["input_values"], first)
        np.testing.assert_array_equal(found.length, expected["attention_mask"].sum(-1))
    read = WaveformPreprocessing(normal, seconds=0.5).read(given[20])
    assert read.x.shape == (8000,) and read.length == min(8000, len(at_16_khz(given[20])))


@pytest.mark.parametrize(
    ("kind", "settings", "named"),
    [
        (WhisperPreprocessing, '{"n_fft": 512}', "n_fft = 512"),
        (WhisperPreprocessing, '{"feature_size": 128}', "feature_size = 128"),
        (ASTPreprocessing, '{"max_length": 99}', "max_length = 99"),
        (WaveformPreprocessing, '{"padding_value": 1.0}', "padding_value = 1.0"),
    ],
)
def test_unsupported_settings_are_named(kind, settings, named, tmp_path):
    (tmp_path / "preprocessor_config.json").write_text(settings)
    with pytest.raises(WeightsError, match=named):
        kind.of(Source("here", {"num_mel_bins": 80, "max_length": 1024}, {}, tmp_path))


def test_invalid_recordings():
    with pytest.raises(ValueError, match="one channel"):
        WhisperPreprocessing().read((np.zeros((2, 100), np.float32), 16_000))
    with pytest.raises(ValueError, match="int64"):
        WaveformPreprocessing().read((np.zeros(100, np.int64), 16_000))
