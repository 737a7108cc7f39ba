"""The schema of a run's `results.json`, and a check that names the file and the key of the first error."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = [
    "CELL", "CELL_TASK", "DIFFERENCE", "ESTIMATE", "GROUP", "KINDS", "NUMBER", "PRIVACY", "RESULTS", "SCHEMA", "SCORES",
    "TASK", "VERDICT", "VERDICTS", "Each", "Maybe", "Optional", "RunError", "check", "check_results",
]


class RunError(ValueError):
    """A run folder is damaged, incomplete, in use or of another version; the message names the file and the remedy or key."""


@dataclass(frozen=True)
class Each:
    """A mapping from any names to values of one spec."""

    spec: Any


@dataclass(frozen=True)
class Maybe:
    """A value of this spec, or null. The key itself is still required."""

    spec: Any


@dataclass(frozen=True)
class Optional:
    """A value of this spec whose key may be missing."""

    spec: Any


NUMBER = (int, float)  # in Python a bool is an int; `check` rejects it
VERDICTS = ("better", "worse", "inconclusive", "identical")
# null stands for an undefined number, such as the precision of a class that was never predicted, since JSON has no NaN
ESTIMATE = {"mean": Maybe(NUMBER), "low": Maybe(NUMBER), "high": Maybe(NUMBER), "per_seed": [Maybe(NUMBER)]}
DIFFERENCE = {
    "mean": Maybe(NUMBER),
    "low": Maybe(NUMBER),
    "high": Maybe(NUMBER),
    "p": Maybe(NUMBER),  # two-sided; adjusted by Holm's rule if comparisons.holm
    "detectable": Maybe(NUMBER),  # the difference that would have been detected with 80 % power
    "examples_needed": Maybe(int),  # rough number of test units that would settle the observed difference; null if none would
    "seeds_needed": Maybe(int),  # the same with more seeds
    "verdict": VERDICTS,  # seen from the cell: "better" respects the direction of the metric
}
KINDS = ("baseline", "single", "cell")
VERDICT = {"against": str, "kind": KINDS, "metric": str, "difference": DIFFERENCE}
# {metric: ESTIMATE}; low and high are null without an interval, as with fewer than two groups of test units
SCORES = Each(ESTIMATE)
GROUP = {"units": int, "weight": NUMBER, "subsets": Each(SCORES)}
CELL_TASK = {
    "subsets": Each(SCORES),  # {subset: {metric: ESTIMATE}}; a subset's name is its modalities joined by "+"
    "complete": str,  # the name of the subset with all modalities of the cell
    "groups": Each(Each(GROUP)),  # {metadata column: {value: GROUP}}
    "details": SCORES,  # of the complete input, such as "f1/animals"
    "panels": [Each(Any)],  # drawings, see mmjax.tasks.panels
    "verdicts": [VERDICT],
    # {modality: {"removed", "replaced": ESTIMATE}}: the share of answers that stay the same without a modality, or with that of
    # another example (the cell of `mmjax.runs.answers.partners`); of tasks whose answers are texts
    "same": Optional(Each(Each(ESTIMATE))),
}
PRIVACY = {  # see `mmjax.robust.privacy.accounting.Guarantee`
    "epsilon": Maybe(NUMBER),  # null: no noise, no guarantee
    "delta": NUMBER,
    "noise_multiplier": NUMBER,
    "steps": int,
    **dict.fromkeys(("accountant", "conversion", "neighbours", "sampling", "covers", "not_covered"), str),
}
CELL = {
    "modalities": [str],
    "fusion": str,
    "parameters": int,  # of one seed, frozen ones included
    "seeds": [int],
    "folds": Maybe([int]),  # null: the data's own single split
    "steps": int,
    "stages": [{"first": int, "last": int, "learns": [str], "parameters": int, "validation": Maybe(NUMBER)}],
    "best_step": [[int]],  # of each fold (one without folds), of each seed
    "validation": {"select": str, "mean": Maybe(NUMBER), "per_seed": [Maybe(NUMBER)]},  # select: "task.metric" or "loss"
    "seconds": NUMBER,
    "experiment": Each(Any),
    "tasks": Each(CELL_TASK),
    "privacy": Optional(PRIVACY),  # of cells with DP-SGD
}
TASK = {
    "kind": str,  # the name of the task's class
    "task": Each(Any),  # its fields
    "headline": str,
    "metrics": Each({"higher_is_better": bool, "bounds": [Maybe(NUMBER)]}),
    "units": int,  # of the test split
    "groups": int,  # of units that are not independent of each other
    "best_cell": Maybe(str),  # chosen on validation, among the cells that select by this task
    "baselines": Each(SCORES),  # {baseline: {metric: ESTIMATE}}
    "interval": str,  # how the intervals were computed, one line
    "warnings": [str],
}
RESULTS = {
    "schema": int,
    "name": str,
    "command": str,
    "description": str,
    "tasks": Each(TASK),
    "cells": Each(CELL),
    "comparisons": {"count": int, "holm": bool},
    "data": {
        "modalities": [str],
        "splits": Each({"examples": int, "rows": int}),
        "dropped": Each(int),
        "source": str,
        "fingerprint": str,
        "folds": Maybe(int),
        "leak_free": bool,
    },
    "plan": str,
    "versions": Each(str),
    "device": str,
    "seconds": NUMBER,
    "peak_memory_bytes": int,
}
SCHEMA = 2


def check(value: Any, spec: Any, file: str, key: str = "") -> None:
    """Raises RunError for the first mismatch of a JSON value and its spec. Keys that are not in the spec are allowed.

    A spec is a type, a tuple of types, a tuple of words, a list of one spec, a mapping, `Each`, `Maybe`, `Optional` or `Any`.
    file, key: where the value comes from, for the message.
    """
    where = f"{file}: key '{key}'" if key else f"{file}: the file"
    if spec is Any or (isinstance(spec, Maybe) and value is None):
        return
    if isinstance(spec, (Maybe, Optional)):
        check(value, spec.spec, file, key)
    elif isinstance(spec, (Mapping, Each)):
        if not isinstance(value, Mapping):
            raise RunError(f"{where} must be an object, not {value!r:.60}")
        names = spec if isinstance(spec, Mapping) else value
        for name in names:
            inner = f"{key}.{name}" if key else str(name)
            if name not in value and isinstance(names[name], Optional):
                continue
            if name not in value:
                raise RunError(f"{file}: missing key '{inner}'")
            check(value[name], spec[name] if isinstance(spec, Mapping) else spec.spec, file, inner)
    elif isinstance(spec, list):
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise RunError(f"{where} must be a list, not {value!r:.60}")
        for i, item in enumerate(value):
            check(item, spec[0], file, f"{key}[{i}]")
    elif spec in (VERDICTS, KINDS):
        if value not in spec:
            raise RunError(f"{where} must be one of {', '.join(spec)}, not {value!r:.60}")
    elif not isinstance(value, spec) or (isinstance(value, bool) and spec is not bool):
        names = " or ".join(t.__name__ for t in (spec if isinstance(spec, tuple) else (spec,)))
        raise RunError(f"{where} must be {names}, not {value!r:.60}")


def check_results(results: Any, file: str) -> None:
    """Checks `results.json`: its schema, and that tasks, metrics, subsets and rivals are named consistently."""
    if isinstance(results, Mapping) and results.get("schema") != SCHEMA:
        raise RunError(f"{file}: schema is {results.get('schema')!r}, not {SCHEMA}: another version of mmjax wrote this run")
    check(results, RESULTS, file)
    for name, task in results["tasks"].items():
        if task["best_cell"] is not None and task["best_cell"] not in results["cells"]:
            raise RunError(f"{file}: key 'tasks.{name}.best_cell' names {task['best_cell']!r}, which is not one of the cells")
        if task["headline"] not in task["metrics"]:
            raise RunError(f"{file}: key 'tasks.{name}.headline' names {task['headline']!r}, which is not one of the metrics")
        _check_metrics(task["baselines"], task["metrics"], f"{file}: key 'tasks.{name}.baselines")
    for name, cell in results["cells"].items():
        for task, scored in cell["tasks"].items():
            where = f"{file}: key 'cells.{name}.tasks.{task}"
            if task not in results["tasks"]:
                raise RunError(f"{where}' is not one of the tasks")
            if scored["complete"] not in scored["subsets"]:
                raise RunError(f"{where}.subsets' lacks {scored['complete']!r}")
            _check_metrics(scored["subsets"], results["tasks"][task]["metrics"], f"{where}.subsets")
            rivals = results["tasks"][task]["baselines"].keys() | results["cells"].keys()
            for i, verdict in enumerate(scored["verdicts"]):
                if verdict["against"] not in rivals:
                    raise RunError(f"{where}.verdicts[{i}].against' names {verdict['against']!r}: no baseline or cell")


def _check_metrics(table: Mapping[str, Any], metrics: Mapping[str, Any], where: str) -> None:
    """RunError unless each entry of a table has a score for each metric of its task."""
    for name, scores in table.items():
        for metric in metrics:
            if metric not in scores:
                raise RunError(f"{where}.{name}' lacks the metric {metric!r}")
