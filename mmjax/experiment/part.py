"""Runs one part of a cell, that is, some of its seeds on one fold: training, predictions, saved outcomes."""

import dataclasses
import json
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mmjax.data import feed
from mmjax.data.dataset import Dataset
from mmjax.data.workers import Workers
from mmjax.evaluate.predict import (
    metric_values,
    outcomes_of,
    predict_attacked,
    predict_split,
    predict_subsets,
    validation_predictions,
)
from mmjax.evaluate.same import kept_answers
from mmjax.experiment.attention import attention_maps
from mmjax.experiment.impossible import check_targets_fit
from mmjax.experiment.loggers import logging_to
from mmjax.experiment.privacy import guarantee_of, with_noise
from mmjax.experiment.tokens import with_token_ids
from mmjax.experiment.training import plan_of, training_facts, training_of
from mmjax.experiment.value import Experiment, ExperimentError
from mmjax.processes import is_first, wait_for_all
from mmjax.progress import Progress
from mmjax.runs.examples import chosen_examples, write_examples
from mmjax.runs.folder import read_record
from mmjax.runs.model import VARIABLES, read_variables, write_model
from mmjax.runs.write import Part, versions, write_part
from mmjax.tasks.subsets import subset_name
from mmjax.train.checkpoint import Checkpoints
from mmjax.train.loop import Callbacks, Stopped, TrainData, fit
from mmjax.train.parallel import Plan
from mmjax.train.seeds import orders
from mmjax.train.stop import AskedTogether, StopRequest
from mmjax.train.training import Training
from mmjax.types import Units

__all__ = ["FACTS", "ROWS_AT_ONCE", "PartRun", "Trained", "at_subset", "run_part"]

ROWS_AT_ONCE = 256  # of the test split, in one call
FACTS = ("parameters", "best_step", "validation", "stages", "privacy")  # of part.json, about the training


@dataclasses.dataclass(frozen=True)
class PartRun:
    """The inputs of a part.

    columns: {modality: column on the device}, or None if the data are streamed. pretrained: {path: array} of published weights.
    units: {task: units of the test split}. options: of the command line. identity: JSON that must be equal for the part to be
    resumed. folder: of the part. trained: the folder of a finished part with the same training, None to train. workers:
    processes that read streamed data; None for threads.
    """

    cell: str
    part: Part
    experiment: Experiment
    dataset: Dataset
    columns: Any
    pretrained: Mapping[str, Any]
    units: Mapping[str, Units]
    options: Any
    identity: Mapping[str, Any]
    folder: Path
    trained: Path | None = None
    workers: Workers | None = None

    def feed_of(self, name: str) -> Any:
        """The `Feed` of a split: "train", "validation" or "test"."""
        rows = self.dataset.training_rows if name == "train" else self.dataset.splits[name]
        if self.columns is None:
            return feed.HostFeed(self.dataset, rows, self.experiment.encoders, workers=self.workers)
        return feed.DeviceFeed({modality: self.columns[modality] for modality in self.experiment.encoders}, rows)


@dataclasses.dataclass(frozen=True)
class Trained:
    """The result of the training of a part.

    variables: the best of each seed, [s ...], without frozen ones. frozen: as placed by the plan. curves: records of the
    learning curve. facts: JSON for part.json. seconds: of training.
    """

    variables: Any
    frozen: Any
    curves: list[dict[str, Any]]
    facts: dict[str, Any]
    seconds: float


def run_part(run: PartRun, stop: StopRequest, progress: Progress) -> None:
    """Trains all seeds of the part, predicts the test split with each seed's best variables, and saves the outcomes.

    ExperimentError if the validation score of a seed is never finite, or if training targets are impossible
    (`experiment.impossible`); also raises the errors of `train.loop.fit`. Stopped if `stop` asks for it, also during the
    predictions, which a resumed run makes again without training.
    """
    plan = plan_of(run.experiment, run.options)
    with _workers(run) as workers:
        run = dataclasses.replace(run, experiment=with_token_ids(run.experiment, run.dataset), workers=workers)
        if run.trained is None:
            trained = _train(run, plan, stop, progress)
        else:
            trained = _read_trained(run, plan)
            progress.skip(run.experiment.steps)
        _predict(run, plan, trained, stop)


def _workers(run: PartRun) -> AbstractContextManager[Workers | None]:
    """The processes that --workers asks for; None if there are none, or the data are on the device."""
    if run.columns is not None or not run.options.workers:
        return nullcontext()
    return Workers({name: run.dataset.columns[name].read for name in run.experiment.encoders}, run.options.workers)


