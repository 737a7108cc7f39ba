"""Runs the cells of an ablation: data, parts (folds and seeds), results, report."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from mmjax.data import feed
from mmjax.data.dataset import Dataset
from mmjax.data.splits import folds_of
from mmjax.describe import as_json, as_line
from mmjax.experiment.load import Loaded, at_fold, fold_numbers, load_and_check
from mmjax.experiment.part import PartRun, run_part
from mmjax.experiment.results import data_facts, results_of
from mmjax.experiment.value import Experiment
from mmjax.pretrained.init import digest
from mmjax.processes import any_process, is_first, of_first, wait_for_all
from mmjax.progress import Progress
from mmjax.runs.examples import has_examples
from mmjax.runs.folder import MARKER, locked, read_record, read_verified
from mmjax.runs.model import MODEL, VARIABLES, cannot_be_loaded
from mmjax.runs.schema import RunError
from mmjax.runs.write import (
    Part,
    has_baselines,
    part_is_done,
    write_baselines,
    write_cell,
    write_results,
    write_units,
)
from mmjax.tasks.subsets import subset_name
from mmjax.train.loop import Stopped
from mmjax.train.stop import StopRequest
from mmjax.types import Units

__all__ = ["run_cells"]


def run_cells(
    header: Mapping[str, str],
    cells: Mapping[str, Experiment],
    every: Mapping[str, Experiment],
    options: Any,
    out: Path,
    loaded: Loaded,
    console: Console,
) -> dict[str, Any]:
    """Trains and evaluates every part that is not yet in the folder, then writes and returns the results.

    header: name, command, description. every: all cells of the experiment file. loaded: `load_and_check` of the first fold.
    """
    folds = fold_numbers(cells, options)
    groups = _seed_groups(options)
    in_folds = None if options.folds is None else "all"  # one run may train its folds in several commands
    layout = {"--folds": in_folds, "--seeds-at-once": options.seeds_at_once}
    parts = [Part(fold, group, len(groups) == 1) for fold in folds for group in groups]
    steps = len(parts) * sum(experiment.steps for experiment in cells.values())
    progress = Progress(console, len(parts) * len(cells), steps)
    acknowledge = lambda: progress.print("stopping after the current step; a second signal ends the run at once")
    lock = locked(out, header["name"], layout) if is_first() else nullcontext()
    with lock, progress:
        wait_for_all("the folder exists")
        if not (out / MARKER).is_file():
            raise RunError(f"--out {out} is not the folder of the first process; name one that all processes share")
        first, leak_free, read = loaded.datasets[at_fold(next(iter(cells.values())), folds[0]).data], True, {}
        with StopRequest(acknowledge) as stop:
            for fold in folds:
                loaded = loaded if fold == folds[0] else load_and_check(cells, fold, read)
                leak_free &= loaded.leak_free
                _run_fold(fold, groups, cells, options, out, loaded, stop, progress)
        if any_process(stop.asked):
            raise Stopped("stopped before the results were compared")
        if not is_first():
            wait_for_all("the results are written")
            return read_verified(out / "results.json")
        for name, experiment in cells.items():
            _finish_cell(out / "cells" / name, experiment, parts, options)
        total = None if folds == [None] else folds_of(next(iter(cells.values())).data)
        facts = data_facts(first, total, leak_free)
        with progress.waiting("scoring"):
            results = results_of(header, cells, every, out, facts, options.against, options.holm, progress.print)
        write_results(out, results)
    wait_for_all("the results are written")
    _report(out, results, console)
    return results


def _seed_groups(options: Any) -> list[tuple[int, ...]]:
    """The seeds that are trained side by side, group by group."""
    size = options.seeds_at_once or options.seeds
    return [tuple(range(first, min(first + size, options.seeds))) for first in range(0, options.seeds, size)]


def _run_fold(
    fold: int | None,
    groups: Sequence[tuple[int, ...]],
    cells: Mapping[str, Experiment],
    options: Any,
    out: Path,
    loaded: Loaded,
    stop: StopRequest,
    progress: Progress,
) -> None:
    """All parts of one fold."""
    filled: dict[Any, Any] = {}
    for name, original in cells.items():
        experiment = at_fold(original, fold)
        dataset, weights = loaded.datasets[experiment.data], loaded.weights[name]
        units = _units(out, name, experiment, dataset, Part(fold, groups[0]), progress.print)
        for group in groups:
            part, folder = Part(fold, group, len(groups) == 1), out / "cells" / name
            identity = {
                "experiment": as_json(experiment),
                "seeds": list(group),
                "data": dataset.fingerprint,
                "weights": digest(weights) if weights else None,
            }
            wanted_files = [MODEL, VARIABLES] + ["predictions.npz"] * options.keep_predictions
            shown = fold not in (None, 0) or has_examples(out, experiment.tasks, progress.print)
            if of_first(part_is_done(folder / part.name, identity, progress.print, wanted_files) and shown):
                progress.skip(experiment.steps)
                continue
            if any_process(stop.asked):
                raise Stopped(f"stopped before cell {name}")
            if group == groups[0] and fold in (None, 0) and (reason := cannot_be_loaded(experiment, dataset)):
                progress.print(f"cell {name} will be trained and scored, but its models cannot be loaded later: {reason}")
            if experiment.data not in filled:
                filled.clear()  # one dataset at a time is on the device
                wanted = {m for other in cells.values() if at_fold(other, fold).data == experiment.data for m in other.encoders}
                filled[experiment.data] = _fill(dataset, sorted(wanted), options, progress)
            columns, trained = filled[experiment.data], _same_training(name, cells, part, out)
            arguments = experiment, dataset, columns, weights, units, options, identity, folder / part.name, trained
            run_part(PartRun(name, part, *arguments), stop, progress)


def _same_training(name: str, cells: Mapping[str, Experiment], part: Part, out: Path) -> Path | None:
    """The folder of this part in an earlier cell of the run that has the same training and saved it uncompressed; None if there
    is none."""
    wanted = as_json(cells[name].training)
    for other in itertools.takewhile(lambda cell: cell != name, cells):
        if cells[other].compress is None and as_json(cells[other].training) == wanted:
            return out / "cells" / other / part.name
    return None


def _units(out: Path, cell: str, experiment: Experiment, dataset: Dataset, part: Part, report: Any) -> dict[str, Units]:
    """{task: units of the test split}, saved with their baselines by the first cell that has the task."""
    found = {}
    for name, task in experiment.tasks.items():
        units = found[name] = task.units(dataset, "test")
        if not is_first():
            continue
        write_units(out, cell, name, part, units, report)
        if not has_baselines(out, name, part, report):
            predicted = task.baselines(dataset)
            write_baselines(out, name, part, {rival: task.outcomes(values, units) for rival, values in predicted.items()})
    wait_for_all(f"the units of {cell} are written")  # baselines take long
    return found


def _fill(dataset: Dataset, modalities: Sequence[str], options: Any, progress: Progress) -> Any:
    """{modality: its column on the device}, or None if they exceed --device-memory and must be streamed."""
    dataset = dataclasses.replace(dataset, columns={name: dataset.columns[name] for name in modalities})
    size = feed.column_bytes(dataset) / 1e9
    if size > options.device_memory:
        progress.print(f"data: {size:.2f} GB prepared, above --device-memory {options.device_memory:g}, so Grain streams them")
        return None
    items = sum(column.count for column in dataset.columns.values())
    with progress.counting("preparing the inputs", items) as advance:
        columns = feed.load_columns(dataset, advance)
    rows = ", ".join(f"{len(rows):,} {split}" for split, rows in dataset.splits.items())
    source = f" through {dataset.source}" if dataset.source else ""
    progress.print(f"data: {rows} rows{source}, {size * 1e3:.0f} MB on the device")
    progress.print("      dropped: " + ("; ".join(f"{count} {why}" for why, count in dataset.dropped.items()) or "nothing"))
    return columns


def _finish_cell(folder: Path, experiment: Experiment, parts: Sequence[Part], options: Any) -> None:
    """Writes cell.json from the records of the parts."""
    records = {part: read_record(folder / part.name / "part.json") for part in parts}
    folds = list(dict.fromkeys(part.fold for part in parts))
    of_fold = {fold: [records[part] for part in parts if part.fold == fold] for fold in folds}
    joined = lambda name: [[x for record in of_fold[fold] for x in record[name]] for fold in folds]
    modalities = tuple(sorted(experiment.encoders))
    per_seed = np.mean(joined("validation"), axis=0)
    selection = experiment.selection
    task = experiment.tasks[selection[0]] if selection else None
    first = records[parts[0]]
    identity = {"experiment": as_json(experiment), "parts": [record["identity"]["data"] for record in records.values()]}
    facts = {
        "modalities": list(modalities),
        "fusion": as_line(experiment.fusion) if experiment.heads else ", ".join(f"{n}" for n in experiment.outputs),
        "parameters": first["parameters"],
        "seeds": list(range(options.seeds)),
        "folds": None if folds == [None] else folds,
        "steps": experiment.steps,
        "stages": first["stages"],
        "best_step": joined("best_step"),
        "validation": {
            "select": "loss" if selection is None else ".".join(selection),
            "task": next(iter(experiment.tasks)) if selection is None else selection[0],
            "higher_is_better": False if selection is None else task.metrics[selection[1]].higher_is_better,
            "mean": float(per_seed.mean()),
            "per_seed": per_seed.tolist(),
        },
        "groups": list(experiment.groups),
        "tasks": {name: as_json(task) for name, task in experiment.tasks.items()},
        "complete": {name: subset_name(task.subsets(modalities)[-1]) for name, task in experiment.tasks.items()},
        "seconds": sum(record["seconds"] for record in records.values()),
        "peak_memory_bytes": max(record["peak_memory_bytes"] for record in records.values()),
        **{name: first[name] for name in ("plan", "device", "versions")},
        **_least_private(list(records.values())),
    }
    write_cell(folder, identity, parts, facts)


def _least_private(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """{"privacy": the weakest guarantee of these parts}; {} if they were not trained by DP-SGD."""
    found = [record["privacy"] for record in records if "privacy" in record]
    weakness = lambda privacy: float("inf") if privacy["epsilon"] is None else privacy["epsilon"]
    return {"privacy": max(found, key=weakness)} if found else {}


def _report(out: Path, results: Mapping[str, Any], console: Console) -> None:
    """Prints the tables and writes report.html."""
    from mmjax.report.tables import print_results

    print_results(results, console)
    try:
        from mmjax.report.page import write_report

        page = write_report([out], out / "report.html")
    except ImportError as error:
        console.print(f"report.html was not written: {error}", markup=False, emoji=False, soft_wrap=True)
    else:
        console.print(f"wrote {out / 'results.json'} and {page}", markup=False, emoji=False, soft_wrap=True)
