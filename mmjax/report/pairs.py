"""Paired differences between cells of several run folders, from their saved outcomes, if the test sets are equal."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmjax import tasks
from mmjax.evaluate.statistics import Difference, Estimate, difference, estimates, holm
from mmjax.report.phrases import join
from mmjax.runs.read import Run
from mmjax.types import Task, Units

__all__ = ["Cell", "TestSet", "paired_differences", "restore_task"]

Cell = tuple[int, str]
"""(the number of the run in the page, the name of a cell)"""


@dataclass(frozen=True)
class TestSet:
    """The test units of a task in one run. fold: Int[u], None without cross-validation."""

    __test__ = False  # pytest takes classes of this name for tests

    units: Units
    fold: np.ndarray | None

    @property
    def fingerprint(self) -> str:
        """A hash of ids, targets, weights, groups and folds. The outcomes of equal test sets are paired unit by unit."""
        arrays = {"weight": self.units.weight, "group": self.units.group, "id": self.units.metadata["id"], "fold": self.fold}
        digest = hashlib.sha256()
        for name, value in sorted((arrays | {f"target/{key}": each for key, each in self.units.target.items()}).items()):
            array = np.asarray(0 if value is None else value)
            digest.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
        return digest.hexdigest()


def paired_differences(
    runs: Mapping[int, Run], task: str, pairs: Sequence[tuple[Cell, Cell]]
) -> tuple[dict[tuple[Cell, Cell], Mapping[str, Any]], str]:
    """({pair: DIFFERENCE of results.json} by the headline metric, a sentence on the pairing). pairs: (cell, rival).

    runs: by number; all of them have the task, with equal metrics. Pairs of runs with different test sets are left out, and so
    are all of them if the task is not one of `mmjax.tasks`, since its metrics are unknown here. Holm's correction is applied if
    it was applied to one of the runs. RunError if a file is damaged.
    """
    restored = restore_task(runs[min(runs)].results["tasks"][task])
    if restored is None:
        return {}, "Its metrics are not those of a task in mmjax.tasks, so that differences between runs cannot be computed."
    sets = {number: TestSet(*run.units(task)) for number, run in runs.items()}
    prints = {number: of.fingerprint for number, of in sets.items()}
    kept = [(a, b) for a, b in pairs if prints[a[0]] == prints[b[0]]]
    headline = next(iter(restored.metrics))
    metric = {headline: restored.metrics[headline]}
    needed = dict.fromkeys(cell for pair in kept for cell in pair)
    found: dict[Cell, Estimate] = {}
    for number, cell in needed:
        units, fold = sets[number].units, sets[number].fold
        outcomes = runs[number].outcomes(cell, task)
        found[number, cell] = estimates(metric, outcomes, units.weight, units.group, fold)[headline]
    gaps: dict[Any, Difference] = {(a, b): difference(found[a], found[b]) for a, b in kept}
    adjusted = any(run.results["comparisons"]["holm"] for run in runs.values())
    gaps = holm(gaps) if adjusted else gaps
    return {pair: gap.to_json() for pair, gap in gaps.items()}, _sentence(prints, len(kept), adjusted)


def _sentence(prints: Mapping[int, str], count: int, adjusted: bool) -> str:
    if not count:
        return "The test sets differ, so that cells of different runs are not compared."
    equal = [str(number) for number, found in prints.items() if found == prints[min(prints)]]
    rest = "" if len(equal) == len(prints) else " Other test sets differ, so that their runs are not compared."
    was = "was" if adjusted else "was not"
    return (
        f"The test sets of runs {join(equal)} are equal, so that differences are paired unit by unit.{rest} "
        f"Holm's correction {was} applied to these {count} comparisons."
    )


def restore_task(described: Mapping[str, Any]) -> Task | None:
    """The task that an entry of results.json describes.

    None if it is not one of `mmjax.tasks`, has metrics of its own, or has fields that are not plain values. Nothing else is
    imported, so that a page can be made from anyone's run folder.
    """
    fields = {name: value for name, value in described["task"].items() if name != "class"}
    metrics = fields.pop("extra", None)
    plain = not any(isinstance(value, Mapping) for value in fields.values())
    if metrics or not plain or described["kind"] not in tasks.__all__:
        return None
    try:
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
        return getattr(tasks, described["kind"])(**values)
    except (TypeError, ValueError):  # a class of the user with the same name, or another version
        return None
