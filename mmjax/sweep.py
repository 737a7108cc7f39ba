"""One job per cell and fold of an experiment file, by submitit: on a SLURM cluster, or in processes of this machine.

    python -m mmjax.sweep experiments/NAME.py [CELL ...] [--FLAG VALUE ...] --executor slurm --slurm partition=gpu

Flags of the experiment are those of the file itself, but for `--costs`; `--against` is of the table alone. The job of a cell
writes the run folder OUT.jobs/CELL; with `--folds all`, there is a job for each fold, in OUT.jobs/CELL/fold0, fold1, ...
When all have ended, the cells are collected in OUT: its tables and report are those of one command that runs all cells. Parts
of another experiment in OUT are not replaced. The same command continues a sweep that was stopped; what is finished is not
trained again. On this machine, each of the `--at-once` jobs has its own part of the GPUs and cores.
"""

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmjax.experiment.cli import fail, parse
from mmjax.experiment.file import FileError, load_file
from mmjax.experiment.options import Options
from mmjax.experiment.shares import with_shares
from mmjax.experiment.value import Experiment, ExperimentError
from mmjax.machine import Slot, slots_of_machine
from mmjax.runs.folder import MARKER, check_folder, locked, read_record
from mmjax.runs.schema import RunError
from mmjax.runs.write import part_is_done

__all__ = ["POLL", "Job", "collect", "main"]

POLL = 1.0  # seconds


