"""Loads the data and published weights of all cells, and checks every cell against them before anything is trained."""

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any

import jax

from mmjax.data import feed
from mmjax.data.check import check_dataset
from mmjax.data.dataset import Dataset
from mmjax.data.splits import check_splits, folds_of, with_fold
from mmjax.describe import as_json
from mmjax.experiment.check import check
from mmjax.experiment.loggers import check_loggers
from mmjax.experiment.training import plan_of
from mmjax.experiment.value import Experiment, ExperimentError
from mmjax.pretrained.init import read_weights

__all__ = ["Loaded", "at_fold", "check_options", "fold_numbers", "load_and_check"]


def fold_numbers(cells: Mapping[str, Experiment], options: Any) -> list[int | None]:
    """The folds to run: [None] for the data's own split, else one or all folds of a cross-validation.

    ExperimentError if the cells have different numbers of folds, or no such fold; DataError if the data have an official test
    split.
    """
    if options.folds is None:
        return [None]
    counts = {name: folds_of(experiment.data) for name, experiment in cells.items()}
    if len(set(counts.values())) > 1:
        raise ExperimentError(f"--folds: the cells have {counts} folds; all cells of a table need the same number")
    folds = list(range(next(iter(counts.values()))))
    if options.folds != "all" and options.folds not in folds:
        raise ExperimentError(f"--folds is {options.folds}; it must be all, or the number of a fold from 0 to {folds[-1]}")
    return folds if options.folds == "all" else [options.folds]


def at_fold(experiment: Experiment, fold: int | None) -> Experiment:
    """The experiment with this fold as the test split; None for the data's own split."""
    return experiment if fold is None else dataclasses.replace(experiment, data=with_fold(experiment.data, fold))


@dataclasses.dataclass(frozen=True)
class Loaded:
    """The inputs of the cells on one fold. datasets: {data: its dataset}; weights: {cell: {path: published array}}.

    leak_free: whether the splits of all datasets were checked to have no common id and no common group.
    """

    datasets: Mapping[Any, Dataset]
    weights: Mapping[str, Mapping[str, Any]]
    leak_free: bool = False


def load_and_check(
    cells: Mapping[str, Experiment], fold: int | None = None, read: dict[str, Any] | None = None
) -> Loaded:
    """Loads each dataset and each set of published weights once, and checks every cell against them.

    read: weights that were read before, by what determines them; new ones are added.
    """
    datasets: dict[Any, Dataset] = {}
    weights: dict[str, Any] = {}
    tasks: dict[str, tuple[str, Any]] = {}
    leak_free = True
    read = {} if read is None else read
    for name, experiment in cells.items():
        if not re.fullmatch(r"\w[\w.-]*", name):
            raise ExperimentError(f"cell {name!r}: the name is a folder name too; use letters, digits, '_', '-' and '.'")
        for task_name, task in experiment.tasks.items():
            first, same = tasks.setdefault(task_name, (name, as_json(task)))
            if same != as_json(task):
                raise ExperimentError(f"cell {name}: its task {task_name!r} is not that of cell {first}; rename one of them")
        experiment = at_fold(experiment, fold)
        if experiment.data not in datasets:
            datasets[experiment.data] = experiment.data.load()
            check_dataset(datasets[experiment.data])
            leak_free &= check_splits(datasets[experiment.data])
        try:
            check(experiment, datasets[experiment.data])
        except ExperimentError as error:
            raise ExperimentError(f"cell {name}: {error}") from error
        key = json.dumps([as_json(experiment.encoders), as_json(experiment.weights)])
        if experiment.weights and key not in read:
            read[key] = _read_weights(experiment, datasets[experiment.data])
        weights[name] = read.get(key, {}) if experiment.weights else {}
    return Loaded(datasets, weights, leak_free)


def _read_weights(experiment: Experiment, dataset: Dataset) -> dict[str, Any]:
    batch = feed.example_batch(dataset, experiment.encoders, experiment.batch)
    shapes = jax.eval_shape(experiment.model.init, jax.random.key(0), batch)
    return read_weights(shapes, experiment.weights)


def check_options(cells: Mapping[str, Experiment], options: Any) -> None:
    """Raises ExperimentError for wrong options, before any data are read."""
    if jax.process_count() > 1 and options.plan != "sharded":
        raise ExperimentError(
            f"--plan is {options.plan!r}, but there are {jax.process_count()} processes, which would all train the same; use "
            "--plan sharded, or start one process"
        )
    for name, experiment in cells.items():
        parts = plan_of(experiment, options).devices
        if experiment.batch % parts:
            raise ExperimentError(f"cell {name}: batch is {experiment.batch}; it must be a multiple of its {parts} parts")
    at_once = min(options.seeds_at_once or options.seeds, options.seeds)
    if options.plan == "sharded" and any(group % options.mesh.seeds for group in (at_once, options.seeds % at_once)):
        raise ExperimentError(
            f"--mesh.seeds is {options.mesh.seeds}; it must divide the number of seeds that are trained side by side: --seeds "
            f"is {options.seeds}, --seeds-at-once {options.seeds_at_once}"
        )
    if options.against is not None and options.against not in cells:
        raise ExperimentError(f"--against is {options.against!r}, not a cell of this run; the cells are {', '.join(cells)}")
    check_loggers(options.log)