def _read_trained(run: PartRun, plan: Plan) -> Trained:
    """The result of the finished part `run.trained`, which had the same training."""
    record = read_record(run.trained / "part.json")
    training = training_of(run.experiment, plan)
    example = feed.example_batch(run.dataset, run.experiment.encoders, run.experiment.batch)
    frozen = plan.place(training.frozen(example, run.pretrained), seeds=False)
    curves = [json.loads(line) for line in (run.trained / "curves.jsonl").read_text().splitlines()]
    facts = {name: record[name] for name in FACTS if name in record} | {"trained_by": run.trained.parent.name}
    return Trained(read_variables(run.trained / VARIABLES), frozen, curves, facts, 0.0)


def _train(run: PartRun, plan: Plan, stop: StopRequest, progress: Progress) -> Trained:
    """Trains all seeds of the part."""
    rows, options = len(run.dataset.splits["train"]), run.options
    experiment = with_noise(run.experiment, rows)
    width = experiment.sampling.width(rows, experiment.batch, experiment.steps)
    width += -width % plan.devices
    order = orders(run.part.seeds, rows, experiment.batch, experiment.sampling, width)
    train_feed = run.feed_of("train")
    training = training_of(experiment, plan)
    example = train_feed(order(0)[0])
    if run.columns is not None and not experiment.skip_nonfinite:  # streamed data would be read once more
        check_targets_fit(experiment, train_feed, rows)
    state, frozen = training.init(run.part.seeds, example, run.pretrained or None)
    per_call = options.steps_per_call or training.automatic_steps_per_call(state, frozen, example)
    training = training_of(experiment, plan, per_call)
    frozen = plan.place(frozen, seeds=False)

    name = run.cell if run.part.name == "all" else f"{run.cell} ({run.part.name})"
    progress.cell(name, experiment.steps, experiment.batch * len(run.part.seeds))
    metadata = {**run.identity, "steps_per_call": per_call}  # with another number, results differ by rounding
    checkpoints = Checkpoints(run.folder / "checkpoints", metadata, options.checkpoint_keep, progress.print, versions())
    with logging_to(options.log if is_first() else (), run.folder, name, run.part.seeds) as log:
        callbacks = Callbacks(
            step=progress.step,
            evaluated=lambda record: (progress.evaluated(record), log(record)),
            stop=AskedTogether(stop),
        )
        data = TrainData(lambda chunks: plan.feed(train_feed).chunks(order, chunks), order, run.part.seeds)
        validate = _validate(run, training, frozen)
        fitted = fit(training, state, frozen, data, validate, checkpoints, callbacks)
    checkpoints.close()
    undefined = [seed for seed, score in zip(run.part.seeds, fitted.best.score) if not np.isfinite(score)]
    if undefined:
        raise ExperimentError(
            f"cell {run.cell}: the validation score of the seeds {undefined} was never a finite number. Check that the "
            f"validation split has examples of task {experiment.selection[0] if experiment.selection else 'loss'!r}"
        )
    private = guarantee_of(run.experiment, rows)
    facts = training_facts(experiment, training, fitted, frozen) | ({} if private is None else {"privacy": private})
    return Trained(fitted.best.variables, frozen, fitted.curves, facts, fitted.seconds)


def _validate(run: PartRun, training: Training, frozen: Any) -> Callable[[Any], dict[str, np.ndarray]]:
    """The function `validate` of `fit`: placed variables -> {"score", "loss", the selected metric}, each Float[s].

    It scores the validation split with all present modalities. "score" is the selected metric, or the loss, with the sign that
    makes higher better.
    """
    experiment, selection = run.experiment, run.experiment.selection
    rows, weight = len(run.dataset.splits["validation"]), np.asarray(run.dataset.splits["validation"].weight, np.float64)
    feed_validation, task = training.plan.feed(run.feed_of("validation")), None
    if selection is not None:
        task = experiment.tasks[selection[0]]
        metric, units = task.metrics[selection[1]], task.units(run.dataset, "validation")
    evaluate = training.plan.evaluate(validation_predictions(experiment.model, experiment.loss, task))

    def validate(variables: Any) -> dict[str, np.ndarray]:
        found = predict_split(
            lambda batch: evaluate(variables, frozen, batch), feed_validation, rows, axis=1, size=experiment.batch
        )
        losses = np.where(weight > 0, found["loss"] * weight, 0)
        loss = losses.sum(axis=1) / weight.sum()
        if task is None:
            return {"score": -loss, "loss": loss}
        outcomes = outcomes_of(task, found["predicted"], units)
        value = metric_values(metric, outcomes, units.weight)
        return {"score": value if metric.higher_is_better else -value, "loss": loss, selection[1]: value}

    return validate