@dataclass(frozen=True)
class Job:
    """Runs one cell in a process of its own. submitit calls `checkpoint` before a preempted job is queued again.

    fold: None for all that the flags say. slot: the part of this machine that the job has; None on a cluster, which decides.
    """

    file: Path
    cell: str
    flags: tuple[str, ...]
    out: Path
    fold: int | None = None
    slot: Slot | None = None

    @property
    def name(self) -> str:
        return f"cell {self.cell}" if self.fold is None else f"fold {self.fold} of cell {self.cell}"

    def __call__(self) -> None:
        if self.slot is not None:
            self.slot.take()
        fold = [] if self.fold is None else ["--folds", str(self.fold)]
        command = [sys.executable, str(self.file), self.cell, *self.flags, *fold, "--out", str(self.out), "--resume"]
        subprocess.run(command, check=True)

    def checkpoint(self) -> Any:
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line, runs the jobs and collects their cells. Exits with one line for an error."""
    from mmjax.data.decode import DataError

    options = argparse.ArgumentParser(prog="python -m mmjax.sweep", description=__doc__.split("\n\n")[0], allow_abbrev=False)
    options.add_argument("file", type=Path, metavar="FILE", help="an experiment file")
    options.add_argument("--executor", choices=("local", "slurm"), default="local")
    at_once = "number of jobs at a time, each with its part of this machine (default: 1)"
    options.add_argument("--at-once", type=int, default=1, help=at_once)
    options.add_argument("--hours", type=float, default=24.0, help="limit of a job (default: 24)")
    slurm = "parameters of submitit, such as partition=gpu gpus_per_node=1"
    options.add_argument("--slurm", nargs="+", default=[], metavar="KEY=VALUE", help=slurm)
    given, rest = options.parse_known_args(arguments)
    if not given.file.is_file():
        fail(f"{given.file} is not a file; it should be an experiment file")
    if given.at_once < 1 or not 0 < 60 * given.hours < math.inf:  # minutes
        fail(f"--at-once is {given.at_once} and --hours is {given.hours}; they must be above 0, and finite")
    chosen, cells = _cells(given.file, rest)
    out = chosen.out or Path("runs") / given.file.stem
    first = next((k for k, word in enumerate(rest) if word.startswith("-")), len(rest))  # after the names of cells
    flags = _without(rest[first:], "--out", "--resume")
    try:
        _check_out(out, given.file.stem, chosen)
        jobs = _jobs(given.file.resolve(), cells, chosen, flags, _folder(out))
        for job in jobs:
            check_folder(job.out, resume=True)
    except (DataError, ExperimentError, RunError) as error:
        fail(str(error))
    failed = _run(jobs, given, out)
    for job, log in failed:
        print(f"{job.name} failed; its output is in {log}", file=sys.stderr)
    finished = {name: cells[name] for name in cells if name not in {job.cell for job, _ in failed}}
    if finished:
        try:
            collect([job.out for job in jobs if job.cell in finished], out)
        except RunError as error:
            fail(f"{error}; what the jobs have trained is in {_folder(out)}")
        flags = _of_table(flags, finished, chosen)
        command = [sys.executable, str(given.file), *finished, *flags, "--out", str(out), "--resume"]
        code = subprocess.run(command).returncode
    sys.exit(1 if failed else code)


def _cells(file: Path, arguments: Sequence[str]) -> tuple[Options, dict[str, Experiment]]:
    """(options of the jobs, the cells of the sweep). arguments: those of the file. Exits with one line for what is wrong."""
    full = "--full" in arguments
    try:
        content = vars(load_file(file))
    except FileError as error:
        fail(str(error))
    table = "FULL" if full else "ABLATIONS"
    if not content.get(table):
        fail(f"{file} has no {table}, the cells of a sweep{' with --full' * full}")
    options, cells = parse(content[table], list(arguments), file.name, None if full else content.get("BY_NAME"))
    if options.costs:
        fail(f"--costs trains nothing, so a sweep has no use for it; run `python {file} --costs`")
    if not _is_cell(options.against, cells, options):
        known = ", ".join(with_shares(cells, options.shares))
        fail(f"--against is {options.against!r}, not a cell of this sweep; the cells are {known}")
    return options, cells


def _is_cell(against: str | None, cells: Mapping[str, Experiment], options: Options) -> bool:
    """Whether the cells, or their copies with less data, have the one of `--against`; also if none is given."""
    return against is None or against in with_shares(cells, options.shares)


def _of_table(flags: Sequence[str], finished: Mapping[str, Experiment], options: Options) -> list[str]:
    """The flags of the command that scores all finished cells: without `--against` if that cell has failed."""
    if _is_cell(options.against, finished, options):
        return list(flags)
    print(f"the table is without --against {options.against}, since that cell failed", file=sys.stderr)
    return _without(flags, "--against")


def _check_out(out: Path, name: str, options: Options) -> None:
    """RunError if the cells cannot be collected in `out`: as of `check_folder`, or if it has the parts of other folds or groups
    of seeds, or is in use. name: of the experiment."""
    check_folder(out, resume=True)
    layout = {"--folds": None if options.folds is None else "all", "--seeds-at-once": options.seeds_at_once}  # of `run_cells`
    if (out / MARKER).is_file():
        with locked(out, name, layout):
            pass


def _jobs(file: Path, cells: Mapping[str, Experiment], options: Options, flags: Sequence[str], folder: Path) -> list[Job]:
    """A job for each cell, or for each of its folds. flags: of the sweep. folder: of the jobs. Errors as of `fold_numbers`."""
    from mmjax.experiment.load import fold_numbers

    folds = fold_numbers(cells, options)
    flags = tuple(_without(_without(flags, "--against"), "--folds"))  # the cells of a table are compared when all have ended
    of_fold = {None: ""} if folds == [None] else {fold: f"fold{fold}" for fold in folds}
    return [Job(file, cell, flags, folder / cell / name, fold) for cell in cells for fold, name in of_fold.items()]


def _folder(out: Path) -> Path:
    """Where the jobs of a sweep are."""
    out = Path(os.path.abspath(out))  # which has a name, unlike "."
    return out.with_name(f"{out.name}.jobs").resolve()


def _without(flags: Sequence[str], valued: str, switch: str | None = None) -> list[str]:
    """The flags without one that has a value, and one that has none."""
    kept = [word for word in flags if word != switch and not word.startswith(f"{valued}=")]
    while valued in kept:  # the last one counts
        at = kept.index(valued)
        kept[at : at + 2] = []
    return kept


def _run(jobs: Sequence[Job], given: argparse.Namespace, out: Path) -> list[tuple[Job, Path]]:
    """Submits the jobs, at most `--at-once` at a time, and waits. Returns those that failed, with their logs."""
    try:
        import submitit
    except ImportError:
        fail("a sweep needs submitit: pip install 'mmjax[sweep]'")
    free = _slots(given, len(jobs))
    executor = submitit.AutoExecutor(_folder(out) / "logs", cluster=given.executor)
    wrong = [pair for pair in given.slurm if "=" not in pair]
    if wrong:
        fail(f"--slurm: {wrong[0]!r} is not KEY=VALUE")
    extra = {f"slurm_{key}": value for key, value in (pair.split("=", 1) for pair in given.slurm)}
    executor.update_parameters(timeout_min=max(round(60 * given.hours), 1), **extra)
    waiting, running, failed = list(jobs), [], []
    while waiting or running:
        while waiting and free:
            job = replace(waiting.pop(0), slot=free.pop(0))
            running.append((job, executor.submit(job)))
            print(f"{job.name}: job {running[-1][1].job_id}", flush=True)
        ended = [(job, submitted) for job, submitted in running if submitted.done()]
        running = [pair for pair in running if pair not in ended]
        free += [job.slot for job, _ in ended]
        failed += [(job, submitted.paths.stderr) for job, submitted in ended if submitted.exception() is not None]
        time.sleep(0 if ended else POLL)
    return failed


def _slots(given: argparse.Namespace, jobs: int) -> list[Slot | None]:
    """One for each job that runs at the same time."""
    count = min(given.at_once, jobs)
    try:
        return slots_of_machine(count) if given.executor == "local" else [None] * count
    except ValueError as error:
        fail(str(error))


def collect(folders: Sequence[Path], out: Path) -> None:
    """Copies the parts of cells, and the examples, of run folders to `out`, without checkpoints; the run is then scored by
    `--resume`. Files of tasks that several cells share are taken from the first one: the sweep's cells have the same units.
    Examples of other tasks that `out` has already are kept. RunError, before anything is changed, if `out` has a part of
    another experiment, other seeds or other data."""
    parts = [
        (folder, file.parent.relative_to(folder)) for folder in folders for file in (folder / "cells").glob("*/*/part.json")
    ]
    for folder, part in parts:
        part_is_done(out / part, read_record(folder / part / "part.json")["identity"], lambda line: None)
    out.mkdir(parents=True, exist_ok=True)
    index: list[Mapping[str, Any]] = []
    kept = out / "examples" / "index.json"
    before = json.loads(kept.read_text()) if kept.is_file() else []
    if not (out / MARKER).exists():
        shutil.copy(folders[0] / MARKER, out)
    for folder, part in parts:
        shutil.rmtree(out / part, ignore_errors=True)
        shutil.copytree(folder / part, out / part, ignore=shutil.ignore_patterns("checkpoints"))
    for folder in folders:
        examples = folder / "examples" / "index.json"
        found = json.loads(examples.read_text()) if examples.is_file() else []
        new = [entry for entry in found if entry["task"] not in {old["task"] for old in index}]
        (out / "examples").mkdir(exist_ok=True)
        for file in (entry[kind] for entry in new for kind in ("image", "sound") if entry[kind]):
            shutil.copy(folder / "examples" / file, out / "examples")
        index += new
    index += [entry for entry in before if entry["task"] not in {new["task"] for new in index}]
    kept.write_text(json.dumps(index, indent=1))


if __name__ == "__main__":
    main()
