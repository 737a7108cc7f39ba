"""Verdicts as symbols with their numbers, and as the lines of a table."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mmjax.report.numbers import number
from mmjax.report.phrases import power
from mmjax.report.rows import Row, TaskTable

__all__ = [
    "KINDS", "LINKS", "ORDER", "Line", "Mark", "balance", "line", "lines", "mark", "marks", "p_text", "rivals", "table_line",
]

KINDS = {"single": "single modality", "baseline": "baseline", "cell": "cell"}
ORDER = {"worse": 0, "inconclusive": 1, "identical": 2, "better": 3}  # of the verdicts, for sorting
LINKS = {"better": "better than", "worse": "worse than", "inconclusive": "inconclusive against", "identical": "identical to"}


class Mark(NamedTuple):
    """One verdict in the table of results. verdict: None if the cell is not compared with this rival. hover: its numbers."""

    verdict: str | None
    hover: str


class Line(NamedTuple):
    """One line of a table of differences. text: cell minus rival with its interval. power: what would settle it, in clauses."""

    run: str
    cell: str
    against: str
    kind: str
    difference: Mapping[str, Any]
    text: str
    p: str
    power: list[str]

    @property
    def order(self) -> int:
        """The place of the verdict when the table is sorted."""
        return ORDER[self.difference["verdict"]]


def rivals(table: TaskTable, metric: str | None = None) -> list[tuple[str, str]]:
    """[(kind, name)] of all rivals in a task's table: single modalities, baselines, then cells."""
    return [(kind, name) for kind in KINDS for name in table.differences(kind, metric)]


def table_line(row: Row, found: Sequence[Mark], run: int | None = None) -> dict[str, Any]:
    """A line of the macro `results` in table.html. run: the number of the run, if the table is of several."""
    return {"run": run, "row": row, "marks": found, "balance": balance(found)}


def marks(table: TaskTable, row: Row) -> list[Mark]:
    """The verdicts of a row by the headline metric, one for each of `rivals`."""
    found = {(v["kind"], v["against"]): v["difference"] for v in row.verdicts if v["metric"] == table.headline}
    return [mark(table, name, found.get((kind, name))) for kind, name in rivals(table)]


def mark(table: TaskTable, rival: str, difference: Mapping[str, Any] | None) -> Mark:
    """One verdict by the headline metric. difference: None if there is no comparison."""
    if difference is None:
        return Mark(None, f"not compared with {rival}")
    start = f"{LINKS[difference['verdict']]} {rival}"
    if difference["verdict"] == "identical":
        return Mark("identical", start)
    return Mark(difference["verdict"], f"{start}: {table.text(difference, signed=True)}, p {p_text(difference)}")


def lines(table: TaskTable, metric: str) -> list[Line]:
    """All differences by one metric, cell by cell."""
    order = rivals(table, metric)
    found = {rival: table.differences(rival[0], metric)[rival[1]] for rival in order}
    return [
        line(table, metric, "", cell, name, KINDS[kind], found[kind, name][cell])
        for cell in table.cells
        for kind, name in order
        if cell in found[kind, name]
    ]


def line(table: TaskTable, metric: str, run: str, cell: str, against: str, kind: str, difference: Mapping[str, Any]) -> Line:
    """A difference as a line. run, kind: text for the table, "" for none."""
    same, unclear = difference["verdict"] == "identical", difference["verdict"] == "inconclusive"
    return Line(
        run, cell, against, kind, difference,
        text="" if same else table.text(difference, metric, signed=True),
        p="" if same else p_text(difference),
        power=power([difference], table.bounds(metric)) if unclear else [],
    )  # fmt: skip


def p_text(difference: Mapping[str, Any]) -> str:
    """The p-value with three decimals, "<0.001" if it is less."""
    p = difference["p"]
    return "<0.001" if p is not None and p < 0.001 else number(p)


def balance(row: Sequence[Mark]) -> int | str:
    """The verdicts "better" minus the verdicts "worse" of a row, for sorting; "" if it is compared with nothing."""
    verdicts = [mark.verdict for mark in row if mark.verdict]
    return verdicts.count("better") - verdicts.count("worse") if verdicts else ""
