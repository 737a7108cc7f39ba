"""Kinds of inputs: how the cells of one modality are read, cut to one size and standardised.

A kind is a frozen dataclass. Sizes that are None are taken from the training split.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np

from mmjax.data.custom.reading import RawItems, Reading, unscaled
from mmjax.data.custom.table import ARRAY_SUFFIXES, TEXT_SUFFIXES, FilePart, content, suffix_of
from mmjax.data.custom.video import VideoInput, original_frames, standardized_frames, to_unit_frames
from mmjax.data.dataset import identity
from mmjax.data.decode import DataError, audio_seconds, decode_text
from mmjax.data.image import to_unit
from mmjax.data.inputs import ImageInput, SeriesInput, SoundInput, TextInput, VectorInput, image_array, sound_array
from mmjax.data.scale import MAX_ITEMS, standardized
from mmjax.data.stamps.table import log_mel
from mmjax.data.text import BPE, TokenizerTrainer
from mmjax.nn.mel import LogMel

__all__ = [
    "MAX_SECONDS", "MAX_STEPS", "MAX_TOKENS", "Images", "Sounds", "Texts", "TimeSeries", "Vectors", "Videos", "finite",
    "fit_tokenizer", "number_array", "text_of",
]

MAX_SECONDS, MAX_TOKENS, MAX_STEPS = 10.0, 64, 1000  # of sizes that are taken from the training split


@dataclass(frozen=True)
class Images:
    """Image files, bytes, Pillow images or arrays uint8 -> Float[size size 4] over white, with alpha. size: pixels per side."""

    size: int = 64
    files: ClassVar[tuple[str, ...]] = ("",)

    def __post_init__(self):
        _check_size(self, "size", 4096)

    def raw(self, cell: Any) -> Any:
        return number_array(cell) if suffix_of(cell) == ".npy" else cell

    def fit(self, items: RawItems) -> Reading:
        sizes = {"size": self.size, "channels": 4}
        return Reading(ImageInput(self.size), to_unit, _standardized, sizes, image_array)


@dataclass(frozen=True)
class Sounds:
    """Sound files, bytes, samples [t], or (samples [t], rate in Hz) -> log-mel frames, Padded Float[frames bands].

    seconds: longer sounds are truncated; None: the longest training sound, at most 10 s. mel: the front end. rate: of samples
    that have none, in Hz.
    """

    seconds: float | None = None
    mel: LogMel = LogMel()
    rate: int = 16_000
    files: ClassVar[tuple[str, ...]] = ("",)

    def __post_init__(self):
        if self.seconds is not None and not 0 < self.seconds <= 3600:
            raise DataError(f"Sounds.seconds is {self.seconds}; it must be above 0 and at most 3600, or None")
        _check_size(self, "rate", 1_000_000)

    def raw(self, cell: Any) -> Any:
        cell = number_array(cell) if suffix_of(cell) == ".npy" else cell
        return (cell, self.rate) if isinstance(cell, np.ndarray) else cell

    def fit(self, items: RawItems) -> Reading:
        seconds = np.array([_duration(raw, where) for raw, where in zip(items.raw, items.where)])
        longest = self.seconds or min(float(seconds[items.train].max()), MAX_SECONDS)
        samples = max(round(longest * self.mel.rate), 1)
        sizes = {"bands": self.mel.bands, "frames": self.mel.frames(samples)}
        dropped = {f"sounds truncated to {longest:g} s": int((seconds > longest + 1 / self.mel.rate).sum())}
        parse, original = SoundInput(self.mel.rate, samples), partial(_sound, self.mel.rate)
        return Reading(parse, partial(log_mel, self.mel), _standardized, sizes, original, dropped)


@dataclass(frozen=True)
class Texts:
    """Strings or text files -> token ids, Padded Int[max_tokens].

    tokenizer: trained on the training texts. max_tokens: longer texts are truncated; None: the longest training text, at most
    64 tokens.
    """

    tokenizer: TokenizerTrainer = BPE()
    max_tokens: int | None = None
    files: ClassVar[tuple[str, ...]] = TEXT_SUFFIXES

    def __post_init__(self):
        _check_size(self, "max_tokens", 1_000_000)

    def raw(self, cell: Any) -> str:
        return text_of(cell)

    def fit(self, items: RawItems) -> Reading:
        tokenizer, length, truncated = fit_tokenizer(self.tokenizer, items.raw, items.train, self.max_tokens)
        sizes = {"vocabulary": tokenizer.vocabulary, "length": length}
        dropped = {f"texts truncated to {length} tokens": truncated}
        return Reading(TextInput(tokenizer, length), identity, unscaled, sizes, str, dropped)


@dataclass(frozen=True)
class Vectors:
    """Numbers, arrays [width] or .npy files -> Float[width]."""

    files: ClassVar[tuple[str, ...]] = ARRAY_SUFFIXES

    def raw(self, cell: Any) -> np.ndarray:
        return finite(np.atleast_1d(number_array(cell)), 1, "a vector [width]")

    def fit(self, items: RawItems) -> Reading:
        width = len(items.raw[0])
        return Reading(VectorInput(width), identity, _standardized_vectors, {"width": width})


@dataclass(frozen=True)
class TimeSeries:
    """Arrays [t, channels] or [t], or .npy files -> Padded Float[steps channels].

    steps: longer series are truncated; None: the longest training series, at most 1000 steps.
    """

    steps: int | None = None
    files: ClassVar[tuple[str, ...]] = ARRAY_SUFFIXES

    def __post_init__(self):
        _check_size(self, "steps", 1_000_000)

    def raw(self, cell: Any) -> np.ndarray:
        array = number_array(cell)
        return finite(array[:, None] if array.ndim == 1 else array, 2, "a series [t, channels]")

    def fit(self, items: RawItems) -> Reading:
        lengths = np.array([len(raw) for raw in items.raw])
        steps = self.steps or min(int(lengths[items.train].max()), MAX_STEPS)
        channels = items.raw[0].shape[1]
        dropped = {f"series truncated to {steps} steps": int((lengths > steps).sum())}
        return Reading(
            SeriesInput(steps, channels), identity, _standardized, {"steps": steps, "channels": channels}, None, dropped
        )


@dataclass(frozen=True)
class Videos:
    """Arrays uint8 [t h w 3], .npy files, animated GIF or WebP files -> Padded Float[frames size size 4].

    frames: evenly spaced frames of longer videos are used. size: pixels per side.
    """

    frames: int = 8
    size: int = 64
    files: ClassVar[tuple[str, ...]] = ("",)

    def __post_init__(self):
        _check_size(self, "frames", 10_000)
        _check_size(self, "size", 4096)

    def raw(self, cell: Any) -> Any:
        return number_array(cell) if suffix_of(cell) == ".npy" else cell

    def fit(self, items: RawItems) -> Reading:
        sizes = {"frames": self.frames, "size": self.size, "channels": 4}
        original = partial(original_frames, self.frames)
        return Reading(VideoInput(self.frames, self.size), to_unit_frames, standardized_frames, sizes, original)


def fit_tokenizer(
    trainer: TokenizerTrainer, texts: Sequence[str], train: np.ndarray, max_tokens: int | None
) -> tuple[Any, int, int]:
    """(tokenizer of the training texts, number of tokens per text, number of texts that are longer). train: Int[k]."""
    tokenizer = trainer.train(texts[number] for number in train.tolist())
    lengths = np.array([len(tokenizer.ids(text)) for text in texts])
    length = max_tokens or max(1, min(int(lengths[train].max()), MAX_TOKENS))
    return tokenizer, length, int((lengths > length).sum())


def text_of(cell: Any) -> str:
    """A str, or the content of a text file. Numbers are written out."""
    if isinstance(cell, (bytes, bytearray)) or hasattr(cell, "read_bytes"):
        data = bytes(cell) if isinstance(cell, (bytes, bytearray)) else cell.read_bytes()
        return decode_text(data, str(getattr(cell, "name", "text")))
    if isinstance(cell, (str, int, float, np.number)):
        return str(cell)
    raise DataError(f"it is {type(cell).__name__}; a text must be a str")


def number_array(cell: Any) -> np.ndarray:
    """A number, its decimal text, a list, an array, or the content of a .npy file -> an array of numbers."""
    if suffix_of(cell) == ".npy":
        data = cell if isinstance(cell, (bytes, bytearray)) else cell.read_bytes()
        try:
            cell = np.load(io.BytesIO(data), allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise DataError(f"the .npy file is damaged or has no numbers ({error}); write it with numpy.save") from None
    try:
        array = np.asarray(cell)
        if array.dtype.kind in "USO":
            array = array.astype(np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{_short(cell)} is not a number; leave the cell empty if it is missing") from None
    if array.dtype.kind not in "bifu":
        raise DataError(f"it has the dtype {array.dtype}; it must be of numbers")
    return array


def finite(array: np.ndarray, dimensions: int, wanted: str) -> np.ndarray:
    """Float32 with this number of dimensions. Raises DataError for another shape, no values, or values that are not finite."""
    if array.ndim != dimensions or not array.size:
        raise DataError(f"its shape is {list(array.shape)}; it must be {wanted}")
    array = np.asarray(array, np.float32)
    if not np.isfinite(array).all():
        at = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise DataError(f"the value at {list(at)} is {array[at]}; all values must be finite, or the whole cell empty")
    return array


def _short(cell: Any) -> str:
    shown = repr(cell)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def _check_size(kind: Any, name: str, limit: int) -> None:
    value = getattr(kind, name)
    if value is not None and not 1 <= value <= limit:
        raise DataError(f"{type(kind).__name__}.{name} is {value}; it must be at least 1 and at most {limit:,}")


def _standardized(column: Any, train: np.ndarray) -> Any:
    return standardized(column, train, MAX_ITEMS)


def _standardized_vectors(column: Any, train: np.ndarray) -> Any:
    return standardized(column, train, 10_000)


def _duration(raw: Any, where: str) -> float:
    """The duration of a recording in seconds."""
    try:
        if isinstance(raw, tuple):
            return len(raw[0]) / raw[1]
        data = raw if isinstance(raw, bytes) else content(raw) if isinstance(raw, FilePart) else raw.read_bytes()
        return audio_seconds(data, str(getattr(raw, "name", "recording")))
    except DataError as error:
        raise DataError(f"{where}: {error}") from None
    except (AttributeError, TypeError, ZeroDivisionError):
        raise DataError(f"{where}: it is {_short(raw)}; a sound must be a file, bytes, or (samples [t], rate in Hz)") from None


def _sound(rate: int, raw: Any) -> tuple[np.ndarray, int]:
    return sound_array(raw, rate), rate
