"""The section of the page for one task: table, comparisons, plots, details and examples, as values for task.html."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mmjax.report.differences import lines, marks, rivals, table_line
from mmjax.report.examples import WAYS, Embedded, cards
from mmjax.report.numbers import UNIT, Bounds, exists, interval
from mmjax.report.panels import draw_panel
from mmjax.report.plots import LINES, MARKERS, group_panel, subset_panel
from mmjax.report.rows import Row, TaskTable
from mmjax.report.sentences import selected_cell, task_sentences
from mmjax.report.svg import BLUE, GREY, ORANGE, nice_range
from mmjax.runs.folder import read_record
from mmjax.runs.read import Run

__all__ = ["COLUMNS", "baselines_of", "score_range", "task_section"]

COLUMNS = 4  # metrics in the table of results; a second table has all of them, with intervals


def task_section(run: Run, name: str, media: Embedded) -> dict[str, Any]:
    """All values of task.html. The selected cell, or else the first cell, comes first. media: embedded in the page so far."""
    table = TaskTable(run.results, name)
    chosen, _ = selected_cell(table)
    chosen = chosen or next(iter(table.cells))
    order = sorted(table.cells, key=lambda cell: cell != chosen)
    same = {cell: run.same_answers(cell, name) for cell in order}
    examples = cards(run.examples(), {cell: run.shown(cell) for cell in order}, name, media, same)
    return {
        "table": table,
        "chosen": chosen,
        "order": order,
        "sentences": task_sentences(run.results, name),
        "columns": table.metrics[:COLUMNS],
        "scale": score_range(table.rows, table),
        "baselines": baselines_of(table),
        "lines": [table_line(row, marks(table, row)) for row in table.rows],
        "rivals": [name for _, name in rivals(table)],
        "differences": {metric: found for metric in table.metrics if (found := lines(table, metric))},
        "subsets": _subset_plots(table),
        "same": _same(table),
        "groups": _group_plots(table, chosen),
        "markers": _markers(table),
        "details": {cell: _details(table, scored["details"]) for cell, scored in table.cells.items() if scored["details"]},
        "panels": {
            cell: [draw_panel(panel, f"cells.{cell}.tasks.{name}.panels[{i}]") for i, panel in enumerate(scored["panels"])]
            for cell, scored in table.cells.items()
            if scored["panels"]
        },
        "has_matrix": any(panel["panel"] == "matrix" for scored in table.cells.values() for panel in scored["panels"]),
        "cards": examples,
        "averaged": _averaged(run, list(examples[0].answers) if examples else []),
        "has_errors": any(of[0].correct is False for card in examples for of in card.answers.values()),
        "has_attention": any(of[0].attention for card in examples for of in card.answers.values()),
        # texts are rarely right or wrong, so there is no filter for errors
        "worst_first": table.task["kind"] in ("Generate", "Likelihood"),
        "has_scores": any(of[0].score is not None for card in examples for of in card.answers.values()),
        "modalities": {modality for scored in table.cells.values() for modality in scored["complete"].split("+")},
    }


def _averaged(run: Run, cells: Sequence[str]) -> str:
    """The seeds whose predictions the cards show: those of the first part of each cell, which may have some of its seeds."""
    records = [read_record(run.folder / "cells" / cell / "cell.json") for cell in cells]
    counts = {(len(of["parts"][0]["seeds"]), len(run.results["cells"][cell]["seeds"])) for cell, of in zip(cells, records)}
    if all(shown == total for shown, total in counts):
        return "seeds"
    return f"the first {' or '.join(f'{shown} of {total}' for shown, total in sorted(counts))} seeds"


def baselines_of(table: TaskTable) -> list[dict[str, Any]]:
    """[{"name", "mean", "line"}] of the baselines, with the number of their line style in the drawings."""
    names = [row for row in table.rows if row.kind == "baseline"]
    return [
        {"name": row.name, "mean": row.scores[table.headline]["mean"], "line": number % len(LINES)}
        for number, row in enumerate(names)
    ]


def score_range(rows: Sequence[Row], table: TaskTable) -> tuple[float, float]:
    """The range of the small drawings in the table of results."""
    scores = [row.scores[table.headline] for row in rows]
    values = [value for score in scores for value in (*score["per_seed"], *(score[key] for key in ("mean", "low", "high")))]
    return nice_range(values, table.bounds())


def _subset_plots(table: TaskTable) -> list[str]:
    """A panel of bars for each subset of the modalities, large subsets first."""
    metric, bounds = table.headline, table.bounds()
    rows = {row.name: row for row in table.rows if row.kind != "baseline"}
    colours = {name: ORANGE if row.selected else GREY if row.kind == "single" else BLUE for name, row in rows.items()}
    subsets = sorted({s for scored in table.cells.values() for s in scored["subsets"]}, key=lambda s: (-s.count("+"), s))
    scores = {
        subset: {name: scored["subsets"][subset][metric] for name, scored in table.cells.items() if subset in scored["subsets"]}
        for subset in subsets
    }
    baselines = [row.scores[metric]["mean"] for row in table.rows if row.kind == "baseline"]
    span = _range([score for of in scores.values() for score in of.values()], table)
    return [subset_panel(subset, metric, of, colours, baselines, bounds, span) for subset, of in scores.items()]


def _same(table: TaskTable) -> dict[str, dict[str, str]]:
    """{cell: {"without image": the share of answers that stay the same, with its interval}}, of cells that have some."""
    named = lambda same: {WAYS[way].format(name): interval(one) for name, ways in same.items() for way, one in ways.items()}
    return {cell: named(scored["same"]) for cell, scored in table.cells.items() if scored.get("same")}


def _group_plots(table: TaskTable, chosen: str) -> dict[str, list[tuple[str, str]]]:
    """{metadata column: [(cell, panel)]}, the chosen cell first."""
    columns = dict.fromkeys(column for scored in table.cells.values() for column in scored["groups"])
    order = sorted(table.cells, key=lambda cell: cell != chosen)
    plots: dict[str, list[tuple[str, str]]] = {}
    for column in columns:
        groups = {cell: table.cells[cell]["groups"][column] for cell in order if column in table.cells[cell]["groups"]}
        scores = [
            subset[table.headline] for of in groups.values() for value in of.values() for subset in value["subsets"].values()
        ]
        span = _range(scores, table)
        for cell, of in groups.items():
            panel = group_panel(cell, column, table.headline, of, _markers(table, cell), table.bounds(), span)
            plots.setdefault(column, []).append((cell, panel))
    return plots


def _markers(table: TaskTable, cell: str | None = None) -> list[tuple[str, str]]:
    """[(marker, subset)] of the panels of groups: the complete input first, then each modality by itself."""
    found = {
        subset for scored in table.cells.values() for of in scored["groups"].values() for value in of.values()
        for subset in value["subsets"] if subset != scored["complete"]
    }  # fmt: skip
    complete = "all modalities" if cell is None else table.cells[cell]["complete"]
    names = [complete, *sorted(found)]
    return [(MARKERS[k % len(MARKERS)], name) for k, name in enumerate(names) if k == 0 or name != complete]


def _range(scores: Sequence[Mapping[str, Any]], table: TaskTable) -> tuple[float, float]:
    """The common range of a task's plots: [0, 1] if these are the metric's bounds, else a range around 0 and all scores."""
    if tuple(table.bounds()) == (0, 1):
        return 0.0, 1.0
    return nice_range([score[key] for score in scores for key in ("mean", "low", "high")], (None, None), zero=True)


def _details(table: TaskTable, details: Mapping[str, Any]) -> dict[str, Any]:
    """{"f1/animals": ESTIMATE} -> {"columns": ["f1"], "rows": {"animals": {"f1": "0.861 [0.820, 0.900]"}}}."""
    columns: dict[str, dict[str, Any]] = {}
    for name, estimate in details.items():
        column, _, row = name.partition("/")
        columns.setdefault(column, {})[row] = estimate
    rows: dict[str, dict[str, str]] = {}
    for column, estimates in columns.items():
        bounds = table.bounds(column) if column in table.metrics else _guessed_bounds(estimates.values())
        for row, estimate in estimates.items():
            rows.setdefault(row, {})[column] = interval(estimate, bounds)
    return {"columns": list(columns), "rows": rows}


def _guessed_bounds(estimates: Iterable[Mapping[str, Any]]) -> Bounds:
    """[0, 1] for values that all lie in [-1, 1], so that they print with as many decimals as scores do."""
    means = [estimate["mean"] for estimate in estimates if exists(estimate["mean"])]
    return UNIT if all(abs(mean) <= 1 for mean in means) else (None, None)
