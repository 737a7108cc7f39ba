"""Running experiments from Python."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from mmjax.experiment.cli import run_options
from mmjax.experiment.options import Options
from mmjax.experiment.value import Experiment, ExperimentError
from mmjax.results import Results, load_run

__all__ = ["run"]


def run(
    cells: Mapping[str, Experiment],
    seeds: int = 5,
    out: Path | str = "runs/experiment",
    resume: bool = False,
    quiet: bool = False,
    **options: Any,
) -> Results:
    """Trains and scores every cell, writes the run folder `out`, and returns its results.

    The equivalent of the command line of an experiment file: `run(ABLATIONS, seeds=10, against="concat")` does what
    `python FILE.py --seeds 10 --against concat` does. options: any other option of `mmjax.experiment.cli.Options`. resume:
    continue in a folder that already has results. quiet: print nothing.
    Raises the errors that the command line prints: ExperimentError for wrong cells and options, DataError for data,
    WeightsError for published weights, RunError for the folder, NonFiniteError for losses and gradients, Stopped after a
    signal; while results are compared, signals act as they did before the call.
    """
    known = [name for name in Options.__dataclass_fields__ if name not in ("full", "costs")]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ExperimentError(f"there is no option {', '.join(unknown)}; the options are {', '.join(known)}")
    chosen = Options(seeds=seeds, out=Path(out), resume=resume, **options)
    if not cells or not all(isinstance(experiment, Experiment) for experiment in cells.values()):
        raise ExperimentError("cells must be {name: Experiment}, with at least one cell")
    chosen.check()
    console = Console(quiet=quiet)
    given = {"seeds": seeds, "out": str(out), **options}
    command = f"mmjax.run({', '.join(f'{name}={value!r}' for name, value in given.items())})"
    header = {"name": Path(out).name, "command": command, "description": ""}
    run_options(header, dict(cells), dict(cells), chosen, Path(out), console)
    return load_run(out)
