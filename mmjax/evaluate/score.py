"""The outcomes of all cells on one task -> its entries in `results.json`: scores, groups, verdicts and warnings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmjax.evaluate.statistics import INTERVAL, Difference, Estimate, difference, estimates, holm
from mmjax.types import Outcomes, Task, Units

__all__ = ["CellOutcomes", "Key", "Scores", "best_cell", "score_task", "to_json"]

Scores = Mapping[str, Estimate]


@dataclass(frozen=True)
class CellOutcomes:
    """The outcomes of one cell on the units of one task.

    outcomes: {subset: {name: [s u ...]}}. complete: the name of the subset with all modalities. modalities: the modalities that
    the cell encodes. validation: the mean over seeds of its validation score by `select`; None if the cell selects by another
    task. higher_is_better: the direction of this score. select: its name; scores of different names are not compared. changed:
    whether the trained model was attacked or compressed; such a cell is not compared with single modalities, and none is
    compared with it, except by `against`. It is never the best cell if there are others.
    """

    outcomes: Mapping[str, Outcomes]
    complete: str
    modalities: tuple[str, ...]
    validation: float | None
    higher_is_better: bool = True
    select: str = ""
    changed: bool = False

    @property
    def single(self) -> bool:
        """Whether the cell has one modality, and is not changed. Multimodal cells are compared with such cells."""
        return len(self.modalities) == 1 and not self.changed

    @property
    def multimodal(self) -> bool:
        """Whether the cell has several modalities, and is not changed."""
        return len(self.modalities) > 1 and not self.changed


def score_task(
    task: Task,
    units: Units,
    cells: Mapping[str, CellOutcomes],
    baselines: Mapping[str, Outcomes],
    groups: Mapping[str, Sequence[str]],
    against: str | None = None,
    adjust: bool = False,
    fold: np.ndarray | None = None,
    selected: str | None = None,
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """(`TASK`, {cell: `CELL_TASK`}) as in `mmjax.runs.schema`; the caller adds the description of the task.

    baselines: {name: outcomes [1 u ...]}. groups: {cell: metadata columns}. against: a cell that all others are compared with.
    adjust: adjusts the p-values of each metric by Holm's rule. fold: Int[u], for test predictions joined over folds.
    selected: the cell that another task selected; warnings are about it if no cell selects by this task.
    """
    score = lambda outcomes, weight=units.weight: estimates(task.metrics, outcomes, weight, units.group, fold)
    scored = {name: {subset: score(o) for subset, o in cell.outcomes.items()} for name, cell in cells.items()}
    complete = {name: scored[name][cell.complete] for name, cell in cells.items()}
    scored_baselines = {name: score(outcomes) for name, outcomes in baselines.items()}
    verdicts = _verdicts(list(task.metrics), cells, complete, scored_baselines, against, adjust)
    entries = {}
    for name, cell in cells.items():
        outcomes = cell.outcomes[cell.complete]
        entries[name] = {
            "subsets": {subset: to_json(found) for subset, found in scored[name].items()},
            "complete": cell.complete,
            "groups": {column: _groups(column, cell, units, score) for column in groups[name]},
            "details": to_json(estimates(task.details(units), outcomes, units.weight, units.group, fold)),
            "panels": [dict(panel) for panel in task.panels(outcomes, units)],
            "verdicts": [
                {"against": rival, "kind": kind, "metric": metric, "difference": gap.to_json()}
                for (cell_name, metric, kind, rival), gap in verdicts.items()
                if cell_name == name
            ],
        }
    best = best_cell(cells)
    entry = {
        "units": int(np.count_nonzero(units.weight)),
        "groups": len(np.unique(units.group[units.weight > 0])),
        "best_cell": best,
        "baselines": {name: to_json(found) for name, found in scored_baselines.items()},
        "interval": INTERVAL,
        "warnings": _warnings(next(iter(task.metrics)), task, cells, complete, verdicts, best or selected),
    }
    return entry, entries


def to_json(scores: Scores) -> dict[str, Any]:
    """{metric: `ESTIMATE` of `mmjax.runs.schema`}."""
    return {name: estimate.to_json() for name, estimate in scores.items()}


def best_cell(cells: Mapping[str, CellOutcomes]) -> str | None:
    """The cell with the best validation score, among fusion cells if there are any; None without validation scores.

    Only cells that select by the same score as the first one are compared.
    """
    scored = {name: cell for name, cell in cells.items() if cell.validation is not None}
    first = next(iter(scored.values()), None)
    chosen = {name: cell for name, cell in scored.items() if cell.select == first.select}
    fused = {name: cell for name, cell in chosen.items() if cell.multimodal}
    unchanged = {name: cell for name, cell in chosen.items() if not cell.changed}
    key = lambda name: chosen[name].validation if chosen[name].higher_is_better else -chosen[name].validation
    return max(fused or unchanged or chosen, key=key, default=None)


def _groups(column: str, cell: CellOutcomes, units: Units, score: Any) -> dict[str, Any]:
    """{value: `GROUP`} of a metadata column, with the scores of the complete input and of each modality by itself."""
    values = np.asarray(units.metadata[column])
    shown = [subset for subset in cell.outcomes if subset == cell.complete or "+" not in subset]
    table = {}
    for value in np.unique(values[units.weight > 0]).tolist():
        if value == "":  # missing, such as the language of an example without speech
            continue
        weight = np.where(values == value, units.weight, 0).astype(np.float32)
        table[str(value)] = {
            "units": int(np.count_nonzero(weight)),
            "weight": float(weight.sum()),
            "subsets": {subset: to_json(score(cell.outcomes[subset], weight)) for subset in shown},
        }
    return table


Key = tuple[str, str, str, str]  # cell, metric, kind of rival, rival


def _verdicts(
    metrics: Sequence[str],
    cells: Mapping[str, CellOutcomes],
    complete: Mapping[str, Scores],
    baselines: Mapping[str, Scores],
    against: str | None,
    adjust: bool,
) -> dict[Key, Difference]:
    """Paired differences of each cell to every baseline, to every single modality, and to the cell `against`."""
    gaps: dict[Key, Difference] = {}
    for metric in metrics:
        family: dict[Key, Difference] = {}
        for name, cell in cells.items():
            rivals = [("baseline", rival, scores) for rival, scores in baselines.items()]
            if cell.multimodal:
                rivals += [("single", rival, complete[rival]) for rival, other in cells.items() if other.single]
            if against in cells and name != against and not (cells[against].single and cell.multimodal):
                rivals.append(("cell", against, complete[against]))
            own = complete[name][metric]
            family |= {(name, metric, kind, rival): difference(own, scores[metric]) for kind, rival, scores in rivals}
        gaps |= holm(family) if adjust else family
    return gaps


def _warnings(
    headline: str,
    task: Task,
    cells: Mapping[str, CellOutcomes],
    complete: Mapping[str, Scores],
    verdicts: Mapping[Key, Difference],
    best: str | None,
) -> list[str]:
    """Warnings that precede the verdicts: single modalities that score above the selected fusion, and other ranks on test."""
    singles = [name for name, cell in cells.items() if cell.single]
    if best not in cells or not singles or not cells[best].multimodal:
        return []
    sign = 1 if task.metrics[headline].higher_is_better else -1
    value = lambda name: sign * complete[name][headline].mean
    bounded = None not in task.metrics[headline].bounds
    shown = lambda name: f"{complete[name][headline].mean:.3f}" if bounded else f"{complete[name][headline].mean:.4g}"
    found = []
    for name in sorted(singles, key=value, reverse=True):
        if value(name) > value(best):
            gap = verdicts[best, headline, "single", name]
            certainty = "beats" if gap.verdict == "worse" else "scores higher on test than"
            found.append(
                f"{name} alone ({shown(name)} {headline}) {certainty} {best} ({shown(best)}), the fusion selected on validation"
            )
        elif _leads(cells[name], cells[best]):
            found.append(
                f"{name} alone scores higher than {best} on validation ({cells[name].validation:.3f} and "
                f"{cells[best].validation:.3f}), but not on test ({shown(name)} and {shown(best)})"
            )
    ranked = [name for name in singles if cells[name].validation is not None and cells[name].select == cells[best].select]
    if len(ranked) > 1:
        by_validation = best_cell({name: cells[name] for name in ranked})
        by_test = max(ranked, key=value)
        if by_validation != by_test:
            found.append(
                f"the best single modality is {by_validation} on validation and {by_test} on test "
                f"({shown(by_validation)} and {shown(by_test)} {headline} on test)"
            )
    return found


def _leads(cell: CellOutcomes, other: CellOutcomes) -> bool:
    """Whether a cell has the better validation score of two; False if their scores cannot be compared."""
    if cell.validation is None or other.validation is None or cell.select != other.select:
        return False
    return (cell.validation > other.validation) == cell.higher_is_better and cell.validation != other.validation
