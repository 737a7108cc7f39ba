"""Corruptions of sounds, `Padded` samples Float[t] in [-1, 1]. The levels are ours; no published benchmark has all of them."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from mmjax.robust.corruptions.levels import Levels, Severity, at
from mmjax.types import Padded

__all__ = ["LostPackets", "LowPass", "LowRate", "MuLaw", "Reverberation", "WhiteNoise", "inverse_mdct", "mdct", "mu_law"]


@dataclass(frozen=True)
class WhiteNoise:
    """White Gaussian noise. levels: (signal-to-noise ratio in decibels,); the power of a clip is that of its valid samples."""

    levels: Levels = ((20.0,), (15.0,), (10.0,), (5.0,), (0.0,))

    def __call__(self, key: Key[Array, ""], x: Padded, severity: Severity) -> Padded:
        (decibels,) = at(self.levels, severity)
        deviation = jnp.sqrt(_power(x) * 10 ** (-decibels / 10))
        return x.replace(x=jnp.clip(x.x + deviation * jax.random.normal(key, x.x.shape), -1, 1))


@dataclass(frozen=True)
class MuLaw:
    """Logarithmic quantisation (ITU-T G.711, mu = 255, which has 8 bits). levels: (bits of a sample,)."""

    levels: Levels = ((8.0,), (6.0,), (5.0,), (4.0,), (3.0,))

    def __call__(self, key: Key[Array, ""], x: Padded, severity: Severity) -> Padded:
        del key
        (bits,) = at(self.levels, severity)
        return x.replace(x=mu_law(x.x, bits))


@dataclass(frozen=True)
class LowPass:
    """No frequencies above a cut-off, as after transmission at twice this sampling rate. levels: (cut-off in Hz,).

    rate: sampling rate (Hz).
    """

    levels: Levels = ((6000.0,), (4000.0,), (3000.0,), (2000.0,), (1000.0,))
    rate: int = 16_000

    def __call__(self, key: Key[Array, ""], x: Padded, severity: Severity) -> Padded:
        del key
        (cut,) = at(self.levels, severity)
        wave, size = _valid(x), x.x.shape[0]
        spectrum = jnp.fft.rfft(wave)
        kept = np.fft.rfftfreq(size, 1 / self.rate) <= cut
        return x.replace(x=jnp.clip(jnp.fft.irfft(jnp.where(kept, spectrum, 0), size), -1, 1).astype(x.x.dtype))


@dataclass(frozen=True)
class LowRate:
    """A transform codec at a low bit rate: only the largest coefficients of each frame are transmitted.

    Frames of the modified discrete cosine transform with a sine window (Princen and Bradley, 1986), as in MP3 and AAC. A
    coefficient costs 6 bits, so rate / 6 are kept per second, without a model of hearing or an entropy code; a real codec
    sounds better at the same rate. levels: (kilobits per second,). rate: sampling rate (Hz). hop: samples between frames.
    """

    levels: Levels = ((32.0,), (24.0,), (16.0,), (8.0,), (4.0,))
    rate: int = 16_000
    hop: int = 256

    def __call__(self, key: Key[Array, ""], x: Padded, severity: Severity) -> Padded:
        del key
        (kilobits,) = at(self.levels, severity)
        kept = jnp.clip(jnp.floor(kilobits * 1000 / 6 * self.hop / self.rate), 1, self.hop).astype(jnp.int32)
        found = mdct(_valid(x), self.hop)
        size = jnp.abs(found)
        least = jnp.sort(size, axis=1)[:, self.hop - kept][:, None]
        wave = inverse_mdct(jnp.where(size >= least, found, 0), x.x.shape[0])
        return x.replace(x=jnp.clip(wave, -1, 1).astype(x.x.dtype))


@dataclass(frozen=True)
class Reverberation:
    """Convolution with the response of a room: the direct sound, and noise that decays by 60 dB in the reverberation time
    (Polack, 1988). The clip keeps its length and its power. levels: (reverberation time in seconds, direct to reverberant ratio
    in decibels).

    rate: sampling rate (Hz).
    """

    levels: Levels = ((0.2, 6.0), (0.4, 3.0), (0.6, 0.0), (0.9, -3.0), (1.3, -6.0))
    rate: int = 16_000

    def __call__(self, key: Key[Array, ""], x: Padded, severity: Severity) -> Padded:
        seconds, ratio = at(self.levels, severity)
        size = min(x.x.shape[0], int(self.rate * max(level[0] for level in self.levels)))
        time = np.arange(size, dtype=np.float32) / self.rate
        tail = jax.random.normal(key, (size,)) * 10 ** (-3 * time / seconds) * (time > 0)
        tail = tail * jnp.sqrt(10 ** (-ratio / 10) / jnp.maximum(jnp.sum(tail * tail), 1e-12))
        wave, whole = _valid(x), x.x.shape[0] + size
        response = tail.at[0].set(1.0)
        wet = jnp.fft.irfft(jnp.fft.rfft(wave, whole) * jnp.fft.rfft(response, whole), whole)[: x.x.shape[0]]
        wet = x.replace(x=wet.astype(x.x.dtype))
        gain = jnp.sqrt(_power(x) / jnp.maximum(_power(wet), 1e-12))
        return x.replace(x=jnp.clip(wet.x * gain, -1, 1))


@dataclass(frozen=True)
class LostPackets:
    """Packets of samples are lost independently and heard as silence. levels: (share of the packets,).

    packet: samples of one; 320 are 20 ms at 16 kHz, as in telephony.
    """

    levels: Levels = ((0.05,), (0.1,), (0.2,), (0.3,), (0.4,))
    packet: int = 320

    def __call__(self, key: Key[Array, ""], x: Padded, severity: Severity) -> Padded:
        (rate,) = at(self.levels, severity)
        size = x.x.shape[0]
        lost = jax.random.uniform(key, (-(-size // self.packet),)) < rate
        return x.replace(x=jnp.where(jnp.repeat(lost, self.packet)[:size], 0, x.x))


def mu_law(wave: Float[Array, " t"], bits: Float[Array, ""] | float | int) -> Float[Array, " t"]:
    """The samples after companding with mu = 255, rounding to 2^bits levels, and expansion."""
    companded = jnp.sign(wave) * jnp.log1p(255 * jnp.abs(wave)) / np.log(256)
    steps = 2 ** jnp.asarray(bits, jnp.float32) - 1
    companded = jnp.round((companded + 1) / 2 * steps) / steps * 2 - 1
    return jnp.sign(companded) * jnp.expm1(jnp.abs(companded) * np.log(256)) / 255


def mdct(wave: Float[Array, " t"], hop: int) -> Float[Array, "n h"]:
    """The modified discrete cosine transform with a sine window: frames of 2 hop samples, one every hop -> hop coefficients."""
    frames = -(-wave.shape[0] // hop) + 1
    padded = jnp.pad(wave, (hop, frames * hop - wave.shape[0]))
    index = np.arange(frames)[:, None] * hop + np.arange(2 * hop)[None]
    return padded[index] * _window(hop)[None] @ _cosines(hop)


def inverse_mdct(coefficients: Float[Array, "n h"], size: int) -> Float[Array, " t"]:
    """The samples from which `mdct` computes these coefficients; `size` of them."""
    hop = coefficients.shape[1]
    windowed = coefficients @ _cosines(hop).T * (2 / hop) * _window(hop)[None]
    first, second = windowed[:, :hop], windowed[:, hop:]
    return (first[1:] + second[:-1]).reshape(-1)[:size]


def _window(hop: int) -> np.ndarray:
    return np.sin(np.pi / (2 * hop) * (np.arange(2 * hop) + 0.5)).astype(np.float32)


def _cosines(hop: int) -> np.ndarray:
    n, k = np.arange(2 * hop)[:, None], np.arange(hop)[None]
    return np.cos(np.pi / hop * (n + 0.5 + hop / 2) * (k + 0.5)).astype(np.float32)


def _mask(x: Padded) -> Bool[Array, " t"]:
    return jnp.arange(x.x.shape[0]) < x.length


def _valid(x: Padded) -> Float[Array, " t"]:
    return jnp.where(_mask(x), x.x, 0)


def _power(x: Padded) -> Float[Array, ""]:
    return jnp.sum(jnp.square(_valid(x))) / jnp.maximum(x.length, 1)
