"""Runs the cells of an ablation: data, training of all seeds, predictions, results, report."""

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from mmjax.data import feed
from mmjax.data.dataset import Dataset, equally_weighted
from mmjax.evaluate.subsets import logits_by_subset, predict, subsets_of
from mmjax.evaluate.units import Units, units
from mmjax.experiment import Experiment, ExperimentError, resolved
from mmjax.pretrained.init import digest_of
from mmjax.progress import Progress
from mmjax.runs.write import is_done, results_of, write_cell, write_json, write_test
from mmjax.train import parallel
from mmjax.train.checkpoint import Checkpoints
from mmjax.train.loop import Fit, Leg, Schedule, Stopped, StopRequest, Watch, fit
from mmjax.train.parallel import Plan
from mmjax.train.seeds import init_seeds, orders
from mmjax.train.stages import does_learn, parts
from mmjax.train.step import begin
from mmjax.types import Batch


def load_and_check(cells: Mapping[str, Experiment]) -> dict[Any, Dataset]:
    """{data: what it loads}, once each, every cell checked against its own."""
    datasets: dict[Any, Dataset] = {}
    for cell, experiment in cells.items():
        if experiment.data not in datasets:
            datasets[experiment.data] = experiment.data.load()
        try:
            experiment.check(datasets[experiment.data])
        except ExperimentError as error:
            raise ExperimentError(f"cell {cell}: {error}") from error
    return datasets


def run_cells(
    name: str,
    description: str,
    command: str,
    cells: Mapping[str, Experiment],
    datasets: Mapping[Any, Dataset],
    options: Any,
    out: Path,
) -> dict[str, Any]:
    """Trains and evaluates every cell that the folder does not hold yet, then writes and returns the results.

    datasets: what `load_and_check` gives for these cells.
    """
    console = Console()
    with StopRequest() as stop, Progress(console) as progress:
        filled: dict[Any, Any] = {}
        for cell, experiment in cells.items():
            dataset = datasets[experiment.data]
            scored = {split: units(rows, dataset.about[split], experiment.target) for split, rows in dataset.splits.items()}
            write_test(out, cell, dataset, experiment.target, scored["test"])
            about = about_cell(experiment, dataset, options)
            if is_done(out / "cells" / cell, about):
                continue
            if stop.asked:
                raise Stopped(f"stopped before cell {cell}")
            if experiment.data not in filled:
                filled.clear()  # one data set at a time is on the device
                wanted = {name for other in cells.values() if other.data == experiment.data for name in other.encoders}
                filled[experiment.data] = _fill(dataset, sorted(wanted), options, progress)
            run = _Run(cell, experiment, dataset, filled[experiment.data], scored, options, about, out / "cells" / cell)
            run.train_and_predict(stop, progress)
        with progress.waiting("scoring"):
            first = next(iter(cells.values()))
            results = results_of(name, description, command, list(cells), out, datasets[first.data], first.target)
    write_json(out / "results.json", results)
    _report(out, results, console)
    return results


def about_cell(experiment: Experiment, dataset: Dataset, options: Any) -> dict[str, Any]:
    """What must be equal for a cell, or a checkpoint of it, to be the same."""
    about = {"experiment": resolved(experiment), "seeds": options.seeds, "data": dataset.fingerprint}
    return about | {"weights": {path: digest_of(source) for path, source in experiment.weights.items()}}


def check_options(cells: Mapping[str, Experiment], options: Any, folders: Iterable[Path]) -> None:
    """What can be told before anything is read."""
    for out in folders:
        if out.exists() and any(out.iterdir()) and not options.resume:
            raise ExperimentError(f"the folder {out} is not empty; go on there with --resume, or choose another with --out")
    devices = jax.local_device_count()
    for cell, experiment in cells.items():
        if options.plan == "pmap" and experiment.batch % devices:
            raise ExperimentError(f"cell {cell}: batch is {experiment.batch}, which does not split over {devices} devices")
    if options.tensorboard:
        _summary_writer()


def _fill(dataset: Dataset, modalities: Sequence[str], options: Any, progress: Progress) -> Any:
    """The columns of these modalities on the device if they fit there, else None: then they are streamed."""
    dataset = dataclasses.replace(dataset, columns={name: dataset.columns[name] for name in modalities})
    size = feed.column_bytes(dataset) / 1e9
    if size > options.device_memory:
        progress.print(f"data: {size:.2f} GB prepared, over --device-memory {options.device_memory:g}: streamed by Grain")
        return None
    items = sum(column.count for column in dataset.columns.values())
    with progress.counting("preparing the inputs", items) as advance:
        columns = feed.fill(dataset, advance)
    rows = ", ".join(f"{len(rows):,} {split}" for split, rows in dataset.splits.items())
    progress.print(f"data: {rows} rows through {dataset.source}, {size * 1e3:.0f} MB on the device")
    progress.print("      left out: " + ("; ".join(f"{count} {why}" for why, count in dataset.dropped.items()) or "nothing"))
    return columns


