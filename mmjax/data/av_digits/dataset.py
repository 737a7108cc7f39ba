"""AV-MNIST in the folder format of MultiBench: which digit is written on an image and spoken in a recording?

Images of MNIST with less variance, paired with spectrograms of spoken digits in noise (Vielzeuf et al., "CentralNet", 2018), as
Liang et al., "MultiBench" (2021), publish and read them (datasets/avmnist/get_data.py of their repository). Research data, not
part of this project. A folder that the user names contains

    image/{train,test}_data.npy   [n 784], grey values from 0 to 255
    audio/{train,test}_data.npy   [n 112 112], grey values from 0 to 255
    {train,test}_labels.npy       [n], digits

with 60,000 rows for training and 10,000 for testing. Who speaks is not published, so each row is a group of its own, and
intervals may be too narrow.
"""

import dataclasses
import hashlib
import io
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmjax.data.dataset import Column, Dataset, Rows
from mmjax.data.decode import DataError
from mmjax.data.inputs import VectorInput
from mmjax.data.named_folder import named_folder

__all__ = ["DIGITS", "FILES", "PARTS", "SIDES", "SOURCE", "VARIABLE", "AvDigits", "GreyInput", "to_unit"]

VARIABLE = "MMJAX_AVMNIST"
SOURCE = (
    "The data are not part of mmjax: the README of MultiBench (pliang279/MultiBench) says where to get avmnist.tar.gz, which "
    "contains them"
)
SIDES = {"image": 28, "audio": 112}
"""{modality: pixels per side}."""
PARTS = ("train", "test")
FILES = tuple(f"{name}_{kind}.npy" for part in PARTS for name, kind in (
    (f"image/{part}", "data"), (f"audio/{part}", "data"), (part, "labels")
))  # fmt: skip
DIGITS = tuple("0123456789")


@dataclasses.dataclass(frozen=True)
class AvDigits:
    """AV-MNIST: modalities "image", Float32[28 28 1], and "audio", Float32[112 112 1], divided by 255; target "digit", Int[n].

    As in MultiBench, the last `validation` training rows are the validation split, and the test split is the published one.
    Nothing else is normalised. The arrays stay on disk until their rows are read.

    root: the folder of the files; None: the value of the environment variable MMJAX_AVMNIST. validation: number of rows.
    Raises DataError for fewer than one.
    """

    root: Path | None = None
    validation: int = 5000

    def __post_init__(self):
        if self.validation < 1:
            raise DataError(f"AvDigits.validation is {self.validation}; it must be at least 1 row")

    def load(self) -> Dataset:
        """Opens and checks all files. Raises DataError, naming the file, for what is missing or has another shape."""
        folder = named_folder(self.root, VARIABLE, FILES, "AV-MNIST", SOURCE)
        label = {part: _labels(folder / f"{part}_labels.npy") for part in PARTS}
        counts = {part: len(digits) for part, digits in label.items()}
        if self.validation >= counts["train"]:
            raise DataError(f"AvDigits.validation is {self.validation}; {folder} has only {counts['train']} training rows")
        columns = {}
        for name, side in SIDES.items():
            arrays = tuple(_pixels(folder / name / f"{part}_data.npy", side, counts[part]) for part in PARTS)
            read, parse = partial(_item, arrays, GreyInput(side)), GreyInput(side)
            columns[name] = Column(sum(counts.values()), read, to_unit, parse=parse)
        everything = np.arange(sum(counts.values()), dtype=np.int32)
        bounds = [counts["train"] - self.validation, counts["train"]]
        items = dict(zip(("train", "validation", "test"), np.split(everything, bounds)))
        digits = np.concatenate([label[part] for part in PARTS])
        names = np.array([f"{part} {row}" for part in PARTS for row in range(counts[part])])
        return Dataset(
            columns=columns,
            splits={
                split: Rows(dict.fromkeys(SIDES, at), {"digit": digits[at]}, np.ones(len(at), np.float32))
                for split, at in items.items()
            },
            metadata={split: {"id": names[at], "group": at.astype(np.int64)} for split, at in items.items()},
            fingerprint=self._fingerprint(folder),
            sizes={name: {"side": side} for name, side in SIDES.items()},
            classes={"digit": DIGITS},
            media=partial(_media, columns, items["test"]),
            source="AV-MNIST of MultiBench",
        )

    def _fingerprint(self, folder: Path) -> str:
        """sha256 of the files and of the split."""
        digest = hashlib.sha256(f"validation {self.validation}".encode())
        for name in FILES:
            with (folder / name).open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()


