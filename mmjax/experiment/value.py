"""An experiment is a value: what the data are, which modules make the model, and how it is trained. `main` runs them."""

import dataclasses
import enum
import hashlib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import field
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from flax.errors import FlaxError
from flax.traverse_util import flatten_dict

from mmjax.data.dataset import Dataset
from mmjax.data.feed import example_batch
from mmjax.losses import cross_entropy
from mmjax.model import Multimodal
from mmjax.pretrained.init import init_from_pretrained
from mmjax.train.optim import Adam
from mmjax.train.stages import Part, Stage, does_learn, parts
from mmjax.train.step import Step, begin, init, make_step


class ExperimentError(ValueError):
    """An experiment does not fit together; the message names the field and what would be right."""


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One cell of an ablation.

    data: a frozen dataclass with `load() -> Dataset`, such as Stamps. encoders: {modality: Encoder}; fusion; heads:
    {target: Head}; unimodal_heads: {modality: {target: Head}}, on one modality's own tokens; loss; balance: how the losses of several
    tasks become one gradient, None for their sum; optim: steps -> optax transformation; augment: {name: (batch, key) ->
    batch}, applied in order; stages: parts of the training, one after another. weights: {path of an encoder's parameters, such
    as "encoders_text": published weights with which it begins} (`pretrained.start`). score: the output that is evaluated, such
    as "label" or "image.label"; None for the first head. equal_classes: the target whose classes weigh the same in training,
    however many rows they have; None where all rows weigh what the data say.
    steps: of training; batch: rows a step; evaluate_every, checkpoint_every: steps between evaluations on the validation
    split (which pick the best step), and between checkpoints.
    """

    data: Any
    encoders: dict[str, nn.Module]
    fusion: nn.Module
    heads: dict[str, nn.Module]
    unimodal_heads: dict[str, dict[str, nn.Module]] = field(default_factory=dict)
    optim: Any = field(default_factory=Adam)
    augment: dict[str, Any] = field(default_factory=dict)
    loss: tyro.conf.Suppress[Callable] = cross_entropy
    balance: Any = None
    stages: tuple[Stage, ...] = ()
    weights: dict[str, str] = field(default_factory=dict)
    score: str | None = None
    equal_classes: str | None = None
    steps: int = 300
    batch: int = 32
    evaluate_every: int = 25
    checkpoint_every: int = 100

    @property
    def output(self) -> str:
        """The name of the output that is evaluated."""
        return self.score or next(iter(self.heads), "")

    @property
    def target(self) -> str:
        """What that output is compared with."""
        return target_of(self.output)

    @property
    def model(self) -> Multimodal:
        return Multimodal(self.encoders, self.fusion, self.heads, self.unimodal_heads)

    @property
    def outputs(self) -> dict[str, nn.Module]:
        """All heads, by the names of their outputs."""
        alone = {f"{modality}.{target}": head for modality, heads in self.unimodal_heads.items() for target, head in heads.items()}
        return {**self.heads, **alone}

    def check(self, data: Dataset) -> None:
        """Raises ExperimentError where data and modules do not fit, before anything compiles."""
        for name in ("steps", "batch", "evaluate_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ExperimentError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if not self.encoders or not self.outputs:
            raise ExperimentError("an experiment needs at least one encoder and one head")
        for name in self.encoders:
            if name not in data.columns:
                raise ExperimentError(f"encoders.{name}: the data have no {name!r}; they have {_list(data.columns)}")
        for name in self.unimodal_heads:
            if name not in self.encoders:
                raise ExperimentError(f"alone.{name}: no encoder gives {name!r}; the encoders are {_list(self.encoders)}")
        self._check_classes(data)
        for name, encoder in self.encoders.items():
            most, needed = getattr(encoder, "vocabulary", None), data.sizes[name].get("vocabulary")
            if most is not None and needed is not None and most < needed:
                raise ExperimentError(
                    f"encoders.{name}.vocabulary is {most}, but the tokeniser has {needed} tokens; give at least that many"
                )
        self._check_shapes(example_batch(data, self.encoders, self.batch), len(data.classes[self.target]))

    def _check_shapes(self, batch: Any, classes: int) -> None:
        """Shapes alone, part by part: whatever a module, a loss, an optimiser or a stage refuses, it refuses now."""
        key, tokens = jax.random.key(0), {}
        for name, encoder in self.encoders.items():
            one = Multimodal({name: encoder}, self.fusion, {})
            with _names(f"encoders.{name}", encoder, batch.inputs[name]):
                tokens |= jax.eval_shape(lambda batch, m=one: m.init_with_output(key, batch, method="encode"), batch)[0]
        if self.heads:
            with _names("fusion", self.fusion, tokens):
                fused = jax.eval_shape(lambda tokens: self.fusion.init_with_output(key, tokens), tokens)[0]
        for output, head in self.outputs.items():
            given = tokens[output.split(".")[0]] if "." in output else fused
            with _names(f"alone.{output}" if "." in output else f"heads.{output}", head, given):
                said = jax.eval_shape(lambda given, m=head: m.init_with_output(key, given), given)[0]
            if output == self.output and said.shape[-1:] != (classes,):
                given = f"{summary(head)} gives {list(said.shape)}"
                raise ExperimentError(f"{output}: {given}, but {self.target!r} has {classes} classes")
        if self.weights:
            init_from_pretrained(jax.eval_shape(self.model.init, key, batch), self.weights)
        with _names("training"):
            jax.eval_shape(self._dry_run, batch)

    def _check_classes(self, data: Dataset) -> None:
        if self.output not in self.outputs:
            raise ExperimentError(f"score is {self.output!r}, but the outputs are {_list(self.outputs)}")
        if self.target not in data.classes:
            part = "unimodal_heads" if "." in self.output else "heads"
            raise ExperimentError(f"{part}.{self.output}: the data have no {self.target!r}; they have {_list(data.classes)}")
        if self.equal_classes is not None:
            if self.equal_classes not in data.classes:
                known = _list(data.classes)
                raise ExperimentError(f"equal_classes is {self.equal_classes!r}, which the data lack; they have {known}")
            if np.ndim(data.splits["train"].targets[self.equal_classes]) != 1:
                raise ExperimentError(f"equal_classes: {self.equal_classes!r} has labels for steps; a row needs one class")
        numbers = {name: (classes, self.target) for name, classes in _classes("fusion", self.fusion).items()}
        for output, head in self.outputs.items():
            part = "unimodal_heads" if "." in output else "heads"
            numbers |= {name: (classes, target_of(output)) for name, classes in _classes(f"{part}.{output}", head).items()}
        for name, (classes, target) in numbers.items():
            if target not in data.classes:
                raise ExperimentError(f"{name}: the data have no {target!r}; they have {_list(data.classes)}")
            if classes != len(data.classes[target]):
                raise ExperimentError(f"{name}.classes is {classes}, but {target!r} has {len(data.classes[target])} classes")

    def _dry_run(self, batch: Any) -> Any:
        """A step of each stage, for shapes."""
        state = init(self.model, self.optim(self.steps), jax.random.key(0), batch, self.balance)
        paths = flatten_dict(state.params, sep="/")
        for part in parts(self.stages, self.steps):
            for beginning in part.learns or ():
                if not any(does_learn(path, (beginning,)) for path in paths):
                    raise ValueError(f"stages: no parameter begins with {beginning!r}; the parts are {_list(state.params)}")
            state, _ = self.step_of(part)(begin(state, self.tx_of(part), part.learns, self.balance), batch)
        return state

    def tx_of(self, part: Part) -> optax.GradientTransformation:
        """The optimiser of one part of the steps."""
        optim = part.stage.optim if part.stage and part.stage.optim else self.optim
        return optim(part.end - part.first)

    def step_of(self, part: Part) -> Step:
        """The training step of one part of the steps."""
        loss = part.stage.loss if part.stage and part.stage.loss else self.loss
        return make_step(self.model, loss, self.tx_of(part), self.augment, self.balance, part.learns)


def target_of(output: str) -> str:
    """The target that an output is compared with: "image.label" and "label" both with "label"."""
    return output.rsplit(".", 1)[-1]


REFUSALS = (ValueError, TypeError, AttributeError, IndexError, KeyError, FlaxError, re.error)


@contextmanager
def _names(field: str, module: Any = None, given: Any = None) -> Iterator[None]:
    """What is refused inside is an ExperimentError that names the field, its module and what it was given."""
    try:
        yield
    except REFUSALS as error:
        if module is None:
            raise ExperimentError(f"{field}: {error}") from error
        shapes = jax.tree.map(lambda leaf: f"{leaf.dtype}{list(leaf.shape)}", given)
        raise ExperimentError(f"{field}: {summary(module)} does not take {shapes}: {error}") from error


def _classes(name: str, module: Any) -> dict[str, int]:
    """{path: number} of every field `classes` of a module and of the modules in its fields."""
    if isinstance(module, Mapping):
        return {path: n for key, part in module.items() for path, n in _classes(f"{name}.{key}", part).items()}
    if not isinstance(module, nn.Module):
        return {}
    fields = {f.name: getattr(module, f.name) for f in dataclasses.fields(module) if f.name not in ("parent", "name")}
    found = {name: fields["classes"]} if isinstance(fields.get("classes"), int) else {}
    return found | {path: n for key, value in fields.items() for path, n in _classes(f"{name}.{key}", value).items()}


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


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
    given = [f"{f.name}={_shown(getattr(module, f.name))}" for f in fields if getattr(module, f.name) != f.default]
    return f"{type(module).__name__}({', '.join(given)})"


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_shown(part)}" for name, part in value.items()) + "}"
    return summary(value) if isinstance(value, nn.Module) else repr(value)


def parameter_count(params: Any) -> int:
    """How many numbers a pytree of one seed's parameters holds."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def main(
    ablations: Mapping[str, Experiment],
    full: Mapping[str, Experiment] | None = None,
    by_name: Mapping[str, Experiment] | None = None,
) -> None:
    """The command line of an experiment file; `mmjax.experiment.cli` says what it accepts. full: the cells in the source's full size.
    by_name: cells that run when they are named alone, such as those that fetch weights."""
    from mmjax.experiment.cli import (
        run,  # here, for it imports the evaluation and the report, which an importer of this file may not need
    )

    run(ablations, full, by_name)
