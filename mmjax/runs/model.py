"""The trained models of a part of a run, saved so that they can read new inputs without the data they were trained on.

    PART/model.json              module, tasks, class names, and how each modality's inputs are read and preprocessed
    PART/variables.safetensors   the best variables of each seed, [s ...] by path; frozen published weights are not repeated
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from flax.traverse_util import flatten_dict, unflatten_dict

from mmjax.data.dataset import Dataset
from mmjax.describe import DescribeError, as_json, from_json
from mmjax.pretrained.init import digest, read_weights
from mmjax.runs.folder import read_json, write_bytes, write_json
from mmjax.runs.schema import RunError
from mmjax.types import Batch, Padded

__all__ = [
    "MODEL", "VARIABLES", "Reader", "SavedModel", "as_item", "cannot_be_loaded", "read_model", "read_variables", "save_model",
    "write_model", "write_variables",
]

MODEL, VARIABLES = "model.json", "variables.safetensors"


@dataclass(frozen=True)
class Reader:
    """How new inputs of one modality become the encoder's input.

    parse: a raw input -> an item; None if the data set has no inputs from outside. preprocess: a batch of items -> the
    encoder's input. item: {"": zeros} or {"x", "length": zeros} of one item, as NumPy arrays.
    """

    parse: Any
    preprocess: Any
    item: Mapping[str, np.ndarray]

    @property
    def empty(self) -> Any:
        """The item that stands for an absent input: zeros, of length 0 if it is a `Padded`."""
        return as_item(self.item)


def as_item(leaves: Mapping[str, Any]) -> Any:
    """{"": array} -> array; {"x", "length"} -> Padded."""
    return leaves[""] if "" in leaves else Padded(leaves["x"], leaves["length"])


@dataclass(frozen=True)
class SavedModel:
    """The models of all seeds of one part.

    module: the whole model. tasks: {name: Task}. readers: {modality: Reader}. classes: {target: names of its classes, or its
    tokenizer if it is a text}. targets: {name: zeros of one row}. seeds: their numbers. variables: {collection: tree [s ...]}
    of all seeds, on the host. frozen: {collection: tree}, published weights that all seeds share.
    """

    module: Any
    tasks: Mapping[str, Any]
    readers: Mapping[str, Reader]
    classes: Mapping[str, Any]
    targets: Mapping[str, np.ndarray]
    seeds: tuple[int, ...]
    variables: Mapping[str, Any]
    frozen: Mapping[str, Any]

    def batch(self, inputs: Mapping[str, Any], present: Mapping[str, Any]) -> Batch:
        """The preprocessed batch; works under jit. inputs: {modality: batch of items}. present: {modality: Bool[b]}."""
        rows = jax.tree.leaves(present)[0].shape[0]
        targets = {name: jnp.zeros((rows, *zeros.shape), zeros.dtype) for name, zeros in self.targets.items()}
        found = {name: reader.preprocess(inputs[name]) for name, reader in self.readers.items()}
        return Batch(found, dict(present), targets, jnp.ones(rows, jnp.float32))


def write_model(
    folder: Path, experiment: Any, dataset: Dataset, seeds: Sequence[int], variables: Any, frozen: str
) -> list[str]:
    """Writes the models of a part and returns the names of the files.

    experiment: the `Experiment`. variables: the best variables of all seeds, [s ...], without frozen ones. frozen: the digest
    of the published weights, "" without any.
    """
    model = _described(experiment, dataset) | {"seeds": list(seeds), "frozen": frozen}
    write_json(folder / MODEL, model)
    write_variables(folder / VARIABLES, variables)
    return [MODEL, VARIABLES]


def cannot_be_loaded(experiment: Any, dataset: Dataset) -> str | None:
    """Why the saved models of an experiment could not be loaded, None if they could; computed before any training."""
    described = _described(experiment, dataset)
    try:
        for name in ("module", "tasks", "classes"):
            from_json(described[name])
        for reader in described["readers"].values():
            from_json(reader["parse"]), from_json(reader["preprocess"])
    except DescribeError as error:
        return str(error)
    return None


def _described(experiment: Any, dataset: Dataset) -> dict[str, Any]:
    """The content of model.json without seeds and weights' digest."""
    readers = {}
    for name in sorted(experiment.encoders):
        column = dataset.columns[name]
        leaves = {"": column.read(0)}
        if isinstance(leaves[""], Padded):
            leaves = {"x": leaves[""].x, "length": leaves[""].length}
        item = {key: {"shape": list(np.shape(leaf)), "dtype": np.asarray(leaf).dtype.name} for key, leaf in leaves.items()}
        readers[name] = {"parse": as_json(column.parse), "preprocess": as_json(column.preprocess), "item": item}
    rows = dataset.splits["test"]
    return {
        "module": as_json(experiment.compress.module(experiment.model) if experiment.compress else experiment.model),
        "tasks": as_json(experiment.tasks),
        "readers": readers,
        "classes": as_json({**dataset.classes, **dataset.tokenizers}),
        "targets": {
            name: {"shape": list(target.shape[1:]), "dtype": np.asarray(target).dtype.name}
            for name, target in rows.targets.items()
        },
        "weights": as_json(experiment.weights),
    }


