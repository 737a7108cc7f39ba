"""Bytes of one image, recording or text -> arrays and strings. Every error names the file and the expected content.

Files may be hostile: only a few formats are read, and the size that a header declares is checked before it is allocated.
"""

import io
import struct
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

__all__ = [
    "AUDIO_FORMATS", "AUDIO_STARTS", "IMAGE_FORMATS", "MAX_PIXELS", "MAX_SAMPLES", "DataError", "audio_seconds",
    "check_language", "decode_audio", "decode_image", "decode_text", "open_image", "pixels",
]

IMAGE_FORMATS = {
    b"\x89PNG\r\n\x1a\n": PngImageFile,
    b"\xff\xd8\xff": JpegImageFile,
    b"RIFF": WebPImageFile,
    b"GIF8": GifImageFile,
    b"BM": BmpImageFile,
}
"""The first bytes of a file -> Pillow's reader. Pillow has readers for 40 more formats, which are not used."""
AUDIO_FORMATS = ("WAV", "WAVEX", "RF64", "FLAC", "OGG", "MPEG", "MP3")
AUDIO_STARTS = (b"RIFF", b"RF64", b"fLaC", b"OggS", b"ID3", *(bytes((0xFF, byte)) for byte in range(0xE0, 0x100)))
"""The first bytes of these formats. libsndfile would search other data for an MP3, and write of its search to stderr."""
MAX_PIXELS = 40_000_000
"""A decoded image takes at most 480 MB while it is converted."""
MAX_SAMPLES = 60_000_000
"""Of all channels, before and after resampling: an hour of one channel at 16 kHz, 240 MB."""


class DataError(ValueError):
    """Data are missing, damaged or not as described. The message names the file or field, and states valid values."""


def decode_image(data: bytes, name: str) -> np.ndarray:
    """Decodes PNG, JPEG, WebP, GIF (its first frame) or BMP.

    data: the encoded file. name: its name in errors. Returns uint8: RGB with straight alpha (h, w, 4), 255 opaque, or
    (h, w, 3) if the file has no transparency. Grey of 16 bits is scaled to 8 bits. Raises the errors of `open_image`.
    """
    return _opened_image(data, name, pixels)


def open_image(data: bytes, name: str) -> Image.Image:
    """As `decode_image`, as a loaded Pillow image of the file's mode, whose pixels are not copied.

    Raises DataError for empty, truncated or unreadable data, for other formats, and for more than `MAX_PIXELS` pixels.
    """
    return _opened_image(data, name, lambda image: image)


def _opened_image(data: bytes, name: str, finish: Callable[[Image.Image], Any]) -> Any:
    if not data:
        raise DataError(f"{name}: the image file is empty; it should be a complete PNG or JPEG")
    read = next((read for magic, read in IMAGE_FORMATS.items() if data.startswith(magic)), None)
    if read is None or (read is WebPImageFile and data[8:12] != b"WEBP"):
        raise DataError(f"{name}: the format is not known; it should be PNG, JPEG, WebP, GIF or BMP")
    try:
        if read is WebPImageFile:
            _check_pixels(_webp_size(data), name)  # its reader allocates the canvas when it is opened
        with read(io.BytesIO(data)) as image:
            _check_pixels(image.size, name)
            image.load()  # the reader has read only the header, so it accepts truncated files
            return finish(image)
    except DataError:
        raise
    except MemoryError as error:
        raise DataError(f"{name}: there is not enough memory for the image") from error
    except Exception as error:  # Pillow raises many classes for damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{name}: the image is truncated or damaged ({reason}); it should be a complete file") from error


def _check_pixels(size: tuple[int, int], name: str) -> None:
    if size[0] * size[1] > MAX_PIXELS:
        raise DataError(f"{name}: the image has {size[0]} x {size[1]} pixels; it should have at most {MAX_PIXELS:,}")


def _webp_size(data: bytes) -> tuple[int, int]:
    """(width, height) of a WebP file (RFC 9649, sections 2.5 to 2.7). Raises struct.error if the header is truncated."""
    kind = data[12:16]
    if kind == b"VP8X":
        low_x, high_x, low_y, high_y = struct.unpack_from("<HBHB", data, 24)
        return 1 + low_x + (high_x << 16), 1 + low_y + (high_y << 16)
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


