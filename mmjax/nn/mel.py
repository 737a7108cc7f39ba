"""Front ends of audio encoders: waveforms -> frames of log-mel energies or cepstral coefficients, inside `jit`."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mmjax.types import Padded

__all__ = ["MFCC", "LogMel", "hz_to_mel", "mel_to_hz"]


def hz_to_mel(hz: np.ndarray | float) -> np.ndarray:
    """Slaney's mel scale (Auditory Toolbox, 1998): 3 mel per 200 Hz up to 1 kHz, then 27 mel per factor of 6.4."""
    hz = np.asarray(hz, np.float64)
    return np.where(hz < 1000, hz * 3 / 200, 15 + 27 * np.log(np.maximum(hz, 1000) / 1000) / np.log(6.4))


def mel_to_hz(mel: np.ndarray | float) -> np.ndarray:
    """The inverse of `hz_to_mel`."""
    mel = np.asarray(mel, np.float64)
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((np.maximum(mel, 15) - 15) / 27 * np.log(6.4)))


@dataclass(frozen=True)
class LogMel:
    """Waveforms -> natural logarithms of mel band energies (Davis and Mermelstein, 1980; Slaney's bands, of equal area).

    rate: sampling rate (Hz). window, hop: length and distance of frames (seconds). bands: number of mel bands. low, high:
    edges of the lowest and the highest band (Hz). floor: added to the energy before the logarithm, dimensionless; white noise
    of mean square 1 has energy 1 in each band.

    Raises ValueError on construction if the fields do not fit together.
    """

    rate: int = 16_000
    window: float = 0.04
    hop: float = 0.03
    bands: int = 40
    low: float = 60.0
    high: float = 7_000.0
    floor: float = 1e-6

    def __post_init__(self):
        if not 0 <= self.low < self.high <= self.rate / 2:
            raise ValueError(
                f"LogMel.low is {self.low} Hz and LogMel.high {self.high} Hz; they must satisfy 0 <= low < high <= rate / 2, "
                f"which is {self.rate / 2} Hz"
            )
        if not 0 < self.hop <= self.window or self.hop_samples < 1:
            raise ValueError(
                f"LogMel.hop is {self.hop} s; it must be at least one sample and at most LogMel.window, {self.window} s"
            )
        if self.bands < 1 or self.floor <= 0:
            raise ValueError(f"LogMel.bands is {self.bands} and LogMel.floor {self.floor}; both must be positive")
        if not self.filters().any(axis=0).all():
            raise ValueError(
                f"LogMel.bands is {self.bands}; some bands contain no Fourier bin: use fewer bands or a longer LogMel.window"
            )

    @property
    def window_samples(self) -> int:
        return round(self.window * self.rate)

    @property
    def hop_samples(self) -> int:
        return round(self.hop * self.rate)

    def frames(self, samples: int) -> int:
        """The number of whole windows in that many samples; at least one, since shorter clips are padded with zeros."""
        return 1 + max(samples - self.window_samples, 0) // self.hop_samples

    def filters(self) -> Float[np.ndarray, "bins bands"]:
        """The weight of each Fourier bin in each band: triangles of unit area in Hz, each from centre to centre of its
        neighbours."""
        bins = np.fft.rfftfreq(self.window_samples, 1 / self.rate)
        edges = mel_to_hz(np.linspace(hz_to_mel(self.low), hz_to_mel(self.high), self.bands + 2))
        left, centre, right = edges[:-2], edges[1:-1], edges[2:]
        rise = (bins[:, None] - left[None]) / (centre - left)[None]
        fall = (right[None] - bins[:, None]) / (right - centre)[None]
        return (np.maximum(0, np.minimum(rise, fall)) * (2 / (right - left))[None]).astype(np.float32)

    def __call__(self, wave: Float[Array, "b t"]) -> Float[Array, "b n bands"]:
        """Samples in [-1, 1], [b t] -> log energies [b n bands]; frame j starts at sample j * hop_samples."""
        size = self.window_samples
        wave = jnp.pad(wave, ((0, 0), (0, max(0, size - wave.shape[1]))))
        start = np.arange(self.frames(wave.shape[1])) * self.hop_samples
        frames = wave[:, start[:, None] + np.arange(size)[None]]
        hann = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)).astype(np.float32)
        spectrum = jnp.fft.rfft(frames * hann[None, None])
        power = (jnp.square(spectrum.real) + jnp.square(spectrum.imag)) / np.sum(np.square(hann))
        return jnp.log(power @ (self.filters() * (self.rate / size)) + self.floor)  # rate / size: the width of a bin in Hz

    def sequence(self, wave: Padded) -> Padded:
        """Padded samples -> padded frames; an empty clip has no frames. Samples beyond the length count as zeros."""
        counts = 1 + jnp.maximum(wave.length - self.window_samples, 0) // self.hop_samples
        x = jnp.where(wave.mask, wave.x, jnp.zeros((), wave.x.dtype))
        return Padded(self(x), jnp.where(wave.length > 0, counts, 0))


@dataclass(frozen=True)
class MFCC:
    """Waveforms -> mel-frequency cepstral coefficients (Davis and Mermelstein, 1980): the first coefficients of the
    orthonormal DCT-II of the log-mel energies over the bands.

    mel: the log-mel front end. coefficients: their number, starting with coefficient 0, the sum of the log energies divided
    by sqrt(bands). lifter: L in the factor 1 + L/2 sin(pi k / L) of coefficient k (Juang et al., 1987); 0 for no liftering.

    Raises ValueError on construction if a field is out of range.
    """

    mel: LogMel = LogMel()
    coefficients: int = 13
    lifter: int = 0

    def __post_init__(self):
        if not 1 <= self.coefficients <= self.mel.bands:
            raise ValueError(
                f"MFCC.coefficients is {self.coefficients}; it must be at least 1 and at most the {self.mel.bands} bands"
            )
        if self.lifter < 0:
            raise ValueError(f"MFCC.lifter is {self.lifter}; it must be at least 0")

    @property
    def rate(self) -> int:
        """The sampling rate of the waveforms (Hz)."""
        return self.mel.rate

    def frames(self, samples: int) -> int:
        """The number of frames of that many samples."""
        return self.mel.frames(samples)

    def transform(self) -> Float[np.ndarray, "bands coefficients"]:
        """The cosine transform and the lifter as one matrix."""
        bands, k = self.mel.bands, np.arange(self.coefficients)
        cosines = np.cos(np.pi / bands * (np.arange(bands)[:, None] + 0.5) * k[None])
        scale = np.where(k == 0, np.sqrt(1 / bands), np.sqrt(2 / bands))
        lift = 1 + self.lifter / 2 * np.sin(np.pi * k / self.lifter) if self.lifter else np.ones(len(k))
        return (cosines * (scale * lift)[None]).astype(np.float32)

    def __call__(self, wave: Float[Array, "b t"]) -> Float[Array, "b n coefficients"]:
        """Samples in [-1, 1], [b t] -> coefficients [b n coefficients]."""
        return self.mel(wave) @ self.transform()

    def sequence(self, wave: Padded) -> Padded:
        """Padded samples -> padded frames; an empty clip has no frames."""
        frames = self.mel.sequence(wave)
        return frames.replace(x=frames.x @ self.transform())