@dataclasses.dataclass(frozen=True)
class GreyInput:
    """Grey values from 0 to 255, [side side] or [side * side] by rows -> Float32[side side 1]. side: in pixels."""

    side: int

    def __call__(self, raw: Any) -> np.ndarray:
        try:
            values = np.asarray(raw, np.float32)
        except (TypeError, ValueError):
            raise DataError(f"an input is {type(raw).__name__}; it must be grey values [{self.side} {self.side}]") from None
        if values.shape not in ((self.side, self.side), (self.side**2,)):
            given = list(values.shape)
            raise DataError(f"an input has the shape {given}; it must be grey values [{self.side} {self.side}]")
        return VectorInput(self.side**2)(values.reshape(-1)).reshape(self.side, self.side, 1)


def to_unit(batch: Any) -> Any:
    """Grey values -> values divided by 255, as in MultiBench."""
    return batch / 255


def _item(arrays: tuple[np.ndarray, np.ndarray], parse: GreyInput, number: int) -> np.ndarray:
    """An item of the training rows or, after them, of the test rows. Raises DataError for values that are not finite."""
    train, test = arrays
    part, row, array = ("train", number, train) if number < len(train) else ("test", number - len(train), test)
    try:
        return parse(array[row])
    except DataError as error:
        raise DataError(f"{part} row {row} of {parse.side} x {parse.side} pixels: {error}") from None


def _open(file: Path) -> np.ndarray:
    """The array of a .npy file, whose numbers are read when they are used. Raises DataError if there is none."""
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        line = " ".join(str(error).split())[:200]
        raise DataError(f"{file}: {line}; it must be a complete .npy file of numbers") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "uif":
        raise DataError(f"{file}: it has {getattr(array, 'dtype', 'no array')}; it must be a complete .npy file of numbers")
    return array


def _pixels(file: Path, side: int, count: int) -> np.ndarray:
    """[count side side] or [count side * side]."""
    array = _open(file)
    if array.shape not in ((count, side, side), (count, side * side)):
        wanted = f"[{count} {side * side}] or [{count} {side} {side}], with a row for each label"
        raise DataError(f"{file}: it has the shape {list(array.shape)}; it must be {wanted}")
    return array


def _labels(file: Path) -> np.ndarray:
    """Int32[n], digits."""
    array = _open(file)
    if array.shape not in ((array.size,), (array.size, 1)) or not array.size:
        raise DataError(f"{file}: it has the shape {list(array.shape)}; it must be [n], with at least one digit")
    digits = np.asarray(array).reshape(-1)
    wrong = np.flatnonzero(~np.isin(digits, np.arange(len(DIGITS))))
    if len(wrong):
        raise DataError(f"{file}: row {wrong[0]} is {digits[wrong[0]]}; it must be a digit from 0 to 9")
    return digits.astype(np.int32)


def _media(columns: dict[str, Column], test: np.ndarray, row: int) -> dict[str, Any]:
    """The image of a test row, enlarged, beside its spectrogram, as a PNG image."""
    grey = [columns[name].read(int(test[row]))[..., 0] for name in SIDES]
    pixels = np.concatenate([np.kron(grey[0], np.ones((4, 4))), grey[1]], axis=1)
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(file := io.BytesIO(), "PNG")
    return {"image": file.getvalue()}
