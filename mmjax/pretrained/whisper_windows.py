"""Long recordings: the token ids of a window -> segments with times, and where the next window starts.

Source: Radford et al., 2023, section 3.8 and the authors' transcribe.py; equal to transformers' generate.
"""

from collections.abc import Sequence
from typing import NamedTuple

from mmjax.pretrained.whisper_tokens import WhisperTokens

__all__ = ["FRAMES_PER_TIMESTAMP", "SECONDS_PER_FRAME", "Segment", "previous_prompt", "segments_of", "window_advance"]

SECONDS_PER_FRAME = 0.01
FRAMES_PER_TIMESTAMP = 2


class Segment(NamedTuple):
    """A part of a text with its time. start, end: seconds. ids: token ids, timestamps included."""

    start: float
    end: float
    ids: tuple[int, ...]


def segments_of(ids: Sequence[int], first_timestamp: int, seek: int, frames: int) -> list[Segment]:
    """The segments of one window.

    A segment ends where two timestamps meet. Text after the last such place belongs to no segment, unless a single timestamp
    ends it; a window without such a place is one segment.

    ids: of the window, without prompt and end token. seek: first frame of the window. frames: its number of frames before the
    end of the recording.
    """
    cuts, single = _cuts(ids, first_timestamp), _ends_single(ids, first_timestamp)
    origin = seek * SECONDS_PER_FRAME
    seconds = lambda token: origin + (token - first_timestamp) * FRAMES_PER_TIMESTAMP * SECONDS_PER_FRAME
    if not cuts:
        times = [token for token in ids if token >= first_timestamp]
        last = times[-1] if times and times[-1] != first_timestamp else first_timestamp + frames // FRAMES_PER_TIMESTAMP
        return [Segment(origin, seconds(last), tuple(ids))]
    stops = [*cuts, len(ids)] if single else [*cuts[:-1], cuts[-1] + 1]  # the last segment keeps both timestamps
    found = []
    for start, stop in zip([0, *stops], stops):
        part = ids[start:stop]
        last = part[-1] if single or stop != stops[-1] else part[-2]
        found.append(Segment(seconds(part[0]), seconds(last), tuple(part)))
    return found


def window_advance(ids: Sequence[int], first_timestamp: int, frames: int) -> int:
    """The number of frames to the next window: to the last place where two timestamps meet, or `frames` without one or if a
    single timestamp ends the text, after which there is no speech. ids, frames: as in `segments_of`."""
    cuts = _cuts(ids, first_timestamp)
    if not cuts or _ends_single(ids, first_timestamp):
        return frames
    return (ids[cuts[-1] - 1] - first_timestamp) * FRAMES_PER_TIMESTAMP


def previous_prompt(segments: Sequence[Segment], tokens: WhisperTokens) -> list[int]:
    """The token ids before the start token that contain the previous text, at most half of the decoder's positions; [] for
    none. A segment that ends with two timestamps gives the first of them."""
    ids: list[int] = []
    for segment in segments:
        double = len(segment.ids) > 2 and segment.ids[-2] >= tokens.first_timestamp
        ids += segment.ids[:-1] if double else segment.ids
    return [tokens.previous, *ids[-(tokens.positions // 2 - 1) :]] if ids else []


def _cuts(ids: Sequence[int], first_timestamp: int) -> list[int]:
    """The indices of timestamps that follow a timestamp."""
    return [at for at in range(1, len(ids)) if ids[at - 1] >= first_timestamp and ids[at] >= first_timestamp]


def _ends_single(ids: Sequence[int], first_timestamp: int) -> bool:
    """Whether the last token is a timestamp and the one before it is text."""
    return len(ids) > 1 and ids[-1] >= first_timestamp > ids[-2]
