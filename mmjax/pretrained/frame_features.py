"""Videos for image encoders: each frame is an image, and a video is the sequence of its frames' features."""

import dataclasses
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from mmjax.data.custom.video import Frames
from mmjax.data.dataset import Column

__all__ = ["frame_counts", "frames_column", "sequences"]


def frame_counts(column: Column) -> list[int] | None:
    """The number of frames of each video of a column; None for other columns."""
    if not column.count or not isinstance(column.original(0), Frames):
        return None
    return [int(column.read(number).length) for number in range(column.count)]


def frames_column(column: Column, counts: Sequence[int]) -> Column:
    """A column whose items are the images of all frames of all videos, in order."""
    places = [(video, frame) for video, count in enumerate(counts) for frame in range(count)]
    decoded = lru_cache(maxsize=8)(column.original)  # the frames of a video are read one after another

    def original(number: int) -> np.ndarray:
        video, frame = places[number]
        return decoded(video).images[frame]

    return dataclasses.replace(column, count=len(places), original=original)


def sequences(x: Float[np.ndarray, "frames d"], counts: Sequence[int], length: int) -> dict[str, np.ndarray]:
    """The features of all frames -> x [videos length d], zero after a video's last frame, and length Int32[videos]."""
    padded = np.zeros((len(counts), length, x.shape[1]), x.dtype)
    for video, own in zip(padded, np.split(x, np.cumsum(counts)[:-1]), strict=True):
        video[: len(own)] = own
    return {"x": padded, "length": np.asarray(counts, np.int32)}
