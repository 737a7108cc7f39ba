"""Small media and items for the tests of the build, made from seeds."""

import io

import numpy as np
import soundfile
from PIL import Image

from mmjax.data.build.items import Item, Part

RATE = 8000


def drawing(seed: int, side: int = 48) -> np.ndarray:
    """uint8 [side side 3]: smooth coloured blobs, different for every seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))


def encoded(pixels: np.ndarray, form: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **options)
    return buffer.getvalue()


def melody(seed: int, seconds: float = 1.2) -> np.ndarray:
    """float32 [t] at 8 kHz: eight notes with three harmonics."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * RATE / 8)) / RATE
    notes = [
        sum(np.sin(2 * np.pi * f * k * t) / k for k in (1, 2, 3)) * np.hanning(len(t)) * a
        for f, a in zip(150 * 2 ** rng.uniform(0, 2, 8), rng.uniform(0.2, 1, 8))
    ]
    return (0.3 * np.concatenate(notes)).astype(np.float32)


def sound(wave: np.ndarray, form: str = "WAV", rate: int = RATE, **options) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, rate, format=form, **options)
    return buffer.getvalue()


def item(name: str, columns: dict[str, str] | None = None, **content: bytes | str) -> Item:
    """An item whose modalities image, audio and text have these contents."""
    suffix = {"image": ".png", "audio": ".wav", "text": ""}
    parts = {
        kind: Part(kind, f"{name}{suffix[kind]}", data.encode() if isinstance(data, str) else data)
        for kind, data in content.items()
    }
    return Item(name, parts, columns or {})
