"""The results as rows and as plain sentences: the terminal's table, and what the page's table is made of.

Brackets always hold the interval that the experiment computed; nothing is recomputed here."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from mmjax.runs.schema import full_subset

Interval = Mapping[str, Any]
FLOOR_NAMES = {"majority": "majority", "tfidf_svm": "TF-IDF SVM", "best_single": "best single"}
STYLES = {"better": "green", "worse": "red", "inconclusive": "yellow"}
NONE = "–"


def number(value: float | None, signed: bool = False) -> str:
    """Three decimals, or a dash for a number that does not exist."""
    if value is None or not math.isfinite(value):
        return NONE
    return f"{value:+.3f}" if signed else f"{value:.3f}"


def interval(value: Interval, signed: bool = False) -> str:
    """`0.861 [0.820, 0.900]`; the mean alone where the interval has no width (a floor that is one number)."""
    mean, low, high = (number(value[key], signed) for key in ("mean", "low", "high"))
    return mean if low == mean == high else f"{mean} [{low}, {high}]"


@dataclass(frozen=True)
class Row:
    """One line of the results: a fusion cell, a cell of a single modality, or a floor."""

    name: str
    fusion: str
    modalities: str
    group: str  # "fusion", "single" or "floor"
    best: bool
    accuracy: Interval
    per_seed: tuple[float | None, ...]
    f1: Interval
    ece: Interval | None
    parameters: int | None
    single: tuple[str, Interval] | None  # the most accurate single modality of a fusion cell, without the others
    verdicts: tuple[Mapping[str, Any], ...]


def is_single(cell: Mapping[str, Any]) -> bool:
    """Whether the cell sees one modality, which makes it a baseline of the fusion cells."""
    return len(cell["modalities"]) == 1


def ordered_cells(results: Mapping[str, Any]) -> list[str]:
    """The names of the cells in the order of the file, baselines of a single modality last."""
    return sorted(results["cells"], key=lambda name: is_single(results["cells"][name]))  # sorted is stable


def rows(results: Mapping[str, Any]) -> list[Row]:
    """The lines of the table: fusion cells, single-modality cells, floors."""
    cells = [_cell_row(name, results) for name in ordered_cells(results)]
    return cells + [_floor_row(name, floor) for name, floor in results["floors"].items() if floor is not None]


def _cell_row(name: str, results: Mapping[str, Any]) -> Row:
    cell = results["cells"][name]
    full, single = cell["subsets"][full_subset(cell)], None
    if not is_single(cell):
        strongest = max(cell["modalities"], key=lambda m: _order(cell["subsets"][m]["accuracy"]["mean"]))
        single = (strongest, cell["subsets"][strongest]["accuracy"])
    return Row(
        name=name,
        fusion=cell["fusion"],
        modalities=full_subset(cell),
        group="single" if is_single(cell) else "fusion",
        best=name == results["best_cell"],
        accuracy=full["accuracy"],
        per_seed=tuple(full["accuracy"]["per_seed"]),
        f1=full["f1_macro"],
        ece=full["ece"],
        parameters=cell["parameters"],
        single=single,
        verdicts=tuple(cell["verdicts"]),
    )


def _floor_row(name: str, floor: Mapping[str, Any]) -> Row:
    label, accuracy, f1 = floor_name(name, floor), floor["accuracy"], floor["f1_macro"]
    return Row(label, "", "", "floor", False, accuracy, (), f1, None, None, None, ())


def floor_name(name: str, floor: Mapping[str, Any]) -> str:
    """What a reader calls this floor; for the best single modality, its cell."""
    return FLOOR_NAMES.get(name, name) + (f": {floor['cell']}" if "cell" in floor else "")


def _order(value: float | None) -> float:
    """For comparisons: a number that does not exist comes last."""
    return value if value is not None and math.isfinite(value) else -math.inf


def results_table(results: Mapping[str, Any], width: int = 100) -> Table:
    """The final table for a terminal of `width` columns (under 96 without "what it is"). Numbers never fold."""
    table = Table(
        title=f"{results['name']}: {results['task']['target']} on test",
        caption=Text("* chosen on validation; [low, high]: " + results["interval"]),  # markup would eat [...]
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
    )
    wide = width >= 96
    table.add_column("cell", overflow="fold")
    if wide:
        table.add_column("what it is", overflow="fold")
    table.add_column("accuracy", no_wrap=True, min_width=20)
    table.add_column("F1", no_wrap=True, min_width=5, justify="right")
    table.add_column("ECE", no_wrap=True, min_width=5, justify="right")
    table.add_column("against the floors", min_width=13, overflow="fold")
    group = None
    for row in rows(results):
        if group not in (None, row.group):
            table.add_section()
        group = row.group
        # Text, not markup: a name such as "late[mean]" is not a style
        table.add_row(
            Text(row.name + (" *" if row.best else ""), style="bold" if row.best else ""),
            *([_what(row, results)] if wide else []),
            Text(interval(row.accuracy)),
            Text(number(row.f1["mean"])),
            Text(number(row.ece["mean"]) if row.ece else NONE),
            _verdict_words(row, results),
            style="dim" if row.group == "floor" else None,
        )
    return table


def _what(row: Row, results: Mapping[str, Any]) -> Text:
    if row.group == "floor":
        return Text("floor")
    said = row.modalities in (row.name, "+".join(sorted(results["task"]["modalities"])))  # by the name, or by the title
    return Text(row.fusion if said else f"{row.fusion} of {row.modalities}")


def short_floor(against: str, results: Mapping[str, Any]) -> str:
    """A word or two for a floor, for a crowded column."""
    if against == "best_single":
        return results["floors"]["best_single"]["cell"]
    return {"majority": "majority", "tfidf_svm": "TF-IDF"}.get(against, against)


def _verdict_words(row: Row, results: Mapping[str, Any]) -> Text:
    words = Text()
    for verdict, join in (("better", "beats "), ("inconclusive", "inconclusive: "), ("worse", "worse than ")):
        names = [short_floor(v["against"], results) for v in row.verdicts
                 if v["verdict"] == verdict and v["metric"] == "accuracy"]
        if names:
            words.append(("\n" if words else "") + join + ", ".join(names), style=STYLES[verdict])
    return words


def verdict_sentences(results: Mapping[str, Any]) -> list[str]:
    """What the run shows, in plain sentences, the best cell first; a floor that was not beaten is said to be so."""
    return [sentence for _, sentence in toned_sentences(results)]


def toned_sentences(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The same with a tone before each: better, worse, inconclusive, or note."""
    best = results["best_cell"]
    cell = results["cells"][best]
    accuracy = interval(cell["subsets"][full_subset(cell)]["accuracy"])
    what = f"{best} has accuracy {accuracy} on test with {full_subset(cell)}; it was chosen on validation."
    if is_single(cell) and any(not is_single(other) for other in results["cells"].values()):
        what += " It sees a single modality: no fusion was better on validation."
    said = [_versus(best, accuracy, verdict, results) for verdict in cell["verdicts"]]
    return [("note", what), *said, *_fusions_against_single(results), *_no_better_than_majority(results)]


