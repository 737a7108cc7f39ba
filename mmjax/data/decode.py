"""Bytes of one image, recording or text -> arrays and strings. Every error names the file and the expected content."""

import io
from collections.abc import Collection

import numpy as np
from PIL import Image, UnidentifiedImageError


class DataError(ValueError):
    """Data are missing, damaged or not as described. The message names the file or field, and states valid values."""


def decode_image(data: bytes, name: str) -> np.ndarray:
    """Decodes PNG, JPEG or another format that Pillow reads.

    data: the encoded file. name: its name in errors. Returns uint8: RGB with straight alpha (h, w, 4), 255 opaque, or
    (h, w, 3) if the file has no transparency.
    Raises DataError for empty, truncated or unreadable data.
    """
    if not data:
        raise DataError(f"{name}: the image file is empty; it should be a complete PNG or JPEG")
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()  # open() reads only the header, so it accepts truncated files
            return np.array(image.convert("RGBA" if image.has_transparency_data else "RGB"))
    except UnidentifiedImageError as error:
        raise DataError(f"{name}: Pillow does not know this format; it should be a PNG or JPEG") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{name}: the image is truncated or damaged ({error}); it should be a complete file") from error


def decode_audio(data: bytes, name: str, rate: int = 16_000) -> np.ndarray:
    """Decodes MP3, Ogg, FLAC or WAV to one channel at `rate` Hz.

    data: the encoded file. name: its name in errors. rate: the sample rate of the result in Hz. Channels are averaged.
    Returns float32 (t,) in [-1, 1].
    Raises DataError for data that cannot be decoded, has no samples or non-finite ones; ValueError for a rate below 1.
    """
    if rate < 1:
        raise ValueError(f"rate is {rate} Hz, but it must be at least 1")
    try:
        import soundfile
        import soxr
    except ImportError as error:
        raise ImportError("decoding audio needs soundfile and soxr: pip install 'mmjax[audio]'") from error
    if not data:
        raise DataError(f"{name}: the audio file is empty; it should be a complete MP3, Ogg, FLAC or WAV")
    try:
        wave, source_rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise DataError(f"{name}: the audio cannot be decoded ({error}); it should be MP3, Ogg, FLAC or WAV") from error
    if len(wave) == 0:
        raise DataError(f"{name}: the audio has no samples; it should have at least one")
    if not np.isfinite(wave).all():
        raise DataError(f"{name}: the audio has samples that are not finite; all should be numbers in [-1, 1]")
    mono = wave.mean(axis=1)
    if source_rate != rate:
        mono = soxr.resample(mono, source_rate, rate, quality="VHQ")
        if len(mono) == 0:
            raise DataError(f"{name}: the audio is too short for one sample at {rate} Hz; it should last longer")
    return np.clip(mono, -1, 1).astype(np.float32)  # lossy codecs and filters exceed the full scale slightly


def audio_seconds(data: bytes, name: str) -> float:
    """The duration of a recording in seconds, from its headers. Raises DataError if it cannot be decoded."""
    try:
        import soundfile
    except ImportError as error:
        raise ImportError("decoding audio needs soundfile and soxr: pip install 'mmjax[audio]'") from error
    try:
        return float(soundfile.info(io.BytesIO(data)).duration)
    except soundfile.LibsndfileError as error:
        raise DataError(f"{name}: the audio cannot be decoded ({error}); it should be MP3, Ogg, FLAC or WAV") from error


def decode_text(data: bytes, name: str) -> str:
    """Decodes UTF-8, with or without a byte-order mark, strictly. Raises DataError, which names the first invalid byte."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: byte {error.start} is 0x{data[error.start]:02x}, which is not UTF-8; "
                        "the text should be saved as UTF-8") from error


def check_language(code: str, known: Collection[str], name: str) -> str:
    """Returns `code` if it is one of `known`; else raises DataError, which names the file and the known codes."""
    if code not in known:
        raise DataError(f"{name}: unknown language {code!r}; it should be one of {', '.join(sorted(known))}")
    return code
