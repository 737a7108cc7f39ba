"""The shape of a run's `results.json`, and a checker that names the first thing that is wrong by file and key."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


class RunError(ValueError):
    """A run folder is not what the schema says; the message names the file and the key."""


@dataclass(frozen=True)
class Each:
    """A mapping from any name to values of one shape."""

    spec: Any


@dataclass(frozen=True)
class Maybe:
    """A value of this shape, or null. The key itself is still required."""

    spec: Any


NUMBER = (int, float)  # bool is an int to Python; `check` refuses it
# null stands for a number that does not exist (the precision of a class that was never said), as JSON has no NaN
INTERVAL = {"mean": Maybe(NUMBER), "low": Maybe(NUMBER), "high": Maybe(NUMBER)}
FLOOR = {"accuracy": INTERVAL, "f1_macro": INTERVAL}
SUBSET = {
    "accuracy": {**INTERVAL, "per_seed": [Maybe(NUMBER)]},
    **{f"{metric}_{average}": INTERVAL for average in ("macro", "micro") for metric in ("precision", "recall", "f1")},
    "ece": INTERVAL,
}
VERDICTS = ("better", "worse", "inconclusive")
CELL = {
    "modalities": [str],
    "fusion": str,
    "parameters": int,
    "seeds": [int],
    "steps": int,
    "stages": [{"first": int, "last": int, "learns": [str], "parameters": int, "validation": Maybe(NUMBER)}],
    "best_step": [int],
    "seconds": NUMBER,
    "experiment": Each(Any),
    "subsets": Each(SUBSET),
    "languages": Each({"rows": int, **FLOOR, "unimodal_heads": FLOOR}),
    "per_class": Each({"precision": INTERVAL, "recall": INTERVAL, "f1": INTERVAL, "weight": NUMBER}),
    "confusion": [[NUMBER]],
    "verdicts": [{"against": str, "name": str, "metric": str, "difference": INTERVAL, "verdict": VERDICTS}],
}
RESULTS = {
    "name": str,
    "command": str,
    "description": str,
    "task": {
        "target": str,
        "classes": [str],
        "modalities": [str],
        "splits": Each({"examples": int, "rows": int}),
        "dropped": Each(int),
    },
    "best_cell": str,
    "interval": str,
    "cells": Each(CELL),
    "floors": {"majority": FLOOR, "tfidf_svm": Maybe(FLOOR), "best_single": Maybe({"cell": str, **FLOOR})},
    "fingerprint": str,
    "versions": Each(str),
    "device": str,
    "seconds": NUMBER,
    "peak_memory_bytes": int,
}


def check(value: Any, spec: Any, file: str, key: str = "") -> None:
    """Raise `RunError` at the first place where `value` departs from `spec`. Keys that the spec lacks are welcome."""
    where = f"{file}: key '{key}'" if key else f"{file}: the file"
    if spec is Any or (isinstance(spec, Maybe) and value is None):
        return
    if isinstance(spec, Maybe):
        check(value, spec.spec, file, key)
    elif isinstance(spec, (Mapping, Each)):
        if not isinstance(value, Mapping):
            raise RunError(f"{where} must be an object, not {value!r:.60}")
        names = spec if isinstance(spec, Mapping) else value
        for name in names:
            inner = f"{key}.{name}" if key else str(name)
            if name not in value:
                raise RunError(f"{file}: missing key '{inner}'")
            check(value[name], spec[name] if isinstance(spec, Mapping) else spec.spec, file, inner)
    elif isinstance(spec, list):
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise RunError(f"{where} must be a list, not {value!r:.60}")
        for i, item in enumerate(value):
            check(item, spec[0], file, f"{key}[{i}]")
    elif spec is VERDICTS:
        if value not in VERDICTS:
            raise RunError(f"{where} must be one of {', '.join(VERDICTS)}, not {value!r:.60}")
    elif not isinstance(value, spec) or isinstance(value, bool):
        names = " or ".join(t.__name__ for t in (spec if isinstance(spec, tuple) else (spec,)))
        raise RunError(f"{where} must be {names}, not {value!r:.60}")


def full_subset(cell: Mapping[str, Any]) -> str:
    """The name of the subset that holds all of a cell's modalities."""
    return "+".join(sorted(cell["modalities"]))


def check_results(results: Any, file: str) -> None:
    """Check `results.json` by its shape, and then the names and sizes that must agree with each other."""
    check(results, RESULTS, file)
    classes = results["task"]["classes"]
    n = len(classes)
    if results["best_cell"] not in results["cells"]:
        raise RunError(f"{file}: key 'best_cell' names {results['best_cell']!r}, which is not one of the cells")
    best_single = results["floors"]["best_single"]
    if best_single and best_single["cell"] not in results["cells"]:
        raise RunError(f"{file}: key 'floors.best_single.cell' names {best_single['cell']!r}, not one of the cells")
    for name, cell in results["cells"].items():
        for subset in (full_subset(cell), *cell["modalities"]):
            if subset not in cell["subsets"]:
                raise RunError(f"{file}: missing key 'cells.{name}.subsets.{subset}'")
        if [len(row) for row in cell["confusion"]] != [n] * n:
            raise RunError(f"{file}: key 'cells.{name}.confusion' must be {n} x {n}, a row a true class")
        if len(cell["best_step"]) != len(cell["seeds"]):
            raise RunError(f"{file}: key 'cells.{name}.best_step' must have one step for each of the seeds")
        if set(cell["per_class"]) != set(classes):
            raise RunError(f"{file}: key 'cells.{name}.per_class' must have exactly the classes of the task")
        for i, verdict in enumerate(cell["verdicts"]):
            if results["floors"].get(verdict["against"]) is None:
                raise RunError(
                    f"{file}: key 'cells.{name}.verdicts[{i}].against' names {verdict['against']!r}, "
                    "which is not one of the floors"
                )
