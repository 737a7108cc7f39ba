"""Audio preprocessing of published encoders, from the preprocessor_config.json beside their weights.

A recording is (samples, rate): one channel, float in [-1, 1] or int16, and its sampling rate in Hz. Any rate is resampled by
libsoxr to the rate of the encoder.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from mmjax.nn.mel import LogMel
from mmjax.nn.waveform import resample
from mmjax.pretrained.source import Source
from mmjax.types import Padded

__all__ = [
    "ASTPreprocessing", "Recording", "WaveformPreprocessing", "WhisperPreprocessing", "as_float", "at_rate", "pad_or_cut",
    "stack_waves",
]

Recording = tuple[np.ndarray, int]


def at_rate(recording: Recording, rate: int) -> np.ndarray:
    """The samples [t] at `rate` Hz: int16 if they were int16, otherwise float32. Raises ValueError for other inputs."""
    wave, given = recording
    if wave.ndim != 1 or not (wave.dtype == np.int16 or np.issubdtype(wave.dtype, np.floating)):
        raise ValueError(f"a recording must be one channel of float or int16 samples, not {wave.dtype} {list(wave.shape)}")
    if wave.dtype != np.int16 or given == rate:
        return wave if wave.dtype == np.int16 else resample(wave, given, rate)
    resampled = resample(wave.astype(np.float32), given, rate)
    return np.clip(np.round(resampled), -32768, 32767).astype(np.int16)


def pad_or_cut(wave: np.ndarray, samples: int) -> Padded:
    """The first `samples` of a waveform, padded with zeros: x [samples], length int32 []."""
    x = np.zeros(samples, wave.dtype)
    x[: len(wave)] = wave[:samples]
    return Padded(x, np.int32(min(len(wave), samples)))


def stack_waves(waves: list[Padded]) -> Padded:
    """Waveforms as one batch, float32 in [-1, 1], padded to the longest of them."""
    longest = max(len(wave.x) for wave in waves)
    arrays = [np.asarray(as_float(wave.x)) for wave in waves]
    x = np.stack([np.pad(array, (0, longest - len(array))) for array in arrays])
    return Padded(x, np.stack([wave.length for wave in waves]))


def as_float(x: Any) -> Any:
    """Float or int16 samples -> float32 in [-1, 1]."""
    return x / np.float32(32768) if x.dtype == np.int16 else x.astype(np.float32)


def _frames(x: Float[Array, "b t"], size: int, hop: int, count: int) -> Float[Array, "b n size"]:
    return x[:, np.arange(count)[:, None] * hop + np.arange(size)[None]]


def _power(frames: Float[Array, "b n size"], size: int) -> Float[Array, "b n bins"]:
    spectrum = jnp.fft.rfft(frames, size)
    return jnp.square(spectrum.real) + jnp.square(spectrum.imag)


@dataclass(frozen=True)
class WhisperPreprocessing:
    """Recordings -> log-mel frames of Whisper, 100 per second (Radford et al., 2023, section 2.2; transformers' constants).

    Windows of 25 ms are centred at multiples of 10 ms; the waveform is mirrored at its ends. The base-10 logarithm of the
    energy in Slaney's mel bands is clipped at 8 below the maximum of the clip and scaled to (x + 4) / 4.

    bands: 80, or 128 for large-v3. seconds: length to which recordings are cut or padded with silence; 30 in the original.
    attend_to_padding: whether padded frames count, as in the original; otherwise they lie beyond the length, and the encoder
    masks them. rate: Hz.
    """

    bands: int = 80
    seconds: float = 30.0
    attend_to_padding: bool = True
    rate: int = 16_000

    @staticmethod
    def of(source: Source) -> "WhisperPreprocessing":
        """From preprocessor_config.json; without the file, or for missing fields, with the values of the paper."""
        settings = source.preprocessing("feature_extractor")
        settings.require("n_fft", 400)
        settings.require("hop_length", 160)
        settings.require("sampling_rate", 16_000)
        settings.require("padding_value", 0.0)
        settings.require("dither", 0.0)
        settings.require("do_normalize", False, None)
        bands = source.integer("num_mel_bins")
        settings.require("feature_size", bands)
        return WhisperPreprocessing(bands, settings.positive("chunk_length", 30.0, maximum=3600))

    @property
    def samples(self) -> int:
        return round(self.seconds * self.rate)

    def read(self, recording: Recording) -> Padded:
        """One recording -> x [samples] as float32 or int16, length int32 []."""
        return pad_or_cut(at_rate(recording, self.rate), self.samples)

    def finish(self, batch: Padded) -> Padded:
        """Samples [b t] -> frames Float[b t / 160, bands]."""
        x = jnp.where(batch.mask, as_float(batch.x), 0)
        count = x.shape[1] // 160
        x = jnp.pad(x, ((0, 0), (200, 200)), mode="reflect")
        hann = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)).astype(np.float32)
        power = _power(_frames(x, 400, 160, count) * hann[None, None], 400)
        filters = LogMel(self.rate, 0.025, 0.01, self.bands, 0.0, 8000.0).filters()
        energy = jnp.log10(jnp.maximum(jnp.matmul(power, filters, precision=lax.Precision.HIGHEST), 1e-10))
        energy = jnp.maximum(energy, energy.max(axis=(1, 2), keepdims=True) - 8)
        valid = jnp.minimum(-(-batch.length // 160), count)
        return Padded((energy + 4) / 4, jnp.full_like(valid, count) if self.attend_to_padding else valid)

    def batch(self, recordings: Iterable[Recording]) -> Padded:
        """Recordings -> the encoder's input."""
        return self.finish(stack_waves([self.read(recording) for recording in recordings]))


@dataclass(frozen=True)
class ASTPreprocessing:
    """Recordings -> log-mel frames of the Audio Spectrogram Transformer, 100 per second: Kaldi's fbank as in transformers.

    Only complete windows of 25 ms are used. From each, the mean is subtracted; then follow pre-emphasis with 0.97, a Hann
    window, and the natural logarithm of the energy in triangular bands on Kaldi's mel scale from 20 Hz. Shorter recordings are
    padded with zero frames, and all frames are normalised to (x - mean) / (2 deviation).

    frames: number to which recordings are cut or padded. mean, deviation: of the training data; None for no normalisation.
    attend_to_padding: whether padded frames count, as in the original; otherwise they lie beyond the length. rate: Hz.
    """

    bands: int = 128
    frames: int = 1024
    mean: float | None = -4.2677393
    deviation: float | None = 4.5689974
    attend_to_padding: bool = True
    rate: int = 16_000

    @staticmethod
    def of(source: Source) -> "ASTPreprocessing | None":
        """From preprocessor_config.json; None without the file, since mean and deviation depend on the training data."""
        settings = source.preprocessing("feature_extractor")
        if not settings.config:
            return None
        settings.require("sampling_rate", 16_000)
        settings.require("num_mel_bins", source.integer("num_mel_bins"))
        settings.require("max_length", source.integer("max_length"))
        statistics = settings.number("mean", -4.2677393), settings.positive("std", 4.5689974)
        if not settings.flag("do_normalize", True):
            statistics = None, None
        return ASTPreprocessing(source.integer("num_mel_bins"), source.integer("max_length"), *statistics)

    @property
    def samples(self) -> int:
        return 400 + 160 * (self.frames - 1)

    @cached_property
    def filters(self) -> Float[np.ndarray, "bins bands"]:
        """The weight of each Fourier bin in each band: triangles of height 1 with equal sides in mel."""
        mel = lambda hz: 1127 * np.log1p(np.asarray(hz) / 700)
        edges = np.linspace(mel(20.0), mel(self.rate // 2), self.bands + 2)
        bins = mel(np.arange(257) * (self.rate / 512))[:, None]
        left, centre, right = edges[None, :-2], edges[None, 1:-1], edges[None, 2:]
        return np.maximum(0, np.minimum((bins - left) / (centre - left), (right - bins) / (right - centre))).astype(np.float32)

    def read(self, recording: Recording) -> Padded:
        """One recording -> x [samples] as float32 or int16, length int32 []."""
        return pad_or_cut(at_rate(recording, self.rate), self.samples)

    def finish(self, batch: Padded) -> Padded:
        """Samples [b samples] -> frames Float[b frames bands]."""
        x = _frames(jnp.where(batch.mask, as_float(batch.x), 0), 400, 160, self.frames)
        before = jnp.concatenate([x[..., :1], x[..., :-1]], axis=-1)
        # Equals (x - mean) - 0.97 (before - mean). The difference of neighbours is exact, so no large number is rounded.
        x = (x - before) + 0.03 * (before - x.mean(axis=-1, keepdims=True))
        hann = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 399)).astype(np.float32)
        power = jnp.matmul(_power(x * hann[None, None], 512), self.filters, precision=lax.Precision.HIGHEST)
        valid = jnp.maximum(0, 1 + (batch.length - 400) // 160)
        mask = jnp.arange(self.frames)[None] < valid[:, None]
        energy = jnp.where(mask[..., None], jnp.log(jnp.maximum(power, np.finfo(np.float32).eps)), 0)
        if self.mean is not None:
            energy = (energy - self.mean) / (2 * self.deviation)
        return Padded(energy, jnp.full_like(valid, self.frames) if self.attend_to_padding else valid)

    def batch(self, recordings: Iterable[Recording]) -> Padded:
        """Recordings -> the encoder's input."""
        return self.finish(stack_waves([self.read(recording) for recording in recordings]))


@dataclass(frozen=True)
class WaveformPreprocessing:
    """Recordings -> waveforms for wav2vec 2.0.

    normalize: whether each waveform gets zero mean and unit variance. seconds: length to which `read` cuts and pads; the
    original has no limit. rate: Hz.
    """

    normalize: bool = True
    seconds: float = 30.0
    rate: int = 16_000

    @staticmethod
    def of(source: Source) -> "WaveformPreprocessing | None":
        """From preprocessor_config.json; None without the file, since published models differ in `normalize`."""
        settings = source.preprocessing("feature_extractor")
        if not settings.config:
            return None
        settings.require("feature_size", 1)
        settings.require("padding_value", 0.0, 0)
        rate = settings.integer("sampling_rate", 16_000, maximum=1_000_000)
        return WaveformPreprocessing(settings.flag("do_normalize", True), rate=rate)

    def read(self, recording: Recording) -> Padded:
        """One recording -> x [seconds * rate] as float32 or int16, length int32 []."""
        return pad_or_cut(at_rate(recording, self.rate), round(self.seconds * self.rate))

    def finish(self, batch: Padded) -> Padded:
        """Samples [b t] -> Float[b t], with zeros beyond the length."""
        mask = batch.mask
        x = jnp.where(mask, as_float(batch.x), 0)
        if self.normalize:
            count = jnp.maximum(batch.length, 1)[:, None]
            x = jnp.where(mask, x - x.sum(axis=1, keepdims=True) / count, 0)
            x = x / jnp.sqrt(jnp.square(x).sum(axis=1, keepdims=True) / count + 1e-7)
        return Padded(x, batch.length)

    def batch(self, recordings: Iterable[Recording]) -> Padded:
        """Recordings, cut as by `read` and padded to the longest of them -> the encoder's input."""
        samples = round(self.seconds * self.rate)
        waves = [at_rate(recording, self.rate)[:samples] for recording in recordings]
        return self.finish(stack_waves([pad_or_cut(wave, len(wave)) for wave in waves]))
