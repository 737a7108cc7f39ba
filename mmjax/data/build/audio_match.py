"""Near-duplicate recordings: another gain, offset, encoding or pitch.

A recording becomes a spectrogram with bands of a semitone, in which gain is a constant, an offset a shift in time and a pitch
shift one in frequency. The magnitude of its two-dimensional Fourier transform ignores both shifts (Seetharaman and Rafii, 2017)
and gives candidates; a candidate's score is the largest correlation of the two spectrograms over shifts.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np

from mmjax.data.build.nearest import Candidates, Pairs, best_pairs, nearest, pairs_between_groups, unit

__all__ = [
    "BANDS", "FILTERS", "FLOOR", "HOP", "LOWEST", "MAX_FRAMES", "MODULATIONS", "NEIGHBOURS", "PITCH", "RANGE_DB", "RATE",
    "WINDOW", "audio_duplicates", "audio_pairs", "correlation", "descriptor", "spectrogram",
]  # fmt: skip

RATE = 8_000  # Hz
WINDOW, HOP = 512, 160  # samples: 64 ms resolve the harmonics of speech
LOWEST = 110.0  # Hz
BANDS = 60  # semitones, to 3.5 kHz
RANGE_DB = 50.0  # below the loudest band
MAX_FRAMES = 1_500  # 30 s; the rest of a longer recording is not compared
MODULATIONS = 32  # coefficients over time of a descriptor, to about 6 Hz
PITCH = 4  # largest pitch shift in semitones
NEIGHBOURS = 6  # candidates per recording and round of the search
FLOOR = 0.3  # cosine of a candidate


def spectrogram(wave: np.ndarray) -> np.ndarray:
    """float32 [t] at 8 kHz -> float32 [frames 60]: dB, limited to 50 dB, without each band's mean; quiet ends are removed."""
    frames = 1 + max(0, len(wave) - WINDOW) // HOP
    padded = np.pad(wave, (0, max(0, WINDOW - len(wave))))
    index = np.arange(WINDOW) + HOP * np.arange(min(frames, MAX_FRAMES * 2))[:, None]
    power = np.abs(np.fft.rfft(padded[index] * np.hanning(WINDOW), axis=-1)) ** 2
    db = 10 * np.log10(np.maximum(power @ FILTERS, 1e-12))
    db = np.maximum(db - db.max(), -RANGE_DB)
    loud = np.flatnonzero(db.max(axis=1) > -RANGE_DB * 0.8)
    db = db[loud[0] : loud[-1] + 1][:MAX_FRAMES]
    return (db - db.mean(axis=0)).astype(np.float32)


def _filters() -> np.ndarray:
    """[bins bands]: triangles over log frequency, each at least two bins wide."""
    hz = np.fft.rfftfreq(WINDOW, 1 / RATE)
    centre = LOWEST * 2 ** (np.arange(BANDS) / 12)
    width = np.maximum(centre * (2 ** (1 / 12) - 1), RATE / WINDOW)
    triangle = np.maximum(0, 1 - np.abs(hz[:, None] - centre) / width)
    return triangle / triangle.sum(axis=0)


FILTERS = _filters()


def descriptor(spectrum: np.ndarray) -> np.ndarray:
    """float32 [frames bands] -> unit float32 [d]: magnitudes of slow modulations, which shifts do not change."""
    frames = 1 << int(np.ceil(np.log2(MAX_FRAMES)))  # the same modulation frequencies for every length
    padded = np.zeros((frames, 2 * BANDS), np.float32)
    padded[: len(spectrum), :BANDS] = spectrum
    magnitude = np.abs(np.fft.rfft2(padded.T).T)  # [modulations 2 * bands]
    step = int(6.4 / MODULATIONS / (RATE / HOP / frames))
    slow = magnitude[: MODULATIONS * step].reshape(MODULATIONS, step, -1).mean(axis=1)
    return unit(np.sqrt(slow).ravel() - np.sqrt(slow).mean())


def audio_pairs(queries: Sequence[np.ndarray], keys: Sequence[np.ndarray]) -> Pairs:
    """Scored pairs of spectrograms and their nearest keys.

    score: the largest correlation over shifts in time and of at most four semitones, 1 for equal recordings.
    """
    if not queries or not keys:
        return Pairs(np.zeros((0, 2), np.int64), np.zeros(0))
    found = nearest(_descriptors(queries), _descriptors(keys), NEIGHBOURS, FLOOR)
    return best_pairs(found.query, found.key, _scores(queries, keys, found), same=False)


def audio_duplicates(spectra: Sequence[np.ndarray], threshold: float, known: np.ndarray) -> Pairs:
    """Scored pairs (i < j) among the spectrograms; see `pairs_between_groups` for threshold and known."""
    if not spectra:
        return Pairs(np.zeros((0, 2), np.int64), np.zeros(0))
    return pairs_between_groups(_descriptors(spectra), partial(_scores, spectra, spectra), threshold, known, NEIGHBOURS, FLOOR)


def _descriptors(spectra: Sequence[np.ndarray]) -> np.ndarray:
    """float32 [n 1 d]: a recording has one variant."""
    return np.stack([descriptor(one) for one in spectra])[:, None]


def _scores(queries: Sequence[np.ndarray], keys: Sequence[np.ndarray], found: Candidates) -> np.ndarray:
    return np.array([correlation(queries[i], keys[j]) for i, j in zip(found.query.tolist(), found.key.tolist())])


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """The largest normalised correlation of two spectrograms [frames bands] over shifts; frames without a partner count 0."""
    frames = 1 << int(np.ceil(np.log2(len(a) + len(b))))
    shape = (frames, BANDS + PITCH)
    product = np.fft.irfft2(np.fft.rfft2(a, shape) * np.conj(np.fft.rfft2(b, shape)), shape)
    near = np.concatenate([product[:, : PITCH + 1], product[:, -PITCH:]], axis=1)
    return float(near.max() / max(float(np.linalg.norm(a)) * float(np.linalg.norm(b)), 1e-9))
