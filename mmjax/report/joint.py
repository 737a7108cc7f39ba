"""Several runs side by side: one table for each task that they share, paired differences, and overlaid learning curves."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmjax.report.curves import Limits, Parts, overlaid_curves
from mmjax.report.differences import Line, Mark, line, mark, table_line
from mmjax.report.pairs import Cell, paired_differences
from mmjax.report.phrases import join
from mmjax.report.rows import Row, TaskTable
from mmjax.report.sections import COLUMNS, baselines_of, score_range
from mmjax.report.sentences import selected_cell
from mmjax.runs.read import Run

__all__ = ["joint_curves", "joint_tasks"]


def joint_tasks(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """The values of joint.html for each task that at least two runs have, with the same kind and the same metrics.

    If runs have tasks of one name that differ in these, there is a table for each group of equal ones. Cells of the second and
    later runs of a group are compared with the selected cell of its first one, and with its cell of the same name.
    """
    found = []
    for name in dict.fromkeys(name for run in runs for name in run.results["tasks"]):
        for group in _equal_tasks(runs, name):
            of = "all runs" if len(group) == len(runs) else f"runs {join([str(number) for number in group])}"
            found.append({"runs": of, **_joint_task(group, name)})
    return found


def _equal_tasks(runs: Sequence[Run], name: str) -> list[dict[int, Run]]:
    """The runs by number that have this task, in groups of at least two with the same kind and metrics."""
    tasks = {n: run.results["tasks"][name] for n, run in enumerate(runs, 1) if name in run.results["tasks"]}
    kinds = {n: [task[key] for key in ("kind", "headline", "metrics")] for n, task in tasks.items()}
    groups = [[other for other in kinds if kinds[other] == kind] for kind in kinds.values()]
    return [{n: runs[n - 1] for n in group} for i, group in enumerate(groups) if len(group) > 1 and group not in groups[:i]]


def _joint_task(runs: Mapping[int, Run], name: str) -> dict[str, Any]:
    tables = {number: TaskTable(run.results, name) for number, run in runs.items()}
    reference, *others = tables
    table = tables[reference]
    chosen = selected_cell(table)[0] or next(iter(table.cells))
    pairs: dict[tuple[Cell, Cell], str] = {}
    for number in others:
        for cell in tables[number].cells:
            pairs[(number, cell), (reference, chosen)] = "selected cell" if table.task["best_cell"] else "first cell"
            if cell in table.cells and cell != chosen:
                pairs[(number, cell), (reference, cell)] = "same cell"
    gaps, sentence = paired_differences(runs, name, list(pairs))
    rows = [(number, row) for number, of in tables.items() for row in of.rows if number == reference or row.kind != "baseline"]
    rows.sort(key=lambda item: item[1].kind == "baseline")  # stable: the baselines last
    return {
        "name": name,
        "table": table,
        "lines": [table_line(row, _marks(table, gaps, pairs, number, row), number) for number, row in rows],
        "columns": table.metrics[:COLUMNS],
        "scale": score_range([row for _, row in rows], table),
        "baselines": baselines_of(table),
        "differences": [_line(table, pair, kind, gaps[pair]) for pair, kind in pairs.items() if pair in gaps],
        "rivals": [_named((reference, chosen)), f"the cell of the same name in run {reference}"] if gaps else [],
        "sentence": sentence,
    }


def _marks(
    table: TaskTable, gaps: Mapping[tuple[Cell, Cell], Any], pairs: Mapping[Any, str], number: int, row: Row
) -> list[Mark]:
    """Two verdicts: against the selected cell of the first run, and against its cell of the same name; none in that run."""
    own = {kind: pair for pair, kind in pairs.items() if pair[0] == (number, row.name) and row.kind != "baseline"}
    if not gaps or not own:
        return []
    first, same = next(pair for kind, pair in own.items() if kind != "same cell"), own.get("same cell")
    if same is None and first[0][1] == first[1][1]:  # the selected cell is the cell of the same name
        same = first
    return [mark(table, _named(pair[1]) if pair else "a cell of the same name", gaps.get(pair)) for pair in (first, same)]


def _line(table: TaskTable, pair: tuple[Cell, Cell], kind: str, difference: Mapping[str, Any]) -> Line:
    (number, cell), rival = pair
    return line(table, table.headline, str(number), cell, _named(rival), kind, difference)


def _named(cell: Cell) -> str:
    return f"{cell[1]} of run {cell[0]}"


def joint_curves(runs: Sequence[Run], shared: Limits) -> list[str]:
    """Overlaid learning curves of each cell that at least two runs have; without any, of the selected cell of each run."""
    names = dict.fromkeys(name for run in runs for name in run.results["cells"])
    having = {name: [i for i, run in enumerate(runs) if name in run.results["cells"]] for name in names}
    panels: dict[str, Mapping[str, Parts]] = {
        name: {f"run {i + 1}": runs[i].curves(name) for i in of} for name, of in having.items() if len(of) > 1
    }
    if not panels:
        chosen = [_selected(run) for run in runs]
        panels = {"selected cells": {f"run {i + 1}": run.curves(chosen[i]) for i, run in enumerate(runs)}}
    return [overlaid_curves(name, of, shared) for name, of in panels.items()]


def _selected(run: Run) -> str:
    """The cell that the first task with a selection selected, else the first cell."""
    best = [task["best_cell"] for task in run.results["tasks"].values() if task["best_cell"]]
    return best[0] if best else next(iter(run.results["cells"]))
