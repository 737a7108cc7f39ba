"""Computes `results.json`: the scores of all cells in a run folder, from their saved outcomes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.data.dataset import Dataset
from mmjax.describe import as_json
from mmjax.evaluate.same import share
from mmjax.evaluate.score import CellOutcomes, score_task
from mmjax.experiment.value import Experiment
from mmjax.runs.answers import same_answers
from mmjax.runs.read import check_cell, read_baselines, read_outcomes, read_units
from mmjax.runs.schema import SCHEMA
from mmjax.types import Task

__all__ = ["FACTS", "data_facts", "entry_of", "results_of"]


def results_of(
    header: Mapping[str, str],
    cells: Mapping[str, Experiment],
    every: Mapping[str, Experiment],
    out: Path,
    data: Mapping[str, Any],
    against: str | None,
    holm: bool,
    report: Any = print,
) -> dict[str, Any]:
    """The results of all cells in the folder, those of this command first.

    header: name, command and description. cells: those of this command. every: all cells of the experiment file; their tasks
    score the cells of earlier commands. data: the entry "data" of the results. report: called with a line for each cell that is
    left out. RunError if a file of a cell is damaged.
    """
    done = sorted(file.parent.name for file in out.glob("cells/*/cell.json"))
    records = {cell: check_cell(out / "cells" / cell) for cell in [*cells, *(name for name in done if name not in cells)]}
    tasks: dict[str, Task] = {name: task for e in (*every.values(), *cells.values()) for name, task in e.tasks.items()}
    records = _scorable(records, tasks, cells, report)
    scored = {name: entry_of(record) | {"tasks": {}} for name, record in records.items()}
    entries: dict[str, Any] = {}
    experiments = {name: record["identity"]["experiment"] for name, record in records.items()}
    selected = None  # by the first task that a cell selects by
    for name in dict.fromkeys(task for record in records.values() for task in record["tasks"]):
        having = {cell: record for cell, record in records.items() if name in record["tasks"]}
        outcomes = {cell: _outcomes(out, cell, record, name) for cell, record in having.items()}
        folds = list(dict.fromkeys(_fold_name(part) for part in next(iter(having.values()))["parts"]))
        (units, fold), baselines = read_units(out, name, folds), read_baselines(out, name, folds)
        groups = {cell: record["groups"] for cell, record in having.items()}
        entry, of_cell = score_task(
            tasks[name], units, outcomes, baselines, groups, against, holm, fold, selected
        )
        selected = selected or entry["best_cell"]
        entries[name] = _described(tasks[name]) | entry
        for cell, found in of_cell.items():
            same = same_answers(out, experiments, cell, name)
            shares = {modality: {way: share(of, units, fold) for way, of in ways.items()} for modality, ways in same.items()}
            scored[cell]["tasks"][name] = found | ({"same": shares} if shares else {})
    first = records[next(iter(cells))]
    comparisons = sum(
        verdict["metric"] == entries[task]["headline"]
        for cell in scored.values()
        for task, found in cell["tasks"].items()
        for verdict in found["verdicts"]
    )
    return {
        "schema": SCHEMA,
        **header,
        "tasks": entries,
        "cells": scored,
        "comparisons": {"count": comparisons, "holm": holm},
        "data": {"modalities": sorted({m for record in records.values() for m in record["modalities"]}), **data},
        "plan": first["plan"],
        "versions": first["versions"],
        "device": first["device"],
        "seconds": sum(record["seconds"] for record in records.values()),
        "peak_memory_bytes": max(record["peak_memory_bytes"] for record in records.values()),
    }


def data_facts(dataset: Dataset, folds: int | None, leak_free: bool) -> dict[str, Any]:
    """The entry "data" of the results, from the dataset of the first fold. folds: of the data, None without."""
    splits = {
        split: {"examples": len(set(np.asarray(dataset.metadata[split]["id"]).tolist())), "rows": len(rows)}
        for split, rows in dataset.splits.items()
    }
    return {
        "splits": splits,
        "dropped": dict(dataset.dropped),
        "source": dataset.source,
        "fingerprint": dataset.fingerprint,
        "folds": folds,
        "leak_free": leak_free,
    }


FACTS = ("modalities", "fusion", "parameters", "seeds", "folds", "steps", "stages", "best_step", "validation", "seconds")


def entry_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of cell.json that results.json repeats."""
    privacy = {"privacy": record["privacy"]} if "privacy" in record else {}
    return {name: record[name] for name in FACTS} | {"experiment": record["identity"]["experiment"]} | privacy


def _scorable(
    records: Mapping[str, Any], tasks: Mapping[str, Task], cells: Mapping[str, Experiment], report: Any
) -> dict[str, Any]:
    """The records of the cells of this command, and of earlier ones with the same tasks and folds."""
    first = records[next(iter(cells))]
    kept = {}
    for cell, record in records.items():
        known = all(name in tasks and as_json(tasks[name]) == task for name, task in record["tasks"].items())
        if cell not in cells and (not known or record["folds"] != first["folds"]):
            report(f"cell {cell} of an earlier command has other tasks or folds, so it is not in the table")
            continue
        kept[cell] = record
    return kept


def _outcomes(out: Path, cell: str, record: Mapping[str, Any], task: str) -> CellOutcomes:
    found = read_outcomes(out / "cells" / cell, record["parts"], task)
    select, experiment = record["validation"], record["identity"]["experiment"]
    selects = select["task"] == task
    return CellOutcomes(
        outcomes=found,
        complete=record["complete"][task],
        modalities=tuple(record["modalities"]),
        validation=select["mean"] if selects else None,
        higher_is_better=select["higher_is_better"],
        select=select["select"],
        changed=any(experiment[name] is not None for name in ("attack", "compress")),
    )


def _fold_name(part: Mapping[str, Any]) -> str:
    return "all" if part["fold"] is None else f"fold{part['fold']}"


def _described(task: Task) -> dict[str, Any]:
    return {
        "kind": type(task).__name__,
        "task": as_json(task),
        "headline": next(iter(task.metrics)),
        "metrics": {
            name: {"higher_is_better": metric.higher_is_better, "bounds": list(metric.bounds)}
            for name, metric in task.metrics.items()
        },
    }
