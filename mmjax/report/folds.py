"""The folds of a cross-validation, each a run folder of its own, as one test set in which every example is tested once.

    for k in 0 1 2 3 4; do python experiments/NAME.py --data.fold $k --out runs/NAME$k; done
    python -m mmjax.report.folds runs/NAME? --against text --cell concat

prints accuracy and macro F1 of every cell with intervals over leak-free groups and seeds, the paired difference to one cell,
and of one cell every subset of its modalities and every language.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from mmjax.evaluate.statistics import Resampling, Score, difference, resample, scores, verdict
from mmjax.runs.read import read_run
from mmjax.runs.schema import RunError, full_subset
from mmjax.report.tables import interval


@dataclass(frozen=True)
class Folds:
    """label Int[n], weight Float[n], language str[n] of the rows of all folds. logits: {cell: {subset: Float[s n c]}}. full:
    {cell: its subset of all modalities}. resampling: draws of groups and seeds, the same for all."""

    label: np.ndarray
    weight: np.ndarray
    language: np.ndarray
    logits: Mapping[str, Mapping[str, np.ndarray]]
    full: Mapping[str, str]
    resampling: Resampling

    def scores(self, cell: str, subset: str | None = None, language: str | None = None) -> dict[str, Score]:
        """Of one cell, on rows of a language that weigh 1 each, or on all."""
        weight = self.weight if language is None else (self.language == language).astype(np.float32)
        return scores(self.logits[cell][subset or self.full[cell]], self.label, weight, self.resampling)


def pooled(folders: Sequence[Path | str]) -> Folds:
    """The runs in these folders as one. Raises RunError unless they have the same cells and seeds, and no example twice."""
    runs = [read_run(folder) for folder in folders]
    tests, names, first = [run.test() for run in runs], {}, runs[0].results["cells"]
    for run, test in zip(runs, tests):
        for name in set(test["id"].tolist()):
            if name in names:
                raise RunError(f"{run.folder}: {name} is tested in {names[name]} as well; give each fold once")
            names[name] = run.folder
        cells = run.results["cells"]
        if {name: cell["seeds"] for name, cell in cells.items()} != {name: cell["seeds"] for name, cell in first.items()}:
            raise RunError(f"{run.folder}: its cells or seeds are not those of {runs[0].folder}")
    whole = {name: np.concatenate([test[name] for test in tests]) for name in ("label", "weight", "group", "language")}
    seeds = {len(cell["seeds"]) for cell in first.values()}
    if len(seeds) > 1:
        raise RunError(f"{runs[0].folder}: its cells have {sorted(seeds)} seeds; they must have as many each")
    logits = {}
    for cell in first:
        parts = []
        for run in runs:
            with np.load(run.folder / "cells" / cell / "predictions.npz") as arrays:
                parts.append(dict(zip(map(str, arrays["subsets"]), arrays["logits"].swapaxes(0, 1))))
        logits[cell] = {subset: np.concatenate([part[subset] for part in parts], axis=1) for subset in parts[0]}
    resampling = resample(whole["group"], seeds.pop())
    full = {name: full_subset(cell) for name, cell in first.items()}
    return Folds(whole["label"], whole["weight"], whole["language"], logits, full, resampling)


def _line(table: Table, name: str, found: Mapping[str, Score], against: Mapping[str, Score] | None) -> None:
    row = [name, *(interval(found[metric].to_json()) for metric in ("accuracy", "f1_macro"))]
    if against is not None:
        less = difference(found["accuracy"], against["accuracy"])
        row.append("" if found is against else f"{verdict(less)}: {interval(less._asdict(), True)}")
    table.add_row(*row)


def _table(title: str, against: str | None) -> Table:
    table = Table(title=title, box=SIMPLE_HEAD)
    for name in ("", "accuracy", "macro F1", *([f"accuracy against {against}"] if against else [])):
        table.add_column(name, no_wrap=True)
    return table


def main(args: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m mmjax.report.folds", description=__doc__.split("\n\n")[0])
    parser.add_argument("folders", nargs="+", type=Path, help="run folders, one a fold")
    parser.add_argument("--against", help="cell with which all others are compared")
    parser.add_argument("--cell", help="cell of which every subset of modalities and every language is shown")
    given = parser.parse_args(args)
    console = Console(width=max(120, Console().width))
    try:
        folds = pooled(given.folders)
        for name in (given.against, given.cell):
            if name is not None and name not in folds.logits:
                raise RunError(f"there is no cell {name!r}; the cells are {', '.join(folds.logits)}")
    except RunError as error:
        raise SystemExit(f"error: {error}") from None
    base = folds.scores(given.against) if given.against else None
    table = _table(f"{len(given.folders)} folds, {len(folds.label):,} test rows", given.against)
    for cell in folds.logits:
        _line(table, cell, base if cell == given.against else folds.scores(cell), base)
    console.print(table)
    if given.cell:
        table = _table(f"{given.cell} with some of its modalities", given.against)
        for subset in folds.logits[given.cell]:
            _line(table, subset, folds.scores(given.cell, subset), base)
        console.print(table)
        languages = sorted(set(folds.language.tolist()) - {""})
        table = _table(f"{given.cell} by language: with all modalities, and with the speech alone", None)
        for language in languages:
            _line(table, language, folds.scores(given.cell, None, language), None)
            if "audio" in folds.logits[given.cell]:
                _line(table, f"{language}, speech alone", folds.scores(given.cell, "audio", language), None)
        if languages:
            console.print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
