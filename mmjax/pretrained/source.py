"""A folder or file of weights with its JSON settings, whose fields are read and checked by type."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np

from mmjax.nn.attention import gelu, gelu_sigmoid, gelu_tanh
from mmjax.pretrained.files import CONFIG_FILE, WeightsError, config_file, read_arrays, read_json, shown, weights_file

__all__ = [
    "ACTIVATIONS",
    "LARGEST",
    "LAYERS",
    "SIDE",
    "Settings",
    "Source",
    "T",
    "are_integers",
    "is_integer",
    "is_number",
    "read_source",
]

ACTIVATIONS = {
    "gelu": gelu,
    "gelu_python": gelu,
    "gelu_new": gelu_tanh,
    "gelu_fast": gelu_tanh,
    "gelu_pytorch_tanh": gelu_tanh,
    "quick_gelu": gelu_sigmoid,
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
}
"""transformers' name of an activation -> our function."""
LARGEST = 2**20
"""No size of a published model is larger. Absurd sizes would exhaust the memory before the tensors are found not to fit."""
LAYERS = 1000
"""The largest number of layers."""
SIDE = 2**14
"""The largest side of an image, in pixels."""

T = TypeVar("T", bound="Settings")


def is_number(value: Any) -> bool:
    """Whether it is a finite number. Python's JSON reader also gives NaN and infinity, and `True` is an int."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def is_integer(value: Any, minimum: int = 1, maximum: int | float = LARGEST) -> bool:
    """Whether it is an integer in a range. Some JSON writers turn 12 into 12.0."""
    return is_number(value) and value == int(value) and minimum <= value <= maximum


def are_integers(values: Any, count: int | None = None, minimum: int = 1, maximum: int | float = LARGEST) -> bool:
    """Whether it is a list of `count` integers in a range; None for any positive number of them up to 1000."""
    fits = isinstance(values, list | tuple) and len(values) == (count or min(max(len(values), 1), 1000))
    return fits and all(is_integer(value, minimum, maximum) for value in values)


@dataclass(frozen=True)
class Settings:
    """A JSON object with typed access to its fields.

    Each method reads the field `name`. It raises a WeightsError with the file and the field if the field is missing or has
    another type: nothing about a model is guessed. default: the value of a field that is missing or null; None if the field is
    required.

    where, file: for error messages. config: the object.
    """

    where: str
    config: Mapping[str, Any]
    file: str = field(default="config.json", kw_only=True)

    def read(self, name: str, fits: Callable[[Any], bool], expected: str, default: Any = None) -> Any:
        """A value for which `fits` is true. expected: a description of such values, for the error message."""
        value = self.config.get(name)
        if value is None and default is not None:
            return default
        if name not in self.config:
            raise WeightsError(f"{self.where}: {self.file} lacks {name!r}")
        if not fits(value):
            raise self.error(name, expected)
        return value

    def error(self, name: str, expected: str) -> WeightsError:
        """An error for the caller to raise. expected: a description of valid values."""
        return WeightsError(f"{self.where}: {self.file} has {name} = {shown(repr(self.config[name]))}; it must be {expected}")

    def integer(self, name: str, default: int | None = None, minimum: int = 1, maximum: int | float = LARGEST) -> int:
        """An integer in a range."""
        expected = f"an integer of at least {minimum} and at most {maximum}"
        return int(self.read(name, lambda value: is_integer(value, minimum, maximum), expected, default))

    def layers(self, name: str) -> int:
        """A number of layers."""
        return self.integer(name, maximum=LAYERS)

    def integers(
        self, name: str, count: int | None = None, minimum: int = 1, maximum: int | float = LARGEST
    ) -> tuple[int, ...]:
        """A list of `count` integers in a range; None for any positive number of them up to 1000."""
        expected = f"a list of {f'{count} ' if count else ''}integers of at least {minimum} and at most {maximum}"
        fits = lambda values: are_integers(values, count, minimum, maximum)
        return tuple(map(int, self.read(name, fits, expected)))

    def height_width(self, name: str) -> tuple[int, int]:
        """A size in pixels, given as one integer or as (height, width)."""
        fits = lambda value: is_integer(value, maximum=SIDE) or are_integers(value, 2, maximum=SIDE)
        height, width = np.broadcast_to(self.read(name, fits, f"an integer from 1 to {SIDE}, or two of them"), 2)
        return int(height), int(width)

    def number(self, name: str, default: float | None = None) -> float:
        """A finite number."""
        return float(self.read(name, is_number, "a finite number", default))

    def positive(self, name: str, default: float | None = None, maximum: int | float = sys.float_info.max) -> float:
        """A finite positive number of at most `maximum`."""
        expected = "a positive number" if maximum == sys.float_info.max else f"a positive number of at most {maximum}"
        return float(self.read(name, lambda value: is_number(value) and 0 < value <= maximum, expected, default))

    def fraction(self, name: str) -> float:
        """A number from 0 to 1, such as a dropout rate."""
        return float(self.read(name, lambda value: is_number(value) and 0 <= value <= 1, "a number from 0 to 1"))

    def flag(self, name: str, default: bool | None = None) -> bool:
        """true or false. null is refused: in some files it means the default, in others false."""
        missing = None if name in self.config else default
        return self.read(name, lambda value: isinstance(value, bool), "true or false", missing)

    def string(self, name: str, default: str | None = None) -> str:
        """A string."""
        return self.read(name, lambda value: isinstance(value, str), "a string", default)

    def require(self, name: str, *supported: Any) -> None:
        """Raises WeightsError unless the field has one of the supported values. A missing field has the first of them."""
        value = self.config.get(name, supported[0])
        # In Python, True == 1 and False == 0.
        if not any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in supported):
            known = ", ".join(map(repr, supported))
            raise WeightsError(f"{self.where}: {self.file} has {name} = {shown(repr(value))}; only {known} is supported")

    def activation(self, name: str = "hidden_act") -> Callable:
        """The activation function that the field names."""
        if self.string(name) not in ACTIVATIONS:
            known = ", ".join(ACTIVATIONS)
            given = shown(repr(self.config[name]))
            raise WeightsError(f"{self.where}: {self.file} has {name} = {given}; supported are {known}")
        return ACTIVATIONS[self.config[name]]

    def section(self: T, name: str, default: Mapping[str, Any] | None = None) -> T:
        """A nested object, such as the settings of one encoder of two."""
        inner = self.read(name, lambda value: isinstance(value, Mapping), "an object", default)
        return replace(self, where=f"{self.where}, {name}", config=inner)

    def with_defaults(self: T, defaults: Mapping[str, Any]) -> T:
        """The same settings, with defaults for fields that are missing or null."""
        return replace(self, config={**defaults, **{name: value for name, value in self.config.items() if value is not None}})


@dataclass(frozen=True)
class Source(Settings):
    """The files from which an architecture is read.

    config: the content of config.json, {} without the file. tensors: {name: array}. folder: the folder of the preprocessing's
    files (preprocessor_config.json, tokenizer.json, ...), None if there is none. tokenizer: its file, outside of
    the folder.
    """

    tensors: Mapping[str, np.ndarray] = field(repr=False)
    folder: Path | None = None
    tokenizer: Path | None = None

    def settings(self, name: str) -> Settings:
        """A JSON file of the folder; {} without the file."""
        return Settings(self.where, read_json(self.folder / name) if self.folder else {}, file=name)

    def preprocessing(self, section: str) -> Settings:
        """The settings of preprocessor_config.json.

        Newer versions of transformers write processor_config.json instead, with one section per modality: "image_processor" or
        "feature_extractor".
        """
        settings = self.settings("preprocessor_config.json")
        return settings if settings.config else self.settings("processor_config.json").section(section, {})


def read_source(path: Path, config: Mapping[str, Any] | None = None) -> Source:
    """Reads a folder with config.json (or open_clip's) and weights, or one file of weights. config: replaces config.json."""
    try:
        file = weights_file(path)
        folder = path if path.is_dir() else None
        name = config_file(folder, file) if folder and config is None else CONFIG_FILE
        read = read_json(folder / name) if folder and config is None else {}
        return Source(str(path), dict(config) if config is not None else read, read_arrays(file), folder, file=name)
    except OSError as error:
        raise WeightsError(f"{path}: it cannot be read: {error.strerror}") from error
