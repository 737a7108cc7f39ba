"""Sounds: waveforms are a Sequence with x [b t], spectra a Sequence with x [b n bands]. Padding stays as it is."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Key

from mmjax.data.augment.each import each, real_steps
from mmjax.types import Batch


@dataclass(frozen=True)
class Gain:
    """Makes each waveform up to `decibels` louder or softer, drawn uniformly. Not clipped: samples may leave [-1, 1]."""

    decibels: float = 6.0
    modality: str = "audio"

    def __call__(self, batch: Batch, key: Key[Array, ""]) -> Batch:
        def one(key, wave):
            louder = jax.random.uniform(key, (), minval=-self.decibels, maxval=self.decibels)
            return wave * 10 ** (louder / 20)

        return each(real_steps(one), batch, self.modality, key) if self.decibels else batch


@dataclass(frozen=True)
class Noise:
    """White Gaussian noise over the real samples of a waveform with probability `rate`.

    snr: lowest and highest ratio of the powers of signal and noise (decibels), drawn uniformly; a clip's power is the mean
    square of its real samples. Silence stays silent.
    """

    rate: float = 0.5
    snr: tuple[float, float] = (10.0, 30.0)
    modality: str = "audio"

    def __call__(self, batch: Batch, key: Key[Array, ""]) -> Batch:
        def one(key, wave):
            which, ratio, white = jax.random.split(key, 3)
            real = jnp.arange(wave.x.shape[0]) < wave.length
            power = jnp.sum(jnp.square(jnp.where(real, wave.x, 0))) / jnp.maximum(wave.length, 1)
            decibels = jax.random.uniform(ratio, (), minval=self.snr[0], maxval=self.snr[1])
            deviation = jnp.sqrt(power * 10 ** (-decibels / 10))
            noisy = wave.x + deviation * jax.random.normal(white, wave.x.shape)
            return wave.replace(x=jnp.where(real & jax.random.bernoulli(which, self.rate), noisy, wave.x))

        return each(one, batch, self.modality, key) if self.rate else batch


@dataclass(frozen=True)
class SpecAugment:
    """Masks of bands and of frames, set to 0, which is the mean of z-scored spectra (Park et al., 2019; without time warping).

    bands, frames: the widest mask (their F and T); each is 0 up to that many wide, drawn uniformly, and lies anywhere in the
    spectrum, or in the real length of the clip. share: of a clip's frames that one mask may cover at most (their p).
    band_masks, frame_masks: how many of each; they may overlap.
    """

    bands: int = 8
    frames: int = 10
    share: float = 0.5
    band_masks: int = 2
    frame_masks: int = 2
    modality: str = "audio"

    def __call__(self, batch: Batch, key: Key[Array, ""]) -> Batch:
        def one(key, spectrum):
            n, bands = spectrum.x.shape
            length, bands_there = jnp.asarray(spectrum.length), jnp.asarray(bands)
            most_frames = jnp.minimum(self.frames, jnp.floor(self.share * length).astype(length.dtype))
            most_bands = jnp.minimum(self.bands, bands_there)
            frame_key, band_key = jax.random.split(key)
            frame = stripes(jax.random.split(frame_key, self.frame_masks), n, most_frames, length)
            band = stripes(jax.random.split(band_key, self.band_masks), bands, most_bands, bands_there)
            real = jnp.arange(n) < length
            return spectrum.replace(x=jnp.where(real[:, None] & (frame[:, None] | band[None]), 0, spectrum.x))

        off = not (self.bands and self.band_masks) and not (self.frames and self.frame_masks)
        return batch if off else each(one, batch, self.modality, key)


def stripes(keys: Key[Array, " m"], size: int, widest: Int[Array, ""], length: Int[Array, ""]) -> Bool[Array, " size"]:
    """True on 0 up to `widest` places in a row, for each key, somewhere in the first `length`, which are no fewer."""

    def stripe(key):
        width_key, start_key = jax.random.split(key)
        width = jax.random.randint(width_key, (), 0, widest + 1)
        start = jax.random.randint(start_key, (), 0, length - width + 1)
        place = jnp.arange(size)
        return (start <= place) & (place < start + width)

    return jax.vmap(stripe)(keys).any(axis=0)
