"""The recordings of the package seglearn, read and checked.

140 recordings of 20 repetitions of one of seven shoulder exercises by ten subjects who wore a watch on the left or the right
wrist: acceleration and angular velocity at 50 Hz. The package states no units; the values look like multiples of g and radians
per second. Burns et al., "Shoulder
physiotherapy exercise recognition: machine learning the inertial signals from a smartwatch" (Physiological Measurement, 2018).
CARD.md describes them. The package is fetched, never installed or imported; its file is a pickle inside an .npy file, of which
nothing but arrays is read.
"""

import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmjax.data.decode import DataError
from mmjax.data.fetch import PYPI, fetch, members
from mmjax.data.formats.pickles import load_arrays_pickle

__all__ = ["CHANNELS", "FIELDS", "MEMBER", "RATE", "SENSORS", "SHA256", "SIDES", "VERSION", "WHEEL", "Recordings", "find_wheel",
           "read_recordings"]  # fmt: skip

VERSION = "1.2.5"
SHA256 = "ec6b952c85c9627050102854b372d85951563d3b990df677d7c55547e87413dd"
WHEEL = f"seglearn-{VERSION}-py3-none-any.whl"
MEMBER = "seglearn/data/watch_dataset.npy"
FIELDS = ("X", "X_labels", "y", "y_labels", "subject", "side")
CHANNELS = ("ax", "ay", "az", "wx", "wy", "wz")
RATE = 50  # Hz
SENSORS = {"accelerometer": slice(0, 3), "gyroscope": slice(3, 6)}
"""{modality: its channels}."""
SIDES = ("left", "right")


class Recordings(NamedTuple):
    """n recordings. series: n arrays Float32[t 6]. exercise: Int32[n], numbers of `exercises`. subject: Int32[n], from 1.
    side: Int32[n], numbers of SIDES."""

    series: list[np.ndarray]
    exercise: np.ndarray
    subject: np.ndarray
    side: np.ndarray
    exercises: tuple[str, ...]


def find_wheel(root: Path | None = None) -> Path:
    """The file of the package: in the folder `root`, or fetched through pip if it is None. Raises DataError."""
    if root is None:
        return fetch(PYPI, "seglearn", VERSION, SHA256)
    if not (root / WHEEL).is_file():
        raise DataError(f"there is no {WHEEL} in {root.resolve()}; fetch it with: pip download --no-deps seglearn=={VERSION}")
    return root / WHEEL


def read_recordings(wheel: Path) -> Recordings:
    """All recordings. Raises DataError, naming the recording (from 0) and the field, for other content."""
    where = f"{wheel.name}: {MEMBER}"
    content = dict(members(wheel, MEMBER)).get(MEMBER)
    if content is None:
        raise DataError(f"{where} does not exist; the file should be seglearn {VERSION}")
    fields = _fields(content, where)
    series = fields["X"]
    if not isinstance(series, list) or not series:
        raise DataError(f"{where}: X is {type(series).__name__}; it must be a list of recordings")
    if fields["X_labels"] != list(CHANNELS):
        raise DataError(f"{where}: X_labels is {fields['X_labels']!r:.100}; it must be {', '.join(CHANNELS)}")
    for number, x in enumerate(series):
        if not isinstance(x, np.ndarray) or x.dtype.kind != "f" or x.ndim != 2 or x.shape[1] != 6 or not np.isfinite(x).all():
            raise DataError(f"{where}: X of recording {number} must be an array [t 6] of finite numbers")
    names = fields["y_labels"]
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise DataError(f"{where}: y_labels is {names!r:.100}; it must be a list of the names of exercises")
    column = lambda name, low, high: _integers(fields[name], name, len(series), low, high, where)
    return Recordings(
        [x.astype(np.float32) for x in series],
        column("y", 0, len(names) - 1),
        column("subject", 1, 10_000),
        column("side", 0, 1),
        tuple(names),
    )


def _fields(content: bytes, where: str) -> dict[str, Any]:
    """The dict in an .npy file of one object."""
    data = io.BytesIO(content)
    try:
        np.lib.format.read_magic(data)
        shape, _, dtype = np.lib.format.read_array_header_1_0(data)
    except ValueError as error:
        raise DataError(f"{where} is not an .npy file ({' '.join(str(error).split())[:200]})") from error
    if shape != () or dtype != np.dtype(object):
        raise DataError(f"{where} is an array {dtype}{list(shape)}; it must be one object, a dict")
    loaded = load_arrays_pickle(data, where)
    value = loaded.reshape(-1)[0] if isinstance(loaded, np.ndarray) and loaded.size == 1 else loaded
    missing = [name for name in FIELDS if not isinstance(value, dict) or name not in value]
    if missing:
        raise DataError(f"{where} lacks the fields {', '.join(missing)}; it should be seglearn {VERSION}")
    return value


def _integers(values: Any, name: str, count: int, low: int, high: int, where: str) -> np.ndarray:
    """Int32[count]."""
    array = np.asarray(values)
    if array.shape != (count,) or array.dtype.kind not in "iuf":
        raise DataError(f"{where}: {name} is {array.dtype}{list(array.shape)}; it needs a number for each recording")
    wrong = np.flatnonzero(~((array >= low) & (array <= high) & (array == np.round(array))))
    if len(wrong):
        raise DataError(
            f"{where}: {name} of recording {wrong[0]} is {array[wrong[0]]}; it must be a whole number from {low} to {high}"
        )
    return array.astype(np.int32)
