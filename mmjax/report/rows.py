"""The results of one task as rows and differences, for the terminal's table, the sentences and the page."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mmjax.report.numbers import Bounds, Estimate, interval

__all__ = ["SHOWN_METRICS", "Row", "TaskTable", "folds_text", "kind_of", "ordered_cells"]

SHOWN_METRICS = 3  # of the terminal's table: the headline metric and the next two


@dataclass(frozen=True)
class Row:
    """One line of a task's table.

    kind: "multimodal" for cells of several modalities, "single" for cells of one, "changed" for cells whose trained model is
    attacked or compressed, "baseline" for a simple rival of the task, such as the majority class. scores: {metric: ESTIMATE}
    with all modalities of the cell. modalities: joined by "+".
    """

    name: str
    kind: str
    scores: Mapping[str, Estimate]
    modalities: str = ""
    fusion: str = ""
    parameters: int | None = None
    selected: bool = False
    verdicts: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class TaskTable:
    """A view of one task of `results` (results.json) that computes no numbers of its own."""

    results: Mapping[str, Any]
    name: str

    @property
    def task(self) -> Mapping[str, Any]:
        """The entry of the task in results.json."""
        return self.results["tasks"][self.name]

    @property
    def headline(self) -> str:
        """The name of the headline metric."""
        return self.task["headline"]

    @property
    def metrics(self) -> list[str]:
        """The names of the metrics, the headline metric first."""
        return sorted(self.task["metrics"], key=lambda metric: metric != self.headline)  # sorted is stable

    @property
    def cells(self) -> dict[str, Mapping[str, Any]]:
        """The results on this task of each cell that has it, multimodal cells first."""
        cells = self.results["cells"]
        names = [name for name in ordered_cells(self.results) if self.name in cells[name]["tasks"]]
        return {name: cells[name]["tasks"][self.name] for name in names}

    @cached_property
    def rows(self) -> list[Row]:
        """Multimodal cells, single-modality cells, changed cells, baselines."""
        baselines = [Row(name, "baseline", scores) for name, scores in self.task["baselines"].items()]
        return [self._row(name, scored) for name, scored in self.cells.items()] + baselines

    def _row(self, name: str, scored: Mapping[str, Any]) -> Row:
        cell = self.results["cells"][name]
        return Row(
            name=name,
            kind=kind_of(cell),
            scores=scored["subsets"][scored["complete"]],
            modalities=scored["complete"],
            fusion=cell["fusion"],
            parameters=cell["parameters"],
            selected=name == self.task["best_cell"],
            verdicts=tuple(scored["verdicts"]),
        )

    def differences(self, kind: str, metric: str | None = None) -> dict[str, dict[str, Mapping[str, Any]]]:
        """{rival: {cell: DIFFERENCE}} against rivals of one kind, by the headline metric unless another is named."""
        metric = metric or self.headline
        found: dict[str, dict[str, Mapping[str, Any]]] = {}
        for row in self.rows:
            for verdict in row.verdicts:
                if (verdict["kind"], verdict["metric"]) == (kind, metric):
                    found.setdefault(verdict["against"], {})[row.name] = verdict["difference"]
        return found

    def higher_is_better(self, metric: str | None = None) -> bool:
        return self.task["metrics"][metric or self.headline]["higher_is_better"]

    def bounds(self, metric: str | None = None) -> Bounds:
        return self.task["metrics"][metric or self.headline]["bounds"]

    def text(self, value: Estimate, metric: str | None = None, signed: bool = False) -> str:
        """An estimate or a difference of this metric with its interval."""
        return interval(value, self.bounds(metric), signed)

    def gain(self, difference: Estimate, metric: str | None = None) -> dict[str, Any]:
        """The difference, positive where the cell is better: its sign is flipped if lower values are better."""
        return {**difference} if self.higher_is_better(metric) else _negative(difference)

    def loss(self, difference: Estimate, metric: str | None = None) -> dict[str, Any]:
        """The difference, positive where the cell is worse."""
        return _negative(self.gain(difference, metric))


def _negative(value: Estimate) -> dict[str, Any]:
    """The estimate of minus the number."""
    turned = {"mean": value["mean"], "low": value["high"], "high": value["low"]}
    return {key: None if each is None else -each for key, each in turned.items()}


def kind_of(cell: Mapping[str, Any]) -> str:
    """The kind of a cell's rows; see `Row`."""
    if any(cell["experiment"].get(name) is not None for name in ("attack", "compress")):
        return "changed"
    return "single" if len(cell["modalities"]) == 1 else "multimodal"


def ordered_cells(results: Mapping[str, Any]) -> list[str]:
    """The names of the cells in the order of the file: multimodal cells, cells of a single modality, changed cells."""
    kinds = ("multimodal", "single", "changed")
    return sorted(results["cells"], key=lambda name: kinds.index(kind_of(results["cells"][name])))


def folds_text(folds: list[int] | None, total: int | None) -> str:
    """`5 folds`, `2 of 5 folds`, or nothing without cross-validation."""
    if folds is None:
        return ""
    return f"{len(folds)} folds" if total in (None, len(folds)) else f"{len(folds)} of {total} folds"
