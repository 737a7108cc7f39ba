"""A trained cell: predictions for new inputs, its variables, saving and export. No training data are needed."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.data.dataset import stack
from mmjax.data.decode import DataError
from mmjax.results.export import exported, prediction
from mmjax.runs.folder import read_json, write_bytes, write_json
from mmjax.runs.model import SavedModel, read_model, save_model
from mmjax.runs.schema import RunError
from mmjax.train.stages import merged
from mmjax.types import Padded

__all__ = ["SAVED", "Cell", "load_cell"]

SAVED = "cell.json"


@dataclass(frozen=True)
class Cell:
    """One trained cell of a run. Its models are those of all seeds, and of all folds of a cross-validation.

    folders: the folder of each part, a fold or some of the seeds.
    """

    name: str
    folders: tuple[Path, ...]

    @cached_property
    def models(self) -> tuple[SavedModel, ...]:
        """The models of each part, read on first use."""
        return tuple(read_model(folder) for folder in self.folders)

    @property
    def module(self) -> Any:
        """The whole model: a `mmjax.model.Multimodal`, or what `Compression.module` makes of it."""
        return self.models[0].module

    @property
    def tasks(self) -> Mapping[str, Any]:
        """{name: Task}."""
        return self.models[0].tasks

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of each answer of `predict(each_seed=True)`; with a cross-validation, each fold has all seeds."""
        return tuple(seed for model in self.models for seed in model.seeds)

    @property
    def classes(self) -> Mapping[str, Any]:
        """{target: names of its classes or labels, or its tokenizer if it is a text}."""
        return self.models[0].classes

    def variables(self, seed: int = 0, part: int = 0) -> dict[str, Any]:
        """The variables of one seed, as `module.apply` takes them. part: the index in `models`, of folds or groups of seeds.

        ValueError if the seed is not in the part.
        """
        model = self.models[part]
        if seed not in model.seeds:
            raise ValueError(f"seed is {seed}; the seeds of {self.folders[part].name} are {list(model.seeds)}")
        position = model.seeds.index(seed)
        return merged(jax.tree.map(lambda leaf: leaf[position], model.variables), model.frozen)

    def predict(self, inputs: Mapping[str, Any], each_seed: bool = False, batch: int = 32) -> dict[str, Any]:
        """The answers of every task to n new inputs: {task: {"predicted": array [n ...], ...}} (see `Task.answers`).

        inputs: {modality: n raw inputs}; an image is a path, bytes or an array, a text a str, a recording a path, bytes or
        (samples, rate), and a series or vector an array. None where one is missing; a modality may be left out completely.
        A text, path or bytes without a list is one input; None without a list leaves the modality out.
        Answers are averaged over seeds, and over folds. each_seed: a list with the answers of each seed instead. batch: inputs
        per compiled call.
        DataError, naming the modality and the number of the input, if an input cannot be read.
        """
        inputs = self._check(inputs)
        count = len(next(iter(inputs.values())))
        if not isinstance(batch, int) or batch < 1:
            raise DataError(f"batch is {batch!r}; it must be a whole number, at least 1")
        parts = [_predictions(*pair, inputs, count, batch, self.name) for pair in zip(self.models, self._functions)]
        known = [model.classes for model in self.models]
        answers = lambda of_task, task, classes: dict(self.tasks[task].answers(of_task, classes))
        if not each_seed:

            def of_all(task: str) -> dict[str, Any]:
                of_parts = lambda classes: [answers(part[task], task, one) for part, one in zip(parts, classes)]
                # Folds may have tokenizers of their own: then the same token ids are other texts.
                if any(classes != self.classes for classes in known):
                    own, first = of_parts(known), of_parts([self.classes] * len(known))
                    if any(not np.array_equal(a[name], b[name]) for a, b in zip(own, first) for name in a):
                        return _most_common(own)
                joined = jax.tree.map(lambda *leaves: np.concatenate(leaves), *(part[task] for part in parts))
                return answers(joined, task, self.classes)

            return {task: of_all(task) for task in self.tasks}
        return {
            task: [
                answers(jax.tree.map(lambda leaf, k=k: leaf[k : k + 1], part[task]), task, classes)
                for part, classes in zip(parts, known)
                for k in range(jax.tree.leaves(part[task])[0].shape[0])
            ]
            for task in self.tasks
        }

    def save(self, folder: Path | str) -> Path:
        """Writes the models to a new folder: model.json and variables.safetensors for each part. `load_cell` reads them.

        Frozen published weights are not repeated; they are found by name. RunError if the folder is not empty or a file.
        """
        folder = Path(folder)
        if folder.exists() and not folder.is_dir():
            raise RunError(f"{folder} is a file; name a new folder")
        if folder.exists() and any(folder.iterdir()):
            raise RunError(f"{folder} is not empty; name a new folder")
        for model, source in zip(self.models, self.folders):
            save_model(folder / source.name, source, model)
        write_json(folder / SAVED, {"cell": self.name, "parts": [source.name for source in self.folders]})
        return folder

    def export(self, path: Path | str, part: int = 0) -> Path:
        """Writes `jax.export` bytes of the prediction function of one part, and a JSON file beside them that describes them.

        The function takes ({modality: items}, {modality: present Bool[b]}) for any batch size b, on CPU, GPU and TPU, and
        returns {task: predictions [s b ...]} of all seeds. Items are raw arrays before preprocessing, such as uint8 images
        [b h w 4], or {"x", "length"}; the JSON file gives their shapes. mmjax is not needed to run it:

            function = jax.export.deserialize(bytearray(open(path, "rb").read()))
            answers = function.call({"image": images}, {"image": present})
        """
        path = Path(path)
        data, description = exported(self.models[part])
        write_bytes(path, data)
        write_bytes(path.with_suffix(path.suffix + ".json"), json.dumps(description, indent=1).encode())
        return path

    @cached_property
    def _functions(self) -> list[Any]:
        """The compiled prediction function of each part."""
        return [jax.jit(prediction(model)) for model in self.models]

    def _check(self, inputs: Mapping[str, Any]) -> dict[str, list[Any]]:
        """The inputs as lists of equal length."""
        readers = self.models[0].readers
        unknown = sorted(set(inputs) - set(readers))
        is_one = lambda given: isinstance(given, (str, bytes, Path))
        inputs = {name: [given] if is_one(given) else given for name, given in inputs.items() if given is not None}
        if unknown or not inputs:
            given = f"{unknown[0]!r} is not a modality of cell {self.name}" if unknown else "inputs are empty"
            raise DataError(f"{given}; its modalities are {', '.join(readers)}")
        for modality, values in inputs.items():
            if not hasattr(values, "__len__"):
                raise DataError(f"{modality}: a list of inputs is expected, not {type(values).__name__}; write [input]")
        counts = {modality: len(values) for modality, values in inputs.items()}
        if len(set(counts.values())) > 1 or not next(iter(counts.values())):
            raise DataError(f"inputs have different lengths or none: {counts}; give one for each example, or None")
        return {modality: list(values) for modality, values in inputs.items()}


