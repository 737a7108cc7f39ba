"""Checks a claim against its experiment file: cells, tasks, metrics, subsets and flags exist. Nothing is trained."""

import contextlib
import io
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import tyro

from mmjax.claims.claim import FOLDER, Cheaper, Claim, ClaimError, Expectation
from mmjax.experiment import Experiment
from mmjax.experiment.cli import parse
from mmjax.experiment.file import FileError, load_file
from mmjax.experiment.options import Options
from mmjax.tasks.subsets import subset_name

__all__ = ["check_claim"]


def check_claim(claim: Claim, root: Path) -> dict[str, Experiment]:
    """The cells of a claim's command, with its flags. ClaimError, naming file and field, for what does not exist.

    root: the folder with claims/ and experiments/. A claim without a command has no cells.
    """
    if not claim.command:
        return {}
    where = root / FOLDER / f"{claim.name}.toml"
    cells = _cells(claim, root, f"{where}: field 'command'")
    counts: dict[str, int] = {}
    for expectation in claim.expectations:
        kind = type(expectation).__name__.lower()
        number = counts[kind] = counts.get(kind, -1) + 1
        _check(expectation, cells, f"{where}: {kind}[{number}]")
    return cells


def _cells(claim: Claim, root: Path, where: str) -> dict[str, Experiment]:
    """The cells that the command runs."""
    file, *words = claim.words
    if not (root / file).is_file():
        raise ClaimError(f"{where} names {file}, which does not exist")
    try:
        content = _content((root / file).resolve())
    except FileError as error:
        raise ClaimError(f"{where}: {error}") from None
    ablations = content.get("FULL" if "--full" in words else "ABLATIONS")
    if not ablations:
        raise ClaimError(f"{where} names {file}, which has no {'FULL' if '--full' in words else 'ABLATIONS'}")
    by_name = {} if "--full" in words else content.get("BY_NAME", {})
    flags = next((number for number, word in enumerate(words) if word.startswith("-")), len(words))
    known = {**ablations, **by_name}
    if set(words[:flags]) <= set(known) and _only_options(tuple(words[flags:])):
        return {name: known[name] for name in words[:flags] or ablations}  # flags that no cell can refuse
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            return parse(ablations, words, Path(file).name, by_name)[1]
    except SystemExit:
        raise ClaimError(f"{where}: {errors.getvalue().strip().removeprefix('error: ')}") from None


@cache
def _content(file: Path) -> Mapping[str, Any]:
    """The names that an experiment file defines."""
    return vars(load_file(file))


@cache
def _only_options(flags: tuple[str, ...]) -> bool:
    """Whether all flags are valid options of a run, which all cells have."""
    quiet = contextlib.redirect_stderr(io.StringIO())
    try:
        with quiet:
            options, unknown = tyro.cli(Options, default=Options(), args=list(flags), return_unknown_args=True)
    except SystemExit:
        return False
    return not unknown and not options.full and not options.costs


def _check(expectation: Expectation, cells: Mapping[str, Experiment], where: str) -> None:
    """Cells, task, metric and subset of one expectation."""
    for name in expectation.cells:
        if name not in cells:
            raise ClaimError(f"{where} names the cell {name!r}; the cells of the command are {', '.join(cells)}")
    if isinstance(expectation, Cheaper):
        return
    for name in expectation.cells:
        _check_scores(expectation, name, cells[name], where)


def _check_scores(expectation: Any, name: str, cell: Experiment, where: str) -> None:
    task = expectation.task or next(iter(cell.tasks))
    if task not in cell.tasks:
        raise ClaimError(f"{where}.task is {task!r}; the tasks of {name} are {', '.join(cell.tasks)}")
    if expectation.metric not in cell.tasks[task].metrics:
        known = ", ".join(cell.tasks[task].metrics)
        raise ClaimError(f"{where}.metric is {expectation.metric!r}; the metrics of task {task!r} are {known}")
    known = [subset_name(of) for of in cell.tasks[task].subsets(tuple(sorted(cell.encoders)))]
    subset = getattr(expectation, "subset", None)
    if subset and subset not in known:
        raise ClaimError(f"{where}.subset is {subset!r}; the subsets of task {task!r} of {name} are {', '.join(known)}")
