"""An experiment is a value: what the data are, which modules make the model, and how it is trained. `main` runs them."""

import dataclasses
import enum
import hashlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import tyro

from mmjax.data.dataset import Dataset
from mmjax.data.feed import specimen
from mmjax.losses import cross_entropy
from mmjax.model import Multimodal
from mmjax.train.optim import Adam


class ExperimentError(ValueError):
    """An experiment does not fit together; the message names the field and what would be right."""


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One cell of an ablation.

    data: a frozen dataclass with `load() -> Dataset`, such as Stamps. encoders: {modality: Encoder}; fusion; heads:
    {target: Head}; loss; optim: steps -> optax transformation; augment: {name: (batch, key) -> batch}, applied in order.
    steps: of training; batch: rows a step; evaluate_every, checkpoint_every: steps between evaluations on the validation
    split (which pick the best step), and between checkpoints.
    """

    data: Any
    encoders: dict[str, nn.Module]
    fusion: nn.Module
    heads: dict[str, nn.Module]
    optim: Any = field(default_factory=Adam)
    augment: dict[str, Any] = field(default_factory=dict)
    loss: tyro.conf.Suppress[Callable] = cross_entropy
    steps: int = 300
    batch: int = 32
    evaluate_every: int = 25
    checkpoint_every: int = 100

    @property
    def target(self) -> str:
        """What is learnt: the name of the head."""
        return next(iter(self.heads))

    @property
    def model(self) -> Multimodal:
        return Multimodal(self.encoders, self.fusion, self.heads)

    def check(self, data: Dataset) -> None:
        """Raises ExperimentError where data and modules do not fit, before anything compiles."""
        for name in ("steps", "batch", "evaluate_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ExperimentError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if not self.encoders or not self.heads:
            raise ExperimentError("an experiment needs at least one encoder and one head")
        for part, names, known in (("encoders", self.encoders, data.columns), ("heads", self.heads, data.classes)):
            for name in names:
                if name not in known:
                    raise ExperimentError(f"{part}.{name}: the data have no {name!r}; they have {', '.join(sorted(known))}")
        for name, encoder in self.encoders.items():
            most, needed = getattr(encoder, "vocabulary", None), data.sizes[name].get("vocabulary")
            if most is not None and needed is not None and most < needed:
                raise ExperimentError(
                    f"encoders.{name}.vocabulary is {most}, but the tokeniser has {needed} tokens; give at least that many"
                )
        parts = {"fusion": self.fusion} | {f"heads.{name}": head for name, head in self.heads.items()}
        if len(self.heads) > 1:
            raise ExperimentError(f"heads are {', '.join(self.heads)}; training and evaluation here are of one target")
        target = self.target
        for name, module in parts.items():
            classes = getattr(module, "classes", None)
            if classes is not None and classes != len(data.classes[target]):
                raise ExperimentError(f"{name}.classes is {classes}, but {target!r} has {len(data.classes[target])} classes")
        try:  # shapes alone: whatever a module refuses, it refuses now
            jax.eval_shape(lambda batch: self.model.init(jax.random.key(0), batch), specimen(data, self.encoders, self.batch))
        except ValueError as error:
            raise ExperimentError(str(error)) from error


def resolved(value: Any) -> Any:
    """Any value of an experiment as JSON: dataclasses and modules become their fields with the name of their class."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        skip = ("parent", "name") if isinstance(value, nn.Module) else ()
        names = [f.name for f in dataclasses.fields(value) if f.init and f.name not in skip]
        fields = {name: resolved(getattr(value, name)) for name in names}
        return {"class": type(value).__name__} | _own_source(type(value)) | fields
    if isinstance(value, Mapping):
        return {str(name): resolved(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [resolved(entry) for entry in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, (np.dtype, type)) or hasattr(value, "dtype"):
        return jnp.dtype(value).name
    return getattr(value, "__qualname__", None) or repr(value)


def _own_source(kind: type) -> dict[str, str]:
    """For classes outside mmjax, sha256 of their text: an edited module of one's own is another experiment."""
    if kind.__module__.split(".")[0] in ("mmjax", "flax"):
        return {}
    try:
        return {"source": hashlib.sha256(inspect.getsource(kind).encode()).hexdigest()[:16]}
    except (OSError, TypeError):  # defined where there is no file, as in a notebook's kernel
        return {}


def summary(module: nn.Module) -> str:
    """A module in one line: its class, and the fields that are not at their default."""
    fields = [f for f in dataclasses.fields(module) if f.name not in ("parent", "name")]
    given = [f"{f.name}={getattr(module, f.name)!r}" for f in fields if getattr(module, f.name) != f.default]
    return f"{type(module).__name__}({', '.join(given)})"


def parameter_count(params: Any) -> int:
    """How many numbers a pytree of one seed's parameters holds."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def main(ablations: Mapping[str, Experiment]) -> None:
    """The command line of an experiment file; `mmjax.cli` says what it accepts."""
    from mmjax.cli import run  # here, for it imports the evaluation and the report, which an importer of this file may not need

    run(ablations)