def _most_common(answers: list[dict[str, Any]]) -> dict[str, Any]:
    """Of the texts of several parts the most frequent one for each input, the first of several."""
    return {
        name: np.array([Counter(of_row).most_common(1)[0][0] for of_row in zip(*(answer[name] for answer in answers))])
        for name in answers[0]
    }


def load_cell(folder: Path | str) -> Cell:
    """The cell that `Cell.save` wrote to this folder. RunError if there is none."""
    folder = Path(folder)
    if not (folder / SAVED).is_file():
        raise RunError(f"{folder} has no saved model; it should be a folder that Cell.save wrote")
    saved = read_json(folder / SAVED)
    try:
        return Cell(str(saved["cell"]), tuple(folder / str(name) for name in saved["parts"]))
    except (KeyError, TypeError):
        raise RunError(f"{folder / SAVED} is damaged; it should be a file that Cell.save wrote") from None


def _predictions(
    model: SavedModel, run: Any, inputs: Mapping[str, Sequence[Any]], count: int, batch: int, name: str
) -> Any:
    """{task: predictions [s n ...]} of one part."""
    variables, frozen = (jax.tree.map(jnp.asarray, tree) for tree in (model.variables, model.frozen))
    size = min(batch, count)
    parts = []
    for items, present in _batches(model, inputs, count, size, name):
        parts.append(jax.tree.map(np.asarray, run(variables, frozen, items, present)))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves, axis=1)[:, :count], *parts)


def _batches(
    model: SavedModel, inputs: Mapping[str, Sequence[Any]], count: int, size: int, name: str
) -> Iterator[tuple[dict[str, Any], dict[str, np.ndarray]]]:
    """(items, present) of each batch; the last one is padded with absent inputs."""
    for start in range(0, count, size):
        numbers = range(start, start + size)
        items, present = {}, {}
        for modality, reader in model.readers.items():
            values = inputs.get(modality, ())
            raw = [values[number] if number < len(values) else None for number in numbers]
            present[modality] = np.array([value is not None for value in raw])
            parse = partial(_parsed, reader, modality, name)
            items[modality] = stack([reader.empty if value is None else parse(i, value) for i, value in zip(numbers, raw)])
        yield items, present


def _parsed(reader: Any, modality: str, name: str, number: int, raw: Any) -> Any:
    """The item of one raw input, with the shape and dtype of the training items. DataError names the modality and number."""
    if reader.parse is None:
        raise DataError(f"{modality}: the data of cell {name} do not say how new inputs are read; give its Column a `parse`")
    try:
        item = reader.parse(raw)
    except (DataError, ImportError) as error:
        raise type(error)(f"{modality}[{number}]: {error}") from None
    leaves = {"x": item.x, "length": item.length} if isinstance(item, Padded) else {"": item}
    for key, expected in reader.item.items():
        found = np.asarray(leaves.get(key))
        if found.shape != expected.shape or found.dtype != expected.dtype:
            given, wanted = (f"{array.dtype}{list(array.shape)}" for array in (found, expected))
            raise DataError(f"{modality}[{number}]: its item is {given}, not {wanted}")
    return item