def pixels(image: Image.Image) -> np.ndarray:
    """A loaded image -> uint8 [h w 3], or [h w 4] if it has transparency."""
    if image.mode.startswith("I;16"):
        grey = np.asarray(image)
        channels = [_eight_bits(grey)] * 3
        if "transparency" in image.info:  # the grey value that is transparent
            channels.append(np.where(grey == image.info["transparency"], 0, 255).astype(np.uint8))
        return np.stack(channels, axis=-1)
    mode = "RGBA" if image.has_transparency_data else "RGB"
    return np.array(image if image.mode == mode else image.convert(mode))


def _eight_bits(grey: np.ndarray) -> np.ndarray:
    """Integers from 0 to 65535 -> the nearest of 256 levels, uint8."""
    return ((grey.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


def decode_audio(data: bytes, name: str, rate: int = 16_000) -> np.ndarray:
    """Decodes MP3, Ogg, FLAC or WAV to one channel at `rate` Hz.

    data: the encoded file. name: its name in errors. rate: the sample rate of the result in Hz. Channels are averaged.
    Returns float32 (t,) in [-1, 1].
    Raises DataError for data that cannot be decoded, has no samples or non-finite ones, or more than `MAX_SAMPLES`; ValueError
    for a rate below 1.
    """
    if rate < 1:
        raise ValueError(f"rate is {rate} Hz, but it must be at least 1")
    soundfile = _soundfile()
    import soxr

    try:
        with _opened(soundfile, data, name) as file:
            source_rate = file.samplerate
            if max(file.frames * file.channels, file.frames * rate / source_rate) > MAX_SAMPLES:
                raise DataError(
                    f"{name}: the audio has {file.frames} x {file.channels} samples at {source_rate} Hz; it should have at "
                    f"most {MAX_SAMPLES:,}, also at {rate} Hz"
                )
            wave = file.read(dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        raise _undecodable(name, error) from error
    if len(wave) == 0:
        raise DataError(f"{name}: the audio has no samples; it should have at least one")
    if not np.isfinite(wave).all():
        raise DataError(f"{name}: the audio has samples that are not finite; all should be numbers in [-1, 1]")
    mono = wave.mean(axis=1) if wave.shape[1] > 1 else wave[:, 0]
    if source_rate != rate:
        mono = soxr.resample(mono, source_rate, rate, quality="VHQ")
        if len(mono) == 0:
            raise DataError(f"{name}: the audio is too short for one sample at {rate} Hz; it should last longer")
    return np.clip(mono, -1, 1, dtype=np.float32)  # lossy codecs and filters exceed the full scale slightly


def audio_seconds(data: bytes, name: str) -> float:
    """The duration of a recording in seconds, from its headers. Raises DataError if it cannot be decoded."""
    soundfile = _soundfile()
    try:
        with _opened(soundfile, data, name) as file:
            return file.frames / file.samplerate
    except soundfile.SoundFileError as error:
        raise _undecodable(name, error) from error


def _soundfile() -> Any:
    try:
        import soundfile
        import soxr  # noqa: F401
    except ImportError as error:
        raise ImportError("decoding audio needs soundfile and soxr: pip install 'mmjax[audio]'") from error
    return soundfile


def _opened(soundfile: Any, data: bytes, name: str) -> Any:
    """The open file. Raises DataError for an empty file and for formats other than `AUDIO_FORMATS`."""
    other = f"{name}: the audio is of another format; it should be MP3, Ogg, FLAC or WAV"
    if not data:
        raise DataError(f"{name}: the audio file is empty; it should be a complete MP3, Ogg, FLAC or WAV")
    if not data.startswith(AUDIO_STARTS):
        raise DataError(other)
    file = soundfile.SoundFile(io.BytesIO(data))
    if file.format not in AUDIO_FORMATS:
        file.close()
        raise DataError(other)
    return file


def _undecodable(name: str, error: Exception) -> DataError:
    reason = " ".join(str(error).split())
    return DataError(f"{name}: the audio cannot be decoded ({reason}); it should be MP3, Ogg, FLAC or WAV")


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