@dataclasses.dataclass(frozen=True)
class _Run:
    """One cell, from its data to its predictions. columns: on the device, or None where they are streamed."""

    cell: str
    experiment: Experiment
    dataset: Dataset
    columns: Any
    scored: Mapping[str, Units]
    options: Any
    about: Mapping[str, Any]
    folder: Path

    def feed_of(self, split: str) -> Callable[[np.ndarray], Batch]:
        rows, target = self.dataset.splits[split], self.experiment.equal_classes
        if split == "train" and target:
            rows = equally_weighted(rows, target)
        if self.columns is None:
            return feed.Streamed(self.dataset, rows, self.experiment.encoders)
        return feed.from_device({name: self.columns[name] for name in self.experiment.encoders}, rows)

    def train_and_predict(self, stop: StopRequest, progress: Progress) -> None:
        experiment, seeds = self.experiment, range(self.options.seeds)
        order = orders(seeds, len(self.dataset.splits["train"]), experiment.batch)
        train_feed = self.feed_of("train")

        def batches_from(first: int) -> Iterator[Batch]:
            if self.columns is None:
                return train_feed.stream(order, first, experiment.steps)
            return (train_feed(order(step)) for step in range(first, experiment.steps))

        progress.cell(self.cell, experiment.steps)
        first = parts(experiment.stages, experiment.steps)[0]
        example_batch, balance = train_feed(order(0)[0]), experiment.balance
        state = init_seeds(experiment.model, experiment.tx_of(first), seeds, example_batch, balance, first.learns)
        if experiment.weights:
            variables = init_from_pretrained(state.variables, experiment.weights, (len(seeds),))
            state = state.replace(params=variables.pop("params"), stats=variables)
        checkpoints = Checkpoints(self.folder / "checkpoints")
        schedule = Schedule(experiment.steps, experiment.evaluate_every, experiment.checkpoint_every)
        with _tensorboard(self.folder) if self.options.tensorboard else nullcontext(lambda record: None) as log:
            watch = Watch(progress.step, lambda record: (progress.evaluated(record), log(record)))
            leg_at = legs(experiment, parallel.PLANS[self.options.plan])
            validate, eligible = self._validate(), first_scored(experiment)
            fitted = fit(leg_at, state, batches_from, validate, schedule, checkpoints, self.about, stop, watch, eligible)
        checkpoints.close()
        self._predict(fitted)

    def _validate(self) -> Callable[[Any], dict[str, np.ndarray]]:
        """variables -> loss (nats) and accuracy of each seed on the validation split, Float[s], all modalities present."""
        run = logits_by_subset(self.experiment.model, [tuple(self.experiment.encoders)], self.experiment.output)
        rows, validation_feed = len(self.dataset.splits["validation"]), self.feed_of("validation")
        scored = self.scored["validation"]
        label, share = scored.label, scored.weight / scored.weight.sum()

        def validate(variables):
            logits = scored.of(predict(run, variables, validation_feed, rows))[:, 0]
            log_probability = np.asarray(jax.nn.log_softmax(logits))
            loss = -np.take_along_axis(log_probability, label[None, :, None], axis=-1)[..., 0]
            return {"loss": loss @ share, "accuracy": (logits.argmax(-1) == label).astype(np.float32) @ share}

        return validate

    def _predict(self, fitted: Fit) -> None:
        diverged = np.flatnonzero(~np.isfinite(np.asarray(fitted.best.score))).tolist()
        if diverged:
            raise ExperimentError(
                f"cell {self.cell}: the seeds {diverged} diverged: their loss was never a finite number at an evaluation. "
                f"Lower optim.lr, delete {self.folder}, and run it again"
            )
        began, subsets = time.monotonic(), subsets_of(tuple(self.experiment.encoders))
        run = logits_by_subset(self.experiment.model, subsets, self.experiment.output)
        logits = predict(run, fitted.best.variables, self.feed_of("test"), len(self.dataset.splits["test"]))
        seconds = fitted.seconds + time.monotonic() - began
        logits = self.scored["test"].of(logits)
        write_cell(self.folder, self.experiment, fitted, logits, subsets, seconds, self.options.plan, self.about)


def first_scored(experiment: Experiment) -> int:
    """The step at which the head that is scored begins to learn."""
    name = ("alone_" if "." in experiment.output else "heads_") + experiment.output.replace(".", "_")
    stages = parts(experiment.stages, experiment.steps)
    return next((part.first for part in stages if does_learn(name, part.learns)), 0)


def legs(experiment: Experiment, spread: Callable[[Any], Plan]) -> Callable[[int], Leg]:
    """step -> the stage that it lies in; a stage's step is made when it is first asked for."""
    stages = parts(experiment.stages, experiment.steps)

    @cache
    def leg(number: int) -> Leg:
        part = stages[number]
        anew = jax.jit(jax.vmap(partial(begin, tx=experiment.tx_of(part), learns=part.learns, balance=experiment.balance)))
        return Leg(part.first, anew, spread(experiment.step_of(part)))

    return lambda step: leg(next(number for number, part in enumerate(stages) if step < part.end))


def _summary_writer() -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise ExperimentError("--tensorboard needs tensorboardX: pip install 'mmjax[log]'") from error
    return SummaryWriter


@contextmanager
def _tensorboard(folder: Path) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """What to tell of each evaluation. Closed before Python ends, when its threads could not be started any more."""
    writer = _summary_writer()(str(folder / "tensorboard"))

    def log(record: Mapping[str, Any]) -> None:
        for name, values in record.items():
            if name != "step":
                writer.add_scalars(name, {f"seed{seed}": value for seed, value in enumerate(values)}, record["step"])
        writer.flush()

    try:
        yield log
    finally:
        writer.close()


def _report(out: Path, results: Mapping[str, Any], console: Console) -> None:
    from mmjax.report.tables import results_table, verdict_sentences

    console.print(results_table(results, console.width))
    for sentence in verdict_sentences(results):
        console.print(f"- {sentence}", highlight=False)
    try:
        from mmjax.report.page import write_report

        page = write_report([out], out / "report.html")
    except ImportError as error:
        console.print(f"report.html was not written: {error}")
    else:
        console.print(f"wrote {out / 'results.json'} and {page}")
