"""The results in the terminal: one table and its conclusions for each task."""

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mmjax.report.numbers import NONE, number
from mmjax.report.rows import SHOWN_METRICS, Row, TaskTable, folds_text
from mmjax.report.sentences import run_sentences, task_sentences

__all__ = ["MARKS", "STYLES", "VERDICT_WORDS", "WIDE", "print_results", "results_table"]

STYLES = {"better": "green", "worse": "red", "inconclusive": "yellow", "identical": "yellow", "warning": "bold red", "note": ""}
MARKS = {"better": "+", "worse": "-", "inconclusive": "?", "identical": "=", "warning": "!", "note": " "}
VERDICT_WORDS = (("better", "beats"), ("inconclusive", "inconclusive:"), ("identical", "identical to"), ("worse", "worse than"))
WIDE = 100  # a terminal of at least this many columns gets descriptions of cells, and verdicts in words instead of marks


def print_results(results: Mapping[str, Any], console: Console) -> None:
    """Prints each task's table and conclusions, then the notes on the whole run."""
    for name in results["tasks"]:
        console.print(results_table(results, name, console.width))
        _print_sentences(task_sentences(results, name), console)
    _print_sentences(run_sentences(results), console)


def _print_sentences(sentences: Any, console: Console) -> None:
    for tone, text in sentences:
        line = Table.grid(padding=(0, 1, 0, 0))  # a hanging indent
        line.add_row(Text(MARKS[tone], style=STYLES[tone]), Text(text, style=STYLES["warning"] if tone == "warning" else ""))
        console.print(line)


def results_table(results: Mapping[str, Any], name: str, width: int = 80) -> Table:
    """The table of one task for a terminal of `width` columns."""
    shown = TaskTable(results, name)
    metrics, wide = shown.metrics[:SHOWN_METRICS], width >= WIDE
    table = Table(title=_title(shown), caption=_caption(shown, metrics, wide), box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("cell", overflow="fold")
    if wide:
        table.add_column("fusion", overflow="fold")
    intervals = [shown.text(row.scores[shown.headline]) for row in shown.rows]
    table.add_column(_heading(shown, metrics[0]), no_wrap=True, min_width=max(map(len, intervals), default=0))
    for metric in metrics[1:]:
        table.add_column(_heading(shown, metric), no_wrap=True, min_width=5, justify="right")
    table.add_column("verdicts", min_width=13, overflow="fold")
    kind = None
    for row, interval in zip(shown.rows, intervals):
        if kind not in (None, row.kind):
            table.add_section()
        kind = row.kind
        cells = [Text(row.name + " *" * row.selected, style="bold" if row.selected else "")]  # Text: a name is never markup
        if wide:
            cells.append(Text("baseline" if row.kind == "baseline" else row.fusion))
        cells += [Text(interval), *(Text(_mean(shown, row, metric)) for metric in metrics[1:]), _verdicts(shown, row, wide)]
        table.add_row(*cells, style="dim" if row.kind == "baseline" else None)
    return table


def _title(shown: TaskTable) -> Text:
    folds = {folds_text(shown.results["cells"][name]["folds"], shown.results["data"]["folds"]) for name in shown.cells} - {""}
    parts = [f"{shown.task['units']:,} units", *sorted(folds)]
    return Text(f"{shown.results['name']}: {shown.name} on test ({', '.join(parts)})")


def _caption(shown: TaskTable, metrics: list[str], wide: bool) -> Text:
    notes = ["* selected on validation"] if shown.task["best_cell"] else []
    if not all(shown.higher_is_better(metric) for metric in metrics):
        notes.append("↓ lower is better")
    if not wide:
        notes.append("+ better, ? inconclusive, - worse, = identical")
    return Text("; ".join([*notes, f"[low, high]: {shown.task['interval']}"]))


def _heading(shown: TaskTable, metric: str) -> Text:
    """The metric's name, broken at a "_" or "/" so that it takes little width."""
    lines = [""]
    for piece in metric.replace("_", "_\0").replace("/", "/\0").split("\0"):
        lines[-1:] = [lines[-1] + piece] if len(lines[-1] + piece) <= 11 else [lines[-1], piece]
    return Text("\n".join(line for line in lines if line) + ("" if shown.higher_is_better(metric) else " ↓"))


def _mean(shown: TaskTable, row: Row, metric: str) -> str:
    return number(row.scores[metric]["mean"], shown.bounds(metric)) if metric in row.scores else NONE


def _verdicts(shown: TaskTable, row: Row, wide: bool) -> Text:
    words = Text()
    for verdict, start in VERDICT_WORDS:
        rivals = [
            value["against"]
            for value in row.verdicts
            if value["metric"] == shown.headline and value["difference"]["verdict"] == verdict
        ]
        if rivals:
            words.append("\n" * bool(words) + f"{start if wide else MARKS[verdict]} {', '.join(rivals)}", style=STYLES[verdict])
    return words