def _predict(run: PartRun, plan: Plan, trained: Trained, stop: StopRequest) -> None:
    """Predicts the test split for every subset of modalities and saves outcomes, examples and facts."""
    began, experiment, batch = time.monotonic(), run.experiment, run.experiment.batch
    model, variables, compress = experiment.model, trained.variables, experiment.compress
    if compress is not None:
        model = compress.module(model)
        variables = jax.tree.map(np.asarray, jax.jit(jax.vmap(compress.variables))(variables))
    modalities = tuple(sorted(experiment.encoders))
    subsets = {name: task.subsets(modalities) for name, task in experiment.tasks.items()}
    predict = predict_subsets(model, experiment.tasks, subsets)
    if experiment.attack is not None:
        predict = predict_attacked(model, experiment.tasks, subsets, experiment.attack, experiment.loss)
    evaluate = plan.evaluate(predict, axis=1)
    placed, rows = plan.place(variables), len(run.dataset.splits["test"])
    size = batch * max(1, min(ROWS_AT_ONCE // batch, -(-rows // batch)))
    asked = AskedTogether(stop)

    def answer(batch):
        if asked():
            raise Stopped(f"stopped during the predictions of cell {run.cell}")
        return evaluate(placed, trained.frozen, batch)

    predicted = predict_split(answer, plan.feed(run.feed_of("test")), rows, axis=2, size=size)
    outcomes, examples, targets, said = {}, {}, {}, {}
    for name, task in experiment.tasks.items():
        names = [subset_name(subset) for subset in subsets[name]]
        of_subset = {subset: at_subset(predicted[name], k) for k, subset in enumerate(names)}
        outcomes[name] = {s: outcomes_of(task, p, run.units[name]) for s, p in of_subset.items()}
        compared = of_subset if experiment.attack is None else {names[-1]: of_subset[names[-1]]}
        said |= {f"{name}/{path}": x for path, x in kept_answers(task, compared, run.units[name], run.dataset).items()}
        targets[name], examples[name] = _answers(run, task, run.units[name], of_subset, names[-1])
        arguments = plan, placed, trained.frozen, task, run.units[name], of_subset[names[-1]]
        for answers, found in zip(examples[name], attention_maps(run, *arguments, chosen_examples(run.units[name]))):
            if found is not None and answers[names[-1]] is not None:
                answers[names[-1]]["attention"] = found
    seconds = trained.seconds + time.monotonic() - began
    facts = {"seconds": seconds, "plan": run.options.plan} | trained.facts
    kept = _flat(predicted) if run.options.keep_predictions else None
    if is_first():
        for name in experiment.tasks if run.part.fold in (None, 0) else ():
            write_examples(run.folder.parents[2], name, run.units[name], targets[name], run.dataset)
        arguments = experiment, run.dataset, run.part.seeds, variables, run.identity["weights"] or ""
        model_files = write_model(run.folder, *arguments)
        write_part(run.folder, run.identity, outcomes, trained.curves, facts, examples, kept, model_files, said)
    wait_for_all(f"{run.cell} {run.part.name} is written")


def at_subset(predicted: Any, number: int) -> Any:
    """Predictions [s k n ...] -> those of one subset [s n ...]."""
    return jax.tree.map(lambda leaf: leaf[:, number], predicted)


def _flat(predicted: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """{task: pytree} -> {"task/path": array}."""
    paths = jax.tree_util.tree_leaves_with_path(dict(predicted))
    return {"/".join(str(getattr(key, "key", getattr(key, "idx", key))) for key in path): leaf for path, leaf in paths}


def _answers(
    run: PartRun, task: Any, units: Units, predicted: Mapping[str, Any], complete: str
) -> tuple[list[str], list[dict[str, Any]]]:
    """(reference answers, [{subset: answer}]) of the examples, with all modalities and with each one by itself.

    An answer is None if the example has no modality of the subset, since predictions without any input are not shown.
    """
    pointer = run.dataset.splits["test"].pointer
    shown = [complete, *(name for name in predicted if "+" not in name and name != complete)]
    targets, answers = [], []
    for unit in chosen_examples(units):
        found = {name: dict(task.show(predicted[name], units, unit)) for name in shown}
        targets.append(found[complete]["target"])
        row = units.row[unit]
        has_input = {name: any(pointer[modality][row] >= 0 for modality in name.split("+")) for name in shown}
        kept = ("predicted", "correct", "score")
        answers.append({name: {k: found[name][k] for k in kept} if has_input[name] else None for name in shown})
    return targets, answers
