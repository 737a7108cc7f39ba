"""Augmentations of sounds: waveforms, Padded [b t], and spectra, Padded [b n bands]. Padding does not change."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Key

from mmjax.data.augment.each import for_each_example, on_valid_steps
from mmjax.types import Batch

__all__ = ["Gain", "Noise", "SpecAugment", "stripes"]


@dataclass(frozen=True)
class Gain:
    """Amplifies or attenuates each waveform by up to `decibels`, drawn uniformly. Samples are not clipped to [-1, 1]."""

    decibels: float = 6.0
    modality: str = "audio"

    def __call__(self, batch: Batch, key: Key[Array, ""]) -> Batch:
        def change(key, wave):
            gain = jax.random.uniform(key, (), minval=-self.decibels, maxval=self.decibels)
            return wave * 10 ** (gain / 20)

        return for_each_example(on_valid_steps(change), batch, self.modality, key) if self.decibels else batch


@dataclass(frozen=True)
class Noise:
    """Adds white Gaussian noise to the samples of a waveform with probability `rate`.

    snr: the lowest and highest signal-to-noise ratio (decibels); the ratio is drawn uniformly between them. The power of a clip
    is the mean square of its samples without padding. Silence remains silent.
    """

    rate: float = 0.5
    snr: tuple[float, float] = (10.0, 30.0)
    modality: str = "audio"

    def __call__(self, batch: Batch, key: Key[Array, ""]) -> Batch:
        def change(key, wave):
            which, ratio, white = jax.random.split(key, 3)
            valid = jnp.arange(wave.x.shape[0]) < wave.length
            power = jnp.sum(jnp.square(jnp.where(valid, wave.x, 0))) / jnp.maximum(wave.length, 1)
            decibels = jax.random.uniform(ratio, (), minval=self.snr[0], maxval=self.snr[1])
            deviation = jnp.sqrt(power * 10 ** (-decibels / 10))
            noisy = wave.x + deviation * jax.random.normal(white, wave.x.shape)
            return wave.replace(x=jnp.where(valid & jax.random.bernoulli(which, self.rate), noisy, wave.x))

        return for_each_example(change, batch, self.modality, key) if self.rate else batch


@dataclass(frozen=True)
class SpecAugment:
    """SpecAugment without time warping (Park et al., 2019): sets bands and frames to 0, the mean of z-scored spectra.

    bands, frames: the largest width of a mask (F and T in the paper). Widths are drawn uniformly from 0 to the largest, and
    positions uniformly within all bands or within the clip's length. share: the largest share of a clip's frames in one mask
    (p in the paper). band_masks, frame_masks: the number of masks of each kind; they may overlap. modality: the name of the
    log-mel frames.
    """

    bands: int = 8
    frames: int = 10
    share: float = 0.5
    band_masks: int = 2
    frame_masks: int = 2
    modality: str = "audio"

    def __call__(self, batch: Batch, key: Key[Array, ""]) -> Batch:
        def change(key, spectrum):
            n, bands = spectrum.x.shape
            length, all_bands = jnp.asarray(spectrum.length), jnp.asarray(bands)
            max_frames = jnp.minimum(self.frames, jnp.floor(self.share * length).astype(length.dtype))
            max_bands = jnp.minimum(self.bands, all_bands)
            frame_key, band_key = jax.random.split(key)
            frame = stripes(jax.random.split(frame_key, self.frame_masks), n, max_frames, length)
            band = stripes(jax.random.split(band_key, self.band_masks), bands, max_bands, all_bands)
            valid = jnp.arange(n) < length
            return spectrum.replace(x=jnp.where(valid[:, None] & (frame[:, None] | band[None]), 0, spectrum.x))

        off = not (self.bands and self.band_masks) and not (self.frames and self.frame_masks)
        return batch if off else for_each_example(change, batch, self.modality, key)


def stripes(keys: Key[Array, " m"], size: int, max_width: Int[Array, ""], length: Int[Array, ""]) -> Bool[Array, " size"]:
    """The union of one random interval per key, of 0 to `max_width` positions within the first `length`."""

    def stripe(key):
        width_key, start_key = jax.random.split(key)
        width = jax.random.randint(width_key, (), 0, max_width + 1)
        start = jax.random.randint(start_key, (), 0, length - width + 1)
        position = jnp.arange(size)
        return (start <= position) & (position < start + width)

    return jax.vmap(stripe)(keys).any(axis=0)
