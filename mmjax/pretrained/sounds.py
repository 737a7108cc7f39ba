"""Sounds -> what a published encoder heard in its training, by the preprocessor_config.json that comes with weights.

A sound is (samples, rate): one channel, float in [-1, 1] or int16, and its rate in Hz; any rate is resampled by libsoxr.
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

Sound = tuple[np.ndarray, int]


def at_rate(sound: Sound, rate: int) -> np.ndarray:
    """The samples at `rate` Hz, int16 where they were int16 and else float32. Raises ValueError for what is no sound."""
    wave, given = sound
    if wave.ndim != 1 or not (wave.dtype == np.int16 or np.issubdtype(wave.dtype, np.floating)):
        raise ValueError(f"a sound is one channel of float or int16, and this is {wave.dtype} {list(wave.shape)}")
    if wave.dtype != np.int16 or given == rate:
        return wave if wave.dtype == np.int16 else resample(wave, given, rate)
    heard = resample(wave.astype(np.float32), given, rate)
    return np.clip(np.round(heard), -32768, 32767).astype(np.int16)


def padded(wave: np.ndarray, samples: int) -> Padded:
    """The first `samples` of one sound with zeros after it: x [samples], length int32 []."""
    x = np.zeros(samples, wave.dtype)
    x[: len(wave)] = wave[:samples]
    return Padded(x, np.int32(min(len(wave), samples)))


def stacked(sounds: list[Padded]) -> Padded:
    """Sounds side by side as float32 in [-1, 1], padded to the longest of them."""
    longest = max(len(sound.x) for sound in sounds)
    waves = [np.asarray(as_float(sound.x)) for sound in sounds]
    x = np.stack([np.pad(wave, (0, longest - len(wave))) for wave in waves])
    return Padded(x, np.stack([sound.length for sound in sounds]))


def as_float(x: Any) -> Any:
    """float32 in [-1, 1] of float or int16 samples."""
    return x / np.float32(32768) if x.dtype == np.int16 else x.astype(np.float32)


def _frames(x: Float[Array, "b t"], size: int, hop: int, count: int) -> Float[Array, "b n size"]:
    return x[:, np.arange(count)[:, None] * hop + np.arange(size)[None]]


def _power(frames: Float[Array, "b n size"], size: int) -> Float[Array, "b n bins"]:
    spectrum = jnp.fft.rfft(frames, size)
    return jnp.square(spectrum.real) + jnp.square(spectrum.imag)


@dataclass(frozen=True)
class WhisperSound:
    """Sounds -> log-mel frames of Whisper, 100 a second (Radford et al., 2023, section 2.2; transformers' numbers).

    Windows of 25 ms around each multiple of 10 ms, the sound mirrored at its ends; the logarithm to base 10 of the energy in
    Slaney's bands, at most 8 below the loudest of the clip; then (x + 4) / 4.

    bands: 80, or 128 for large-v3. seconds: to which sounds are cut, and padded by silence; the original has 30. silence: its
    frames count, as in the original; else they are beyond the length, and the encoder does not use them. rate: Hz.
    """

    bands: int = 80
    seconds: float = 30.0
    silence: bool = True
    rate: int = 16_000

    @staticmethod
    def of(source: Source) -> "WhisperSound":
        """By preprocessor_config.json; what that lacks, and a folder without, has the values of the paper."""
        settings = source.preprocessing("feature_extractor")
        settings.must("n_fft", 400)
        settings.must("hop_length", 160)
        settings.must("sampling_rate", 16_000)
        settings.must("padding_value", 0.0)
        settings.must("dither", 0.0)
        settings.must("do_normalize", False, None)
        bands = source.size("num_mel_bins")
        settings.must("feature_size", bands)
        return WhisperSound(bands, settings.positive("chunk_length", 30.0))

    @property
    def samples(self) -> int:
        return round(self.seconds * self.rate)

    def read(self, sound: Sound) -> Padded:
        """One sound -> x [samples] as float32 or int16, length int32 []."""
        return padded(at_rate(sound, self.rate), self.samples)

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
        length = jnp.full_like(batch.length, count) if self.silence else jnp.minimum(-(-batch.length // 160), count)
        return Padded((energy + 4) / 4, length)

    def batch(self, sounds: Iterable[Sound]) -> Padded:
        """Sounds -> what the encoder takes."""
        return self.finish(stacked([self.read(sound) for sound in sounds]))


@dataclass(frozen=True)
class ASTSound:
    """Sounds -> log-mel frames of the Audio Spectrogram Transformer, 100 a second, as transformers computes Kaldi's fbank.

    Whole windows of 25 ms, their mean taken away, pre-emphasis 0.97, a Hann window, the natural logarithm of the energy in
    triangles on Kaldi's mel scale from 20 Hz; zero frames after a shorter sound; then (x - mean) / (2 deviation).

    bands; frames: to which sounds are cut and padded. mean, deviation: of the training data; None to leave frames as they are.
    silence: padded frames count, as in the original; else they are beyond the length. rate: Hz.
    """

    bands: int = 128
    frames: int = 1024
    mean: float | None = -4.2677393
    deviation: float | None = 4.5689974
    silence: bool = True
    rate: int = 16_000

    @staticmethod
    def of(source: Source) -> "ASTSound | None":
        """By preprocessor_config.json, None without: mean and deviation differ with the data."""
        settings = source.preprocessing("feature_extractor")
        if not settings.config:
            return None
        settings.must("sampling_rate", 16_000)
        settings.must("num_mel_bins", source.size("num_mel_bins"))
        settings.must("max_length", source.size("max_length"))
        statistics = settings.number("mean", -4.2677393), settings.positive("std", 4.5689974)
        if not settings.flag("do_normalize", True):
            statistics = None, None
        return ASTSound(source.size("num_mel_bins"), source.size("max_length"), *statistics)

    @property
    def samples(self) -> int:
        return 400 + 160 * (self.frames - 1)

    @cached_property
    def filters(self) -> Float[np.ndarray, "bins bands"]:
        """Weight of each Fourier bin in each band: triangles of height 1 with equal sides in mel."""
        mel = lambda hz: 1127 * np.log1p(np.asarray(hz) / 700)
        edges = np.linspace(mel(20.0), mel(self.rate // 2), self.bands + 2)
        bins = mel(np.arange(257) * (self.rate / 512))[:, None]
        left, centre, right = edges[None, :-2], edges[None, 1:-1], edges[None, 2:]
        return np.maximum(0, np.minimum((bins - left) / (centre - left), (right - bins) / (right - centre))).astype(np.float32)

    def read(self, sound: Sound) -> Padded:
        """One sound -> x [samples] as float32 or int16, length int32 []."""
        return padded(at_rate(sound, self.rate), self.samples)

    def finish(self, batch: Padded) -> Padded:
        """Samples [b samples] -> frames Float[b frames bands]."""
        x = _frames(jnp.where(batch.mask, as_float(batch.x), 0), 400, 160, self.frames)
        before = jnp.concatenate([x[..., :1], x[..., :-1]], axis=-1)
        # x - 0.97 before without the mean; of neighbours the difference is exact, and nothing large is rounded
        x = (x - before) + 0.03 * (before - x.mean(axis=-1, keepdims=True))
        hann = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 399)).astype(np.float32)
        power = jnp.matmul(_power(x * hann[None, None], 512), self.filters, precision=lax.Precision.HIGHEST)
        there = jnp.maximum(0, 1 + (batch.length - 400) // 160)
        real = jnp.arange(self.frames)[None] < there[:, None]
        energy = jnp.where(real[..., None], jnp.log(jnp.maximum(power, np.finfo(np.float32).eps)), 0)
        if self.mean is not None:
            energy = (energy - self.mean) / (2 * self.deviation)
        return Padded(energy, jnp.full_like(there, self.frames) if self.silence else there)

    def batch(self, sounds: Iterable[Sound]) -> Padded:
        """Sounds -> what the encoder takes."""
        return self.finish(stacked([self.read(sound) for sound in sounds]))


@dataclass(frozen=True)
class PlainSound:
    """Sounds -> their samples, of zero mean and unit variance if `normal` is, as wav 2vec 2.0 takes them.

    seconds: to which `read` cuts sounds, and pads; the original has no limit. rate: Hz.
    """

    normal: bool = True
    seconds: float = 30.0
    rate: int = 16_000

    @staticmethod
    def of(source: Source) -> "PlainSound | None":
        """By preprocessor_config.json, None without: whether samples are normalised differs."""
        settings = source.preprocessing("feature_extractor")
        if not settings.config:
            return None
        settings.must("feature_size", 1)
        settings.must("padding_value", 0.0, 0)
        return PlainSound(settings.flag("do_normalize", True), rate=settings.size("sampling_rate", 16_000))

    def read(self, sound: Sound) -> Padded:
        """One sound -> x [seconds * rate] as float32 or int16, length int32 []."""
        return padded(at_rate(sound, self.rate), round(self.seconds * self.rate))

    def finish(self, batch: Padded) -> Padded:
        """Samples -> Float[b t]; zeros beyond the length."""
        mask = batch.mask
        x = jnp.where(mask, as_float(batch.x), 0)
        if self.normal:
            count = jnp.maximum(batch.length, 1)[:, None]
            x = jnp.where(mask, x - x.sum(axis=1, keepdims=True) / count, 0)
            x = x / jnp.sqrt(jnp.square(x).sum(axis=1, keepdims=True) / count + 1e-7)
        return Padded(x, batch.length)

    def batch(self, sounds: Iterable[Sound]) -> Padded:
        """Sounds, cut as `read` cuts them and padded to the longest of them -> what the encoder takes."""
        most = round(self.seconds * self.rate)
        waves = [at_rate(sound, self.rate)[:most] for sound in sounds]
        return self.finish(stacked([padded(wave, len(wave)) for wave in waves]))
