"""A trained cell with the test units, outcomes and, on demand, the models and data of one of its tasks: the input of every
audit."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mmjax.audit.audit import Audit
from mmjax.audit.part import AuditedPart, by_fold, load_parts
from mmjax.data import feed
from mmjax.data.dataset import Dataset
from mmjax.describe import DescribeError, from_json
from mmjax.evaluate.predict import outcomes_of, predict_split, predict_subsets
from mmjax.evaluate.statistics import Estimate, estimates
from mmjax.runs.audits import write_audit
from mmjax.runs.model import SavedModel, read_model
from mmjax.runs.read import Run, check_cell, read_outcomes, read_run
from mmjax.runs.schema import RunError
from mmjax.tasks.subsets import subset_name
from mmjax.train.parallel import evaluation
from mmjax.types import Metric, Outcomes, Subset, Units

__all__ = ["DEVICE_BYTES", "ROWS_AT_ONCE", "Audited", "Make", "load_audited"]

ROWS_AT_ONCE = 256  # rows of one compiled call
DEVICE_BYTES = 2e9  # larger columns are read batch by batch

Make = Callable[[AuditedPart], Callable[[Any, Any], Any]]
"""A part -> (variables of one seed, batch) -> tree [b ...] of the rows of the batch; see `Audited.predict`."""


def load_audited(folder: Path | str, cell: str | None = None, task: str | None = None) -> "Audited":
    """The cell of a run folder that an audit takes. cell: None for the selected one; task: None for the first one.

    RunError if the folder is damaged; KeyError, with the valid names, if there is no such cell or task.
    """
    run = read_run(folder)
    tasks, cells = run.results["tasks"], run.results["cells"]
    if cell is None:
        best = [entry["best_cell"] for name, entry in tasks.items() if task in (None, name)]
        cell = next((name for name in best if name), next(iter(cells)))
    if cell not in cells:
        raise KeyError(f"there is no cell {cell!r} in {run.folder}; the cells are {', '.join(cells)}")
    known = list(cells[cell]["tasks"])
    if task is not None and task not in known:
        raise KeyError(f"cell {cell} has no task {task!r}; its tasks are {', '.join(known)}")
    return Audited(run, cell, known[0] if task is None else task)


@dataclass(frozen=True)
class Audited:
    """One cell on one task.

    What the run folder has needs neither model nor data: `units`, `fold` and `outcomes` of every scored subset. `parts` loads
    the models, and the data again, when an audit needs them.
    """

    run: Run
    cell: str
    task_name: str

    @property
    def entry(self) -> Mapping[str, Any]:
        """The `CELL` of `mmjax.runs.schema`."""
        return self.run.results["cells"][self.cell]

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities of the cell, sorted."""
        return tuple(self.entry["modalities"])

    @property
    def complete(self) -> str:
        """The name of the subset with all modalities of the task."""
        return self.entry["tasks"][self.task_name]["complete"]

    @property
    def folder(self) -> Path:
        """The folder of the cell."""
        return self.run.folder / "cells" / self.cell

    @cached_property
    def task(self) -> Any:
        """The `Task`. RunError if its class cannot be imported."""
        return self.rebuilt(self.run.results["tasks"][self.task_name]["task"])

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """The metrics of the task; the first one is the headline metric."""
        return self.task.metrics

    @property
    def headline(self) -> str:
        """The name of the headline metric."""
        return next(iter(self.metrics))

    @cached_property
    def record(self) -> Mapping[str, Any]:
        """The content of cell.json; its files are verified."""
        return check_cell(self.folder)

    @cached_property
    def _units(self) -> tuple[Units, np.ndarray | None]:
        return self.run.units(self.task_name)

    @property
    def units(self) -> Units:
        """The test units, those of all folds joined."""
        return self._units[0]

    @property
    def fold(self) -> np.ndarray | None:
        """The fold of each unit, Int[u]; None for one test set."""
        return self._units[1]

    @cached_property
    def outcomes(self) -> dict[str, Outcomes]:
        """{subset: saved outcomes [s u ...]}."""
        return read_outcomes(self.folder, self.record["parts"], self.task_name)

    def estimates(
        self, outcomes: Outcomes, metrics: Mapping[str, Metric] | None = None, weight: Any = None, group: Any = None
    ) -> dict[str, Estimate]:
        """Metrics (by default those of the task) of outcomes [s u ...], paired with all other estimates of equal weights.

        weight, group: Float[u] and Int[u]; None for those of the units.
        """
        metrics = self.metrics if metrics is None else metrics
        weight = self.units.weight if weight is None else weight
        group = self.units.group if group is None else group
        return estimates(metrics, outcomes, weight, group, self.fold)

    def estimate(
        self, outcomes: Outcomes, metric: str | None = None, weight: Any = None, group: Any = None
    ) -> Estimate:
        """One metric of the task, by default the headline metric, of outcomes [s u ...]. KeyError for an unknown metric."""
        metric = metric or self.headline
        if metric not in self.metrics:
            raise KeyError(f"task {self.task_name!r} has no metric {metric!r}; its metrics are {', '.join(self.metrics)}")
        return self.estimates(outcomes, {metric: self.metrics[metric]}, weight, group)[metric]

    @cached_property
    def models(self) -> tuple[tuple[int | None, SavedModel], ...]:
        """(fold, models of its seeds) of each training run, folds in the order of the units. They need no data.

        RunError if a file is damaged or a class cannot be imported, or if the cell was scored under an attack, whose outcomes
        those of other predictions do not equal.
        """
        if self.entry["experiment"].get("attack") is not None:
            raise RunError(f"cell {self.cell} was scored under an attack; audit a cell of the same training without one")
        return tuple((part["fold"], read_model(self.folder / part["name"])) for part in self._records)

    @cached_property
    def parts(self) -> tuple[AuditedPart, ...]:
        """The trainings of the cell with their models and data, in the order of `models`.

        RunError, which names the file or the class, if the data differ from those of the training or cannot be loaded again.
        """
        data, models = self.rebuilt(self.entry["experiment"]["data"]), [model for _, model in self.models]
        return load_parts(self.folder, self._records, models, data, self.task_name)

    @property
    def _records(self) -> list[Mapping[str, Any]]:
        return by_fold(self.record["parts"])

    def units_of(self, fold: int | None) -> Units:
        """The saved units of one fold; texts have no tokenizer."""
        if self.fold is None:
            return self.units
        folds = list(dict.fromkeys(part["fold"] for part in self._records))
        chosen = self.fold == folds.index(fold)
        return jax.tree.map(lambda array: array[chosen], self.units)

    def predict(
        self,
        make: Make,
        split: str = "test",
        change: Callable[[Dataset], Dataset] | None = None,
        size: int = ROWS_AT_ONCE,
    ) -> dict[int | None, Any]:
        """{fold: tree [s n ...]} of a function of all seeds and all n rows of a split, in NumPy.

        make: see `Make`; its function is compiled once for all parts of equal models, and for later calls with the same `make`,
        so it must not depend on their data. change: the data of a fold -> the data that are predicted, such as with corrupted
        columns or exchanged pointers. size: the largest number of rows of one compiled call.
        """
        found: dict[int | None, list[Any]] = {}
        changed: dict[int | None, Dataset] = {}
        for part in self.parts:
            run = self.compiled(make, part)
            if part.fold not in changed:
                changed[part.fold] = part.dataset if change is None else change(part.dataset)
            dataset = changed[part.fold]
            dataset = replace(dataset, columns={name: dataset.columns[name] for name in self.modalities})
            variables, frozen = jax.device_put((part.model.variables, part.model.frozen))
            rows = dataset.splits[split]
            call = lambda batch, run=run, v=variables, f=frozen: run(v, f, batch)
            tree = predict_split(call, self._feed(dataset, split), len(rows), axis=1, size=min(size, len(rows)))
            found.setdefault(part.fold, []).append(tree)
        return {fold: jax.tree.map(lambda *leaves: np.concatenate(leaves), *trees) for fold, trees in found.items()}

    def compiled(self, make: Make, part: AuditedPart) -> Callable:
        """The compiled function of (variables [s ...], frozen variables, batch); see `predict`."""
        for known, model, run in self._programs:
            if known is make and model.module == part.model.module and model.tasks == part.model.tasks:
                return run
        run = jax.jit(evaluation(make(part)))
        self._programs.append((make, part.model, run))
        return run

    @cached_property
    def _programs(self) -> list[tuple[Make, SavedModel, Callable]]:
        return []

    def scored(
        self, predicted: Mapping[int | None, Any], units: Callable[[AuditedPart], Units] = AuditedPart.units
    ) -> Outcomes:
        """Predictions of the test split by fold, {fold: the task's predictions [s n ...]} -> outcomes [s u ...].

        units: of a part; by default those that `Audited.units` joins.
        """
        part_of = {part.fold: part for part in self.parts}
        found = [outcomes_of(part_of[fold].task, tree, units(part_of[fold])) for fold, tree in predicted.items()]
        return {name: np.concatenate([of[name] for of in found], axis=1) for name in found[0]}

    def predict_subsets(
        self, subsets: Iterable[Subset], change: Callable[[Dataset], Dataset] | None = None
    ) -> dict[str, Outcomes]:
        """{subset: outcomes [s u ...]} of any subsets of the modalities, such as () or those that were not scored.

        change: as for `predict`.
        """
        subsets = tuple(subsets)
        predicted = self.predict(self._subsets_maker(subsets), change=change)
        return {subset_name(subset): self.scored(_at_subset(predicted, k)) for k, subset in enumerate(subsets)}

    def predictions(
        self, split: str = "test", change: Callable[[Dataset], Dataset] | None = None
    ) -> dict[int | None, Any]:
        """{fold: the task's predictions [s n ...]} with all modalities. split, change: as for `predict`."""
        complete = tuple(self.complete.split("+"))
        return _at_subset(self.predict(self._subsets_maker((complete,)), split, change), 0)

    def _subsets_maker(self, subsets: tuple[Subset, ...]) -> Make:
        """A part -> (variables, batch) -> the task's predictions [b k ...] for k subsets."""

        def make(part: AuditedPart) -> Callable[[Any, Any], Any]:
            predict = predict_subsets(part.model.module, {"task": part.task}, {"task": subsets})
            rows_first = lambda leaf: leaf.swapaxes(0, 1)
            return lambda variables, batch: jax.tree.map(rows_first, predict(variables, batch)["task"])

        return self._makers.setdefault(subsets, make)

    @cached_property
    def _makers(self) -> dict[tuple[Subset, ...], Make]:
        return {}

    def write(self, audit: Audit) -> Path:
        """Writes an audit of this cell into the run folder, where the report finds it; returns the path of its record."""
        return write_audit(self.run.folder, self.cell, self.task_name, audit.to_json(), audit.files)

    @cached_property
    def _loaded(self) -> dict[str, tuple[Any, Any]]:
        """{modality: (column, its items on the device)} of the last fold."""
        return {}

    def _feed(self, dataset: Dataset, split: str) -> Any:
        """The feed of a split; columns on the device are kept until another column of that modality is needed."""
        if feed.column_bytes(dataset) > DEVICE_BYTES:
            return feed.HostFeed(dataset, dataset.splits[split], self.modalities)
        for name, column in dataset.columns.items():
            if name not in self._loaded or self._loaded[name][0] is not column:
                self._loaded[name] = column, feed.load_column(column)
        return feed.DeviceFeed({name: self._loaded[name][1] for name in dataset.columns}, dataset.splits[split])

    def rebuilt(self, described: Any) -> Any:
        """A value that the run folder describes, such as its task. RunError if its class cannot be imported."""
        try:
            return from_json(described)
        except DescribeError as error:
            raise RunError(f"{self.run.folder}: {error}") from None


def _at_subset(predicted: Mapping[int | None, Any], number: int) -> dict[int | None, Any]:
    """{fold: leaves [s n k ...]} -> {fold: leaves [s n ...]} of one of k subsets."""
    return {fold: jax.tree.map(lambda leaf: leaf[:, :, number], tree) for fold, tree in predicted.items()}
