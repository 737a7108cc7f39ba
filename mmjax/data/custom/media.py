"""What the report shows of a row: its image, or a picture of its series, its sound and its texts."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from mmjax.data.custom.input_kinds import Images, Sounds, Texts, TimeSeries, Videos
from mmjax.data.custom.reading import RawItems
from mmjax.data.custom.table import content
from mmjax.data.custom.video import frames_of
from mmjax.data.image import on_white
from mmjax.data.inputs import image_array, sound_array

__all__ = ["RATE", "SECONDS", "SIDE", "media_of"]

SIDE, SECONDS, RATE = 160, 10, 16_000  # the largest image in pixels, the longest sound, and its rate in Hz


def media_of(inputs: Mapping[str, tuple[Any, RawItems]], rows: np.ndarray, row: int) -> dict[str, Any]:
    """{image: PNG, sound: MP3, caption: str} of what a test row has. rows: Int[m], the table rows of the test split."""
    found: dict[str, Any] = {}
    for kind, items in inputs.values():
        number = int(items.pointer[rows[row]])
        if number < 0:
            continue
        raw = content(items.raw[number])
        if isinstance(kind, Images):
            found.setdefault("image", _png(image_array(raw)))
        elif isinstance(kind, Videos):
            found.setdefault("image", _png(np.concatenate([on_white(frame) for frame in frames_of(raw, 3)], axis=1)))
        elif isinstance(kind, TimeSeries):
            found.setdefault("image", _png(_drawn(raw)))
        elif isinstance(kind, Sounds):
            found.setdefault("sound", _mp3(sound_array(raw, RATE)[: SECONDS * RATE]))
        elif isinstance(kind, Texts):
            found["caption"] = f"{found['caption']} | {raw}" if "caption" in found else raw
    return found


def _png(image: np.ndarray) -> bytes:
    """uint8 [h w 3] or [h w 4] -> a PNG of at most SIDE pixels per side."""
    small = Image.fromarray(image)
    small.thumbnail((3 * SIDE, SIDE))
    small.save(file := io.BytesIO(), "PNG")
    return file.getvalue()


def _drawn(series: np.ndarray) -> np.ndarray:
    """Series [t c] -> uint8 [h w 3]: a band per channel, time to the right, black the lowest value and white the highest."""
    series = series[:: max(1, len(series) // 400)]
    low, high = series.min(axis=0), series.max(axis=0)
    grey = ((series - low) / np.maximum(high - low, 1e-6) * 255).T.astype(np.uint8)
    return np.repeat(np.repeat(np.repeat(grey, 8, axis=0), max(1, 320 // grey.shape[1]), axis=1)[..., None], 3, axis=-1)


def _mp3(wave: np.ndarray) -> bytes | None:
    """Samples at RATE -> MP3; None without the library that decodes sounds."""
    try:
        import soundfile
    except ImportError:
        return None
    soundfile.write(file := io.BytesIO(), wave, RATE, format="MP3", subtype="MPEG_LAYER_III")
    return file.getvalue()