def save_model(folder: Path, source: Path, model: SavedModel) -> None:
    """Copies the models of the part `source` to another folder; `model` is what `read_model` found there."""
    write_json(folder / MODEL, read_json(source / MODEL))
    write_variables(folder / VARIABLES, model.variables)


def write_variables(file: Path, variables: Mapping[str, Any]) -> None:
    """Writes {collection: tree} as safetensors, by path ("params/heads_label/kernel")."""
    arrays = {path: np.ascontiguousarray(leaf) for path, leaf in flatten_dict(dict(variables), sep="/").items()}
    write_bytes(file, safetensors.numpy.save(arrays))


def read_model(folder: Path) -> SavedModel:
    """The models of a part, or those that `write_model` wrote anywhere else.

    RunError, naming the file, if it is missing or damaged, if a class cannot be imported, or if the published weights have
    changed.
    """
    file = folder / MODEL
    model = read_json(file)
    try:
        module, tasks = from_json(model["module"]), from_json(model["tasks"])
        readers = {
            name: Reader(from_json(entry["parse"]), from_json(entry["preprocess"]), _zeros(entry["item"]))
            for name, entry in model["readers"].items()
        }
        classes, targets = from_json(model["classes"]), _zeros(model["targets"])
        seeds, weights, frozen = tuple(model["seeds"]), model["weights"], model["frozen"]
    except DescribeError as error:
        raise RunError(f"{file}: {error}") from None
    except Exception as error:  # a damaged description can fail anywhere
        raise RunError(f"{file} is damaged ({type(error).__name__}: {error}); write the run again") from None
    variables = read_variables(folder / VARIABLES)
    if any(leaf.shape[:1] != (len(seeds),) for leaf in jax.tree.leaves(variables)):
        raise RunError(f"{folder / VARIABLES} is not of {len(seeds)} seeds, as {file} says; write the run again")
    saved = SavedModel(module, tasks, readers, classes, targets, seeds, variables, {})
    if not weights:
        return saved
    arrays = read_weights(_shapes(saved), weights)
    if frozen and digest(arrays) != frozen:
        raise RunError(f"{file}: the weights {', '.join(weights.values())} differ from those that the model was trained with")
    own = {prefix for path in flatten_dict(dict(variables)) for prefix in accumulate(path, "{}/{}".format)}
    missing = {path: array for path, array in arrays.items() if path not in own}  # a compressed array may be a subtree
    return SavedModel(module, tasks, readers, classes, targets, seeds, variables, unflatten_dict(missing, sep="/"))


def _shapes(saved: SavedModel) -> Any:
    """The shapes of one seed's variables."""

    def init():
        inputs = {name: jax.tree.map(lambda leaf: leaf[None], reader.empty) for name, reader in saved.readers.items()}
        present = {name: jnp.ones(1, bool) for name in inputs}
        return saved.module.init(jax.random.key(0), saved.batch(inputs, present))

    return jax.eval_shape(init)


def read_variables(file: Path) -> dict[str, Any]:
    """{collection: tree [s ...]} that `write_variables` wrote. RunError if the file is missing or damaged."""
    try:
        arrays = safetensors.numpy.load_file(file)
    except (OSError, safetensors.SafetensorError) as error:
        raise RunError(f"{file} is missing or damaged ({error}); write the run again") from None
    return unflatten_dict(arrays, sep="/")


def _zeros(described: Mapping[str, Mapping[str, Any]]) -> dict[str, np.ndarray]:
    return {name: np.zeros(entry["shape"], jnp.dtype(entry["dtype"])) for name, entry in described.items()}