def _versus(name: str, accuracy: str, verdict: Mapping[str, Any], results: Mapping[str, Any]) -> tuple[str, str]:
    floor, metric = results["floors"][verdict["against"]], verdict["metric"]
    names = {"majority": "the majority class", "tfidf_svm": "TF-IDF with an SVM"}
    other = names.get(verdict["against"], verdict["name"])
    own, by = f" ({accuracy})", verdict["difference"]
    if metric in floor:
        other += f" ({number(floor[metric]['mean'])})"
    if metric != "accuracy":
        own, other = "", f"{other} in {metric}"
    tone = verdict["verdict"]
    if tone == "better":
        return tone, f"{name}{own} beats {other} by {interval(by)}."
    if tone == "worse":
        return tone, f"{name}{own} does NOT beat {other}: it is worse, difference {interval(by, signed=True)}."
    return tone, (f"{name}{own} does NOT beat {other} by more than the interval: "
                  f"difference {interval(by, signed=True)}, inconclusive.")


def _verdicts(results: Mapping[str, Any], against: str) -> dict[str, Mapping[str, Any]]:
    """Each cell's verdict on accuracy against one floor."""
    return {name: verdict for name in ordered_cells(results) for verdict in results["cells"][name]["verdicts"]
            if verdict["against"] == against and verdict["metric"] == "accuracy"}


def _fusions_against_single(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    if results["floors"]["best_single"] is None:
        return [("inconclusive", "No single modality was trained alone, so this run cannot say whether fusion helps.")]
    verdicts = {name: verdict for name, verdict in _verdicts(results, "best_single").items()
                if not is_single(results["cells"][name])}
    if set(verdicts) <= {results["best_cell"]}:  # said already
        return []
    other = next(iter(verdicts.values()))["name"]
    winners = [name for name, verdict in verdicts.items() if verdict["verdict"] == "better"]
    if winners:
        won = ", ".join(f"{name} {interval(verdicts[name]['difference'], signed=True)}" for name in winners)
        beat = "beats" if len(winners) == 1 else "beat"
        return [("better", f"{len(winners)} of {len(verdicts)} fusions {beat} {other}: {won}.")]
    name = max(verdicts, key=lambda name: _order(verdicts[name]["difference"]["mean"]))
    tone = "worse" if all(verdict["verdict"] == "worse" for verdict in verdicts.values()) else "inconclusive"
    difference = interval(verdicts[name]["difference"], signed=True)
    return [(tone, f"No fusion beats {other} by more than its interval: best difference {difference} ({name}).")]


def _no_better_than_majority(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    names = [name for name, verdict in _verdicts(results, "majority").items()
             if verdict["verdict"] != "better" and name != results["best_cell"]]
    return [("worse", f"Not shown to be better than the majority class: {', '.join(names)}.")] if names else []
