"""Planted near-duplicates: altered copies of items of the set itself, on which thresholds are tuned."""

import io
import unicodedata

import numpy as np
from PIL import Image

from mmjax.data.build.audio_match import RATE
from mmjax.data.image import on_white

__all__ = ["pitch_shifted", "planted_images", "planted_sounds", "planted_texts"]


def planted_images(pixels: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """{kind: uint8 [h w c]}: recompressed (70 % of the size, JPEG of quality 40), cropped (85 % of each side), mirrored."""
    height, width = pixels.shape[:2]
    white = Image.fromarray(np.ascontiguousarray(on_white(pixels)[..., :3]))
    buffer = io.BytesIO()
    white.resize((max(8, int(width * 0.7)), max(8, int(height * 0.7)))).save(buffer, "JPEG", quality=40)
    rows, columns = max(1, int(height * 0.85)), max(1, int(width * 0.85))
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    return {
        "recompressed": np.array(Image.open(buffer).convert("RGB")),
        "cropped": pixels[top : top + rows, left : left + columns].copy(),
        "mirrored": np.ascontiguousarray(pixels[:, ::-1]),
    }


def planted_sounds(wave: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """{kind: float32 [t]} at 8 kHz: half the gain; an offset (0.3 s of faint noise before, 80 ms cut off); re-encoded (Vorbis
    of the lowest quality); pitch shifted by one or two semitones up or down, with the same duration."""
    noise = 1e-3 * rng.standard_normal(int(0.3 * RATE))
    semitones = float(rng.choice([-2, -1, 1, 2]))
    return {
        "gain": wave * np.float32(0.3),
        "offset": np.concatenate([noise, wave[int(0.08 * RATE) :]]).astype(np.float32),
        "re-encoded": _vorbis(wave),
        "pitch-shifted": pitch_shifted(wave, semitones),
    }


def _vorbis(wave: np.ndarray) -> np.ndarray:
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(wave, -1, 1), RATE, format="OGG", subtype="VORBIS", compression_level=0.9)
    buffer.seek(0)
    return soundfile.read(buffer, dtype="float32")[0]


def pitch_shifted(wave: np.ndarray, semitones: float) -> np.ndarray:
    """float32 [t] with the same duration and all frequencies multiplied by 2^(semitones / 12): a phase vocoder, then resampling
    (Flanagan and Golden, 1966)."""
    import soxr

    window, hop = 512, 64
    ratio = 2 ** (semitones / 12)
    padded = np.pad(wave, (window, 2 * window))
    index = np.arange(window) + hop * np.arange((len(padded) - window) // hop)[:, None]
    shape = np.hanning(window)
    spectrum = np.fft.rfft(padded[index] * shape, axis=-1)
    place = np.arange(0, len(spectrum) - 1, 1 / ratio)  # frames of the stretched signal
    low, part = place.astype(int), (place % 1)[:, None]
    magnitude = (1 - part) * np.abs(spectrum[low]) + part * np.abs(spectrum[low + 1])
    advance = np.angle(spectrum[low + 1] * np.conj(spectrum[low]))
    expected = 2 * np.pi * hop * np.arange(window // 2 + 1) / window
    advance = expected + (advance - expected + np.pi) % (2 * np.pi) - np.pi
    phase = np.angle(spectrum[0]) + np.concatenate([np.zeros((1, advance.shape[1])), np.cumsum(advance, axis=0)[:-1]])
    frames = np.fft.irfft(magnitude * np.exp(1j * phase), axis=-1) * shape
    stretched = np.zeros(hop * len(frames) + window)
    for k, frame in enumerate(frames):
        stretched[k * hop : k * hop + window] += frame * (hop / (shape**2).sum())
    shifted = soxr.resample(stretched, RATE * ratio, RATE)[window:]
    result = np.zeros(len(wave), np.float32)
    result[: len(shifted[: len(wave)])] = shifted[: len(wave)]
    return result


def planted_texts(text: str, rng: np.random.Generator) -> dict[str, str]:
    """{kind: text}: in capitals without punctuation; with one wrong letter; words in another order; one word left out and the
    first words replaced by a phrase, which is how far a paraphrase can go without a language model."""
    words = text.split()
    spoken = (c for c in text if c.isalnum() or c.isspace() or unicodedata.category(c)[0] == "M")  # marks are parts of letters
    at = int(rng.integers(max(1, len(text))))
    kept = [word for i, word in enumerate(words) if len(words) < 4 or i != len(words) // 2]
    return {
        "other case": "".join(spoken).upper(),
        "misspelt": text[:at] + "x" + text[at + 1 :],
        "reordered": " ".join(words[len(words) // 2 :] + words[: len(words) // 2]),
        "paraphrased": " ".join(["this", "shows", *kept]),
    }
