"""Raw inputs -> items of a column: how a trained model reads a new image, text, recording or series.

Each reader is a frozen dataclass, so it can be saved with the model. Inputs that are wrong raise DataError, which names what is
accepted.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmjax.data.decode import DataError, decode_audio, decode_image, pixels
from mmjax.data.image import on_white, resize
from mmjax.types import Padded

__all__ = ["ImageInput", "SeriesInput", "SoundInput", "TextInput", "VectorInput", "image_array", "sound_array", "text"]


def image_array(raw: Any) -> np.ndarray:
    """An image as uint8 [h w 3] or [h w 4]. raw: path, encoded bytes, Pillow image, or uint8 [h w 3], [h w 4] or [h w]."""
    if isinstance(raw, (str, os.PathLike)):
        return decode_image(_file_bytes(raw), str(raw))
    if isinstance(raw, (bytes, bytearray)):
        return decode_image(bytes(raw), "image")
    array = _pixels(raw) if isinstance(raw, Image.Image) else np.asarray(raw)
    if array.ndim == 2:
        array = np.repeat(array[..., None], 3, axis=-1)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[-1] not in (3, 4) or 0 in array.shape:
        raise DataError(
            f"an image is {array.dtype}{list(array.shape)}; it must be a path, bytes of a PNG or JPEG, a Pillow image, or a "
            "uint8 array [h w 3], [h w 4] or [h w]"
        )
    return array


def _pixels(image: Image.Image) -> np.ndarray:
    if image.mode in ("I", "F"):
        raise DataError(f"an image has Pillow's mode {image.mode}, whose range is not known; convert it to L, RGB or RGBA")
    return pixels(image)


def sound_array(raw: Any, rate: int) -> np.ndarray:
    """A recording as float32 [t] in [-1, 1] at `rate` Hz.

    raw: path, encoded bytes, or (samples [t], their rate in Hz); samples are floats in [-1, 1], or int16.
    """
    if isinstance(raw, (str, os.PathLike)):
        return decode_audio(_file_bytes(raw), str(raw), rate)
    if isinstance(raw, (bytes, bytearray)):
        return decode_audio(bytes(raw), "recording", rate)
    if not isinstance(raw, tuple) or len(raw) != 2 or np.ndim(raw[0]) != 1 or np.ndim(raw[1]) != 0:
        raise DataError("a recording must be a path, bytes of a sound file, or (samples [t] in [-1, 1], rate in Hz)")
    samples, source_rate = np.asarray(raw[0]), raw[1]
    if samples.dtype != np.int16 and samples.dtype.kind != "f":
        raise DataError(f"the samples of a recording are {samples.dtype}; they must be floats in [-1, 1], or int16")
    if not isinstance(source_rate, (int, float, np.number)) or not 1 <= source_rate < 1e9:
        raise DataError(f"the rate of a recording is {source_rate!r}; it must be a number of Hz, at least 1")
    wave = samples.astype(np.float32) / 32767 if samples.dtype == np.int16 else samples.astype(np.float32)
    if not len(wave) or not (np.abs(wave) <= 1.01).all():
        raise DataError("a recording has no samples, or samples outside [-1, 1]; divide them by their largest possible value")
    wave = np.clip(wave, -1, 1)
    if source_rate == rate:
        return wave
    try:
        import soxr
    except ImportError as error:
        raise ImportError("resampling needs soxr: pip install 'mmjax[audio]'") from error
    return np.clip(soxr.resample(wave, source_rate, rate, quality="VHQ"), -1, 1).astype(np.float32)


def text(raw: Any) -> str:
    """The text itself; DataError if it is not a str."""
    if not isinstance(raw, str):
        raise DataError(f"a text is {type(raw).__name__}; it must be a str")
    return raw


def _file_bytes(path: Any) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}; it must be a file that can be read") from None


@dataclass(frozen=True)
class ImageInput:
    """Image -> uint8 [size size 4], over white and resized; alpha is kept as the last channel."""

    size: int

    def __call__(self, raw: Any) -> np.ndarray:
        return resize(on_white(image_array(raw)), self.size)


@dataclass(frozen=True)
class SoundInput:
    """Recording -> the first `samples` samples at `rate` Hz: Padded int16 [samples]."""

    rate: int
    samples: int

    def __call__(self, raw: Any) -> Padded:
        wave = sound_array(raw, self.rate)[: self.samples]
        x = np.zeros(self.samples, np.int16)
        x[: len(wave)] = np.round(wave * 32767)
        return Padded(x, np.int32(len(wave)))


@dataclass(frozen=True)
class TextInput:
    """Text -> token ids: Padded int32 [max_tokens]; longer texts are truncated. tokenizer: a `Tokenizer`."""

    tokenizer: Any
    max_tokens: int

    def __call__(self, raw: Any) -> Padded:
        return self.tokenizer.encode(text(raw), self.max_tokens)


@dataclass(frozen=True)
class SeriesInput:
    """Series [t channels] -> Padded float32 [steps channels]; longer series are truncated."""

    steps: int
    channels: int

    def __call__(self, raw: Any) -> Padded:
        values = _numbers(raw, 2, f"a series must have the shape [steps, {self.channels}]")
        if values.shape[1] != self.channels:
            raise DataError(f"a series has the shape {list(values.shape)}; it must have {self.channels} channels")
        values = values[: self.steps]
        padding = ((0, self.steps - len(values)), (0, 0))
        return Padded(np.pad(values, padding), np.int32(len(values)))


@dataclass(frozen=True)
class VectorInput:
    """Vector [width] -> float32 [width]."""

    width: int

    def __call__(self, raw: Any) -> np.ndarray:
        values = _numbers(raw, 1, f"a vector must have {self.width} numbers")
        if len(values) != self.width:
            raise DataError(f"a vector has {len(values)} numbers; it must have {self.width}")
        return values


def _numbers(raw: Any, dimensions: int, wanted: str) -> np.ndarray:
    """float32 with this number of dimensions, all finite."""
    try:
        values = np.asarray(raw, np.float32)
    except (TypeError, ValueError):
        raise DataError(f"{wanted}, but it is {type(raw).__name__}") from None
    if values.ndim != dimensions or not np.isfinite(values).all():
        raise DataError(f"{wanted} of finite numbers; its shape is {list(values.shape)}")
    return values
