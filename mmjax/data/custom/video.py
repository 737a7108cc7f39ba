"""Videos -> a few frames of one size: arrays, and animated GIF and WebP files."""

import io
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from mmjax.data.dataset import Column, stack
from mmjax.data.decode import IMAGE_FORMATS, MAX_PIXELS, DataError, decode_image, pixels
from mmjax.data.image import on_white, resize
from mmjax.data.scale import Scaled
from mmjax.types import Padded

__all__ = [
    "FORMATS", "MAX_ITEMS", "Frames", "VideoInput", "frame_count", "frames_of", "original_frames", "spread",
    "standardized_frames", "to_unit_frames",
]  # fmt: skip

MAX_ITEMS = 100  # training videos that the mean and deviation are computed from
FORMATS = (b"GIF8", b"RIFF")


@dataclass(frozen=True)
class VideoInput:
    """Video -> at most `frames` evenly spaced frames, Padded uint8 [frames size size 4], over white.

    raw: uint8 [t h w 3] or [t h w 4], or the path or bytes of a GIF or WebP.
    """

    frames: int
    size: int

    def __call__(self, raw: Any) -> Padded:
        video = frames_of(raw, self.frames)
        x = np.zeros((self.frames, self.size, self.size, 4), np.uint8)
        for number, frame in enumerate(video):
            x[number] = resize(on_white(frame), self.size)
        return Padded(x, np.int32(len(video)))


@dataclass(frozen=True, eq=False)
class Frames:
    """The original of a video: its frames as images, uint8 [h w 3] or [h w 4]."""

    images: list[np.ndarray]


def original_frames(count: int, raw: Any) -> Frames:
    """At most `count` evenly spaced frames, as `frames_of` returns them."""
    return Frames(frames_of(raw, count))


def frames_of(raw: Any, count: int) -> list[np.ndarray]:
    """At most `count` evenly spaced frames, uint8 [h w 3] or [h w 4]. Raises DataError for other inputs."""
    if isinstance(raw, (str, os.PathLike)):
        try:
            raw, name = Path(raw).read_bytes(), str(raw)
        except OSError as error:
            raise DataError(f"{raw}: {error.strerror or error}; it must be a file that can be read") from None
        return _decoded(raw, name, count)
    if isinstance(raw, (bytes, bytearray)):
        return _decoded(bytes(raw), "video", count)
    array = np.asarray(raw)
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[-1] not in (3, 4) or 0 in array.shape:
        raise DataError(
            f"a video is {array.dtype}{list(array.shape)}; it must be uint8 [t h w 3] or [t h w 4], or a GIF or WebP file"
        )
    return [array[at] for at in spread(len(array), count)]


def frame_count(data: bytes) -> int:
    """The number of frames of a GIF or WebP; 1 for other data and for damaged files, which are reported when they are read."""
    if not data.startswith(FORMATS):
        return 1
    try:
        with _reader(data)(io.BytesIO(data)) as image:
            return getattr(image, "n_frames", 1)
    except Exception:  # Pillow raises many classes
        return 1


def _reader(data: bytes) -> Any:
    return next(read for magic, read in IMAGE_FORMATS.items() if data.startswith(magic))


def _decoded(data: bytes, name: str, count: int) -> list[np.ndarray]:
    if not data.startswith(FORMATS):
        raise DataError(f"{name}: the format is not known; a video must be an animated GIF or WebP, or an array of frames")
    first = decode_image(data, name)  # checks the size before it is allocated
    total = frame_count(data)
    if total == 1:
        return [first]
    if first.shape[0] * first.shape[1] * min(total, count) > MAX_PIXELS:
        raise DataError(f"{name}: the frames have more than {MAX_PIXELS:,} pixels in all; it should be smaller")
    found = []
    try:
        with _reader(data)(io.BytesIO(data)) as image:
            for at in spread(total, count):
                image.seek(at)
                image.load()
                found.append(pixels(image))
    except Exception as error:  # Pillow raises many classes for damaged files
        raise DataError(f"{name}: the video is truncated or damaged ({error}); it should be a complete file") from None
    return found


def spread(total: int, count: int) -> list[int]:
    """At most `count` evenly spaced numbers of 0 to total - 1, with both ends."""
    return np.linspace(0, total - 1, min(total, count)).round().astype(int).tolist()


def to_unit_frames(batch: Padded) -> Padded:
    """uint8 -> float32 in [0, 1]."""
    return Padded(batch.x.astype(jnp.float32) / 255, batch.length)


def standardized_frames(column: Column, train: np.ndarray) -> Column:
    """The column with z-scores of each colour, from the valid frames of at most MAX_ITEMS training videos."""
    train = np.unique(train)
    used = train[np.linspace(0, len(train) - 1, min(MAX_ITEMS, len(train))).round().astype(int)]
    total, square, count = np.zeros(4), np.zeros(4), 0
    for number in used.tolist():
        item = column.preprocess(stack([column.read(number)]))
        values = np.asarray(item.x, np.float64)[0, : int(item.length[0])].reshape(-1, 4)
        total, square, count = total + values.sum(axis=0), square + np.square(values).sum(axis=0), count + len(values)
    mean = total / count
    deviation = np.sqrt(np.maximum(square / count - np.square(mean), 0))
    deviation = np.where(deviation > 1e-5, deviation, 1)
    return replace(column, preprocess=Scaled(column.preprocess, mean.astype(np.float32), deviation.astype(np.float32)))
