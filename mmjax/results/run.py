"""A finished run: its table in several formats, paired comparisons, and its trained cells."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmjax.describe import DescribeError, from_json
from mmjax.evaluate.statistics import Difference, difference, estimates
from mmjax.report.numbers import number
from mmjax.report.rows import TaskTable
from mmjax.results.cell import Cell
from mmjax.runs.folder import write_text
from mmjax.runs.read import Run, check_cell, read_run
from mmjax.runs.schema import RunError

__all__ = ["LATEX", "Results", "load_run"]

LATEX = {"_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}",
         "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"}  # fmt: skip


def load_run(folder: Path | str) -> "Results":
    """The results in a run folder. RunError, naming the file, if it is missing, damaged or of another version."""
    return Results(read_run(folder))


@dataclass(frozen=True)
class Results:
    """The results of a run; `results[cell]` is a trained cell. run: the run folder and its results.json."""

    run: Run

    @property
    def json(self) -> dict[str, Any]:
        """The content of results.json (see `mmjax.runs.schema`)."""
        return self.run.results

    @property
    def tasks(self) -> list[str]:
        return list(self.json["tasks"])

    def __iter__(self) -> Iterator[str]:
        return iter(self.json["cells"])

    def __len__(self) -> int:
        return len(self.json["cells"])

    def __getitem__(self, cell: str) -> Cell:
        """A trained cell. KeyError if the run has no such cell."""
        folder = self._cell(cell)
        return Cell(cell, tuple(folder / part["name"] for part in check_cell(folder)["parts"]))

    def table(self, task: str | None = None) -> list[dict[str, Any]]:
        """One dict for each cell and baseline of a task, by default the first one.

        Keys: cell, kind ("multimodal", "single", "changed" or "baseline"), modalities, and for each metric its mean over seeds,
        NAME_low and NAME_high, its 95 % interval (None if undefined).
        """
        shown = self._task(task)
        return [
            {"cell": row.name, "kind": row.kind, "modalities": row.modalities}
            | {
                key: row.scores[metric][name]
                for metric in shown.metrics
                for key, name in ((metric, "mean"), (f"{metric}_low", "low"), (f"{metric}_high", "high"))
            }
            for row in shown.rows
        ]

    def to_pandas(self, task: str | None = None) -> Any:
        """`table` as a pandas.DataFrame."""
        try:
            import pandas
        except ImportError as error:
            raise ImportError("to_pandas needs pandas: pip install 'mmjax[pandas]'") from error
        return pandas.DataFrame(self.table(task))

    def to_csv(self, path: Path | str | None = None, task: str | None = None) -> str:
        """`table` as CSV, which is also written to `path` if it is given."""
        rows, text = self.table(task), io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return _written(text.getvalue(), path)

    def to_latex(self, path: Path | str | None = None, task: str | None = None, metrics: int = 3) -> str:
        """The first metrics as a LaTeX table (booktabs), also written to `path` if it is given.

        The headline metric has its interval; the cell that was selected on validation is bold. RunError if metrics is below 1.
        """
        if metrics < 1:
            raise RunError(f"metrics is {metrics}; it must be at least 1")
        shown = self._task(task)
        names = shown.metrics[:metrics]
        escape = lambda text: "".join(LATEX.get(character, character) for character in text)
        lines, kind = [], None
        for row in shown.rows:
            if kind not in (None, row.kind):
                lines.append(r"\midrule")
            kind = row.kind
            others = [number(row.scores[name]["mean"], shown.bounds(name)) for name in names[1:]]
            name = rf"\textbf{{{escape(row.name)}}}" if row.selected else escape(row.name)
            lines.append(" & ".join([name, shown.text(row.scores[names[0]]), *others]) + r" \\")
        head = " & ".join(["cell", *(escape(name) for name in names)]) + r" \\"
        columns = "l" * 2 + "r" * (len(names) - 1)
        body = "\n".join([r"\toprule", head, r"\midrule", *lines, r"\bottomrule"])
        return _written(f"\\begin{{tabular}}{{{columns}}}\n{body}\n\\end{{tabular}}\n", path)

    def plot(self, path: Path | str | None = None, task: str | None = None, metric: str | None = None) -> Any:
        """A matplotlib Figure: the mean and interval of a metric for each cell and baseline; saved to `path` if it is given."""
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise ImportError("plot needs matplotlib: pip install 'mmjax[report]'") from error
        shown = self._task(task)
        metric = self._metric(shown, metric)
        rows = [row for row in shown.rows if row.scores[metric]["mean"] is not None][::-1]
        figure = Figure(figsize=(6, 0.8 + 0.3 * len(rows)), layout="constrained")
        axes = figure.add_subplot()
        for i, row in enumerate(rows):
            score = row.scores[metric]
            low, high = (score["mean"] if score[end] is None else score[end] for end in ("low", "high"))
            colour = "0.5" if row.kind == "baseline" else "C0"
            axes.plot([low, high], [i, i], color=colour)
            axes.plot(score["mean"], i, "o", color=colour)
        axes.set_yticks(range(len(rows)), [row.name for row in rows])
        axes.set_xlabel(f"{metric} on test, 95 % interval")
        if path is not None:
            figure.savefig(path)
        return figure

    def compare(
        self, a: str, b: str, metric: str | None = None, task: str | None = None, subset: str | None = None
    ) -> Difference:
        """The paired difference a - b of two cells, or of a cell and a baseline, with its 95 % interval and verdict on a.

        metric: by default the headline metric. subset: the modalities that are present in both cells, joined by "+", such as
        "image+text"; by default all of each cell's. Holm's correction, which a report may apply to its table, is not applied
        here. KeyError if a name does not exist; RunError if the task's class cannot be imported.
        """
        shown = self._task(task)
        metric = self._metric(shown, metric)
        value = self._task_value(shown)
        known = [name for name in self if shown.name in self.json["cells"][name]["tasks"]]
        for name in (a, b):
            if name not in known and name not in shown.task["baselines"]:
                names = ", ".join([*known, *shown.task["baselines"]])
                raise KeyError(f"{name!r} is no cell or baseline of task {shown.name!r}; they are {names}")
        units, fold = self.run.units(shown.name)
        baselines = self.run.baselines(shown.name)

        def estimate(name: str) -> Any:
            outcomes = self.run.outcomes(name, shown.name, subset) if name in known else baselines[name]
            return estimates({metric: value.metrics[metric]}, outcomes, units.weight, units.group, fold)[metric]

        return difference(estimate(a), estimate(b))

    def _cell(self, name: str) -> Path:
        if name not in self.json["cells"]:
            raise KeyError(f"there is no cell {name!r} in {self.run.folder}; the cells are {', '.join(self)}")
        return self.run.folder / "cells" / name

    def _task(self, name: str | None) -> TaskTable:
        name = name or self.tasks[0]
        if name not in self.tasks:
            raise KeyError(f"there is no task {name!r}; the tasks are {', '.join(self.tasks)}")
        return TaskTable(self.json, name)

    def _metric(self, shown: TaskTable, name: str | None) -> str:
        if name is not None and name not in shown.metrics:
            raise KeyError(f"task {shown.name!r} has no metric {name!r}; its metrics are {', '.join(shown.metrics)}")
        return name or shown.headline

    def _task_value(self, shown: TaskTable) -> Any:
        try:
            return from_json(shown.task["task"])
        except DescribeError as error:
            raise RunError(f"{self.run.folder}: {error}") from None


def _written(text: str, path: Path | str | None) -> str:
    if path is not None:
        write_text(Path(path), text)
    return text
