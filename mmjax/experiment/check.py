"""Validation of an experiment against its data, before anything compiles: only shapes are computed."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import jax
from flax.errors import FlaxError
from flax.traverse_util import flatten_dict

from mmjax.data.dataset import Dataset
from mmjax.data.feed import example_batch
from mmjax.decoders.interleaved import BEGIN
from mmjax.describe import as_line
from mmjax.evaluate.predict import predict_attacked, predict_subsets
from mmjax.experiment.privacy import check_privacy, with_noise
from mmjax.experiment.tokens import with_token_ids
from mmjax.experiment.training import training_of
from mmjax.experiment.value import Experiment, ExperimentError
from mmjax.losses import CTC, On, WeightedLosses
from mmjax.model import Multimodal, teacher_ids
from mmjax.train.stages import does_learn

__all__ = ["MISMATCHES", "check", "listed"]

# modules, losses and tasks raise these for arguments that do not fit
MISMATCHES = (ValueError, TypeError, AttributeError, IndexError, KeyError, ZeroDivisionError, FlaxError, re.error)


def check(experiment: Experiment, data: Dataset) -> None:
    """Raises ExperimentError, which names the field, if an experiment does not fit its data or is not consistent."""
    for name in ("steps", "batch", "evaluate_every", "checkpoint_every"):
        if getattr(experiment, name) < 1:
            raise ExperimentError(f"{name} is {getattr(experiment, name)}; it must be at least 1")
    if not experiment.encoders or not experiment.outputs:
        raise ExperimentError("an experiment needs at least one encoder and one head or decoder")
    if (experiment.heads or experiment.decoders) and experiment.fusion is None:
        needed = listed([*experiment.heads, *experiment.decoders])
        raise ExperimentError(f"fusion is None, but the heads and decoders {needed} need fused tokens")
    for name in experiment.encoders:
        if name not in data.columns:
            raise ExperimentError(f"encoders.{name}: the data have no {name!r}; they have {listed(data.columns)}")
    for name in experiment.unimodal_heads:
        if name not in experiment.encoders:
            known = listed(experiment.encoders)
            raise ExperimentError(f"unimodal_heads.{name}: there is no encoder {name!r}; the encoders are {known}")
    for group in ("encoders", "decoders"):
        for name, module in getattr(experiment, group).items():
            vocabulary, needed = getattr(module, "vocabulary", None), data.sizes.get(name, {}).get("vocabulary")
            if vocabulary is not None and needed is not None and vocabulary < needed:
                raise ExperimentError(
                    f"{group}.{name}.vocabulary is {vocabulary}, but the tokenizer has {needed} tokens; give at least that many"
                )
    _check_decoders(experiment, data)
    _check_blanks(experiment, data)
    _check_tasks(experiment, data)
    rows = len(data.splits["train"])
    with _errors_in("attack or gradient"):
        experiment = with_token_ids(experiment, data)
    with _errors_in("sampling"):
        experiment.sampling.width(rows, experiment.batch, experiment.steps)
    with _errors_in("gradient"):
        known = with_noise(experiment, rows)
    outputs = _check_shapes(known, example_batch(data, experiment.encoders, experiment.batch))
    for name, task in experiment.tasks.items():
        with _errors_in(f"tasks.{name}"):
            task.check(outputs, data)
    if experiment.decoders:
        _check_searches(experiment, example_batch(data, experiment.encoders, experiment.batch))
    try:
        check_privacy(experiment, data)
    except ValueError as error:
        raise ExperimentError(str(error)) from error


def _check_decoders(experiment: Experiment, data: Dataset) -> None:
    targets = data.splits["train"].targets
    for name, decoder in experiment.decoders.items():
        if name in {**experiment.heads, **experiment.loss_parameters}:
            raise ExperimentError(f"decoders.{name}: there is another output of this name")
        found = targets.get(name)
        if found is None or found.ndim != 2 or found.dtype.kind not in "iu":
            given = f"their targets are {listed(targets)}" if found is None else f"it is {found.dtype}{list(found.shape)}"
            raise ExperimentError(f"decoders.{name}: the data need a target {name!r} of token ids, Int[n m]; {given}")
        if BEGIN in found and BEGIN not in decoder.prompt:
            needed = "an Interleaved with the prompt (BEGIN,)"
            raise ExperimentError(f"decoders.{name}: rows have several dialogues, which only {needed} keeps apart")
        end = getattr(data.tokenizers.get(name), "end", decoder.end)
        if end != decoder.end:
            raise ExperimentError(f"decoders.{name}.end is {decoder.end}, but texts of {name!r} end with the token {end}")


def _check_blanks(experiment: Experiment, data: Dataset) -> None:
    """The blank of CTC is the end token of its texts: searches assume it, `JointBeam` by the end token of the decoder."""
    whole = experiment.loss.losses.values() if isinstance(experiment.loss, WeightedLosses) else [experiment.loss]
    for loss in (entry[0] if isinstance(entry, tuple) else entry for entry in whole):
        if isinstance(loss, On) and isinstance(loss.criterion, CTC):
            target, blank = loss.target or loss.output.rpartition(".")[2], loss.criterion.blank
            end = getattr(data.tokenizers.get(target), "end", blank)
            if end != blank:
                raise ExperimentError(f"loss: the blank of CTC on {loss.output!r} is {blank}; it must be the end token {end}")


def _check_searches(experiment: Experiment, batch: Any) -> None:
    """A search may need more tokens than the decoder has positions."""
    model, modalities = experiment.model, tuple(sorted(experiment.encoders))
    variables = jax.eval_shape(model.init, jax.random.key(0), batch)
    for name, task in experiment.tasks.items():
        with _errors_in(f"tasks.{name}"):
            predict = predict_subsets(model, {name: task}, {name: task.subsets(modalities)[-1:]})
            jax.eval_shape(predict, variables, batch)


def _check_tasks(experiment: Experiment, data: Dataset) -> None:
    if not experiment.tasks:
        raise ExperimentError('tasks is empty; name at least one, such as {"label": Classify("label")}')
    for name in experiment.tasks:
        if not re.fullmatch(r"[\w.-]+", name):
            raise ExperimentError(f"tasks: the name {name!r} cannot be a file name; use letters, digits, '_', '-' and '.'")
    if experiment.selection is not None:
        task, metric = experiment.selection
        if task not in experiment.tasks:
            known = listed(experiment.tasks)
            raise ExperimentError(f"select is {experiment.select!r}, but the tasks are {known}; give 'task.metric' or 'loss'")
        if metric not in experiment.tasks[task].metrics:
            known = ", ".join(experiment.tasks[task].metrics)
            raise ExperimentError(f"select is {experiment.select!r}, but the metrics of {task!r} are {known}")
    for column in experiment.groups:
        if column not in data.metadata["test"]:
            raise ExperimentError(f"groups: the data have no column {column!r}; they have {listed(data.metadata['test'])}")


def _check_shapes(experiment: Experiment, batch: Any) -> dict[str, Any]:
    """Computes shapes module by module, so that an error names the module. Returns {output: shape and dtype}."""
    key, tokens = jax.random.key(0), {}
    for name, encoder in experiment.encoders.items():
        one = Multimodal({name: encoder}, experiment.fusion, {})
        with _errors_in(f"encoders.{name}", encoder, batch.inputs[name]):
            tokens |= jax.eval_shape(lambda batch, m=one: m.init_with_output(key, batch, method="encode"), batch)[0]
    if experiment.heads or experiment.decoders:
        with _errors_in("fusion", experiment.fusion, tokens):
            fused = jax.eval_shape(lambda tokens: experiment.fusion.init_with_output(key, tokens), tokens)[0]
    for output, head in experiment.outputs.items():
        if output in experiment.decoders:
            with _errors_in(f"decoders.{output}", head, (batch.targets[output], fused)):
                shapes = jax.eval_shape(partial(teacher_ids, prompt=head.prompt), batch.targets[output])
                jax.eval_shape(lambda ids, fused, m=head: m.init_with_output(key, ids, fused), shapes, fused)
            continue
        unimodal = output not in experiment.heads  # "text.shared" may be of the fused tokens, too
        given = tokens[output.split(".")[0]] if unimodal else fused
        with _errors_in(f"unimodal_heads.{output}" if unimodal else f"heads.{output}", head, given):
            jax.eval_shape(lambda given, m=head: m.init_with_output(key, given), given)
    for output, module in experiment.loss_parameters.items():
        with _errors_in(f"loss_parameters.{output}", module, ()):
            jax.eval_shape(lambda m=module: m.init_with_output(key))
    with _errors_in("training"):
        training_of(experiment).dry_run(batch)
    outputs, variables = jax.eval_shape(lambda batch: experiment.model.init_with_output(key, batch), batch)
    paths = flatten_dict(dict(variables["params"]), sep="/")
    for number, stage in enumerate(experiment.stages):
        for beginning in stage.learns:
            if not any(does_learn(path, (beginning,)) for path in paths):
                known = listed({path.partition("/")[0] for path in paths})
                raise ExperimentError(f"stages.{number}.learns: no parameter begins with {beginning!r}; there are {known}")
    _check_changes(experiment, variables, batch)
    return outputs


def _check_changes(experiment: Experiment, variables: Any, batch: Any) -> None:
    """Checks `compress` and `attack` by shapes. variables: of one seed, before `compress`."""
    model, modalities = experiment.model, tuple(sorted(experiment.encoders))
    subsets = {name: task.subsets(modalities)[-1:] for name, task in experiment.tasks.items()}
    with _errors_in("compress"):
        if experiment.compress is not None:
            model = experiment.compress.module(model)
            variables = jax.eval_shape(experiment.compress.variables, variables)
            jax.eval_shape(predict_subsets(model, experiment.tasks, subsets), variables, batch)
    with _errors_in("attack"):
        if experiment.attack is not None:
            predict = predict_attacked(model, experiment.tasks, subsets, experiment.attack, experiment.loss)
            jax.eval_shape(predict, variables, batch)


@contextmanager
def _errors_in(field: str, module: Any = None, given: Any = None) -> Iterator[None]:
    """Turns an error in the block into an ExperimentError that names the field, its module and the shapes of its inputs."""
    try:
        yield
    except MISMATCHES as error:
        if module is None:
            raise ExperimentError(f"{field}: {error}") from error
        shapes = jax.tree.map(lambda leaf: f"{leaf.dtype}{list(leaf.shape)}", given)
        raise ExperimentError(f"{field}: {as_line(module)} does not take {shapes}: {error}") from error


def listed(names: Iterable[str]) -> str:
    """Sorted names, joined by commas."""
    return ", ".join(sorted(names))
