"""Loggers of a training run. Each is a context manager that yields a callback for the records of the learning curve.

A logger is called with the folder of the part, its name ("concat (fold0)"), and the numbers of its seeds. A record is {"step":
int, name: list of one number per seed}; see `mmjax.train.loop.Callbacks`.
"""

import csv
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from mmjax.experiment.value import ExperimentError

__all__ = ["LIBRARIES", "LOGGERS", "Log", "check_loggers", "csv_file", "logging_to", "tensorboard", "wandb"]

Log = Callable[[Mapping[str, Any]], None]


@contextmanager
def tensorboard(folder: Path, name: str, seeds: Sequence[int]) -> Iterator[Log]:
    """Event files in `folder`/tensorboard. The writer is closed here, since it cannot start threads while Python exits."""
    writer = _library("tensorboard").SummaryWriter(str(folder / "tensorboard"))

    def log(record: Mapping[str, Any]) -> None:
        for key, values in record.items():
            if key != "step":
                writer.add_scalars(key, {f"seed{seed}": value for seed, value in zip(seeds, values)}, record["step"])
        writer.flush()

    try:
        yield log
    finally:
        writer.close()


@contextmanager
def csv_file(folder: Path, name: str, seeds: Sequence[int]) -> Iterator[Log]:
    """The file `folder`/curves.csv with a line for each evaluation and seed. A resumed run appends to it, so evaluations after
    its last checkpoint occur twice."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "curves.csv"
    with file.open("a", newline="") as opened:
        columns: list[str] = []

        def log(record: Mapping[str, Any]) -> None:
            nonlocal columns
            names = ["step", "seed", *(key for key in record if key != "step")]
            writer = csv.writer(opened, lineterminator="\n")
            if names != columns and (columns or not opened.tell()):  # a stage may have losses of its own
                writer.writerow(names)
            columns = names
            for k, seed in enumerate(seeds):
                writer.writerow([record["step"], seed, *(record[key][k] for key in names[2:])])
            opened.flush()

        yield log


@contextmanager
def wandb(folder: Path, name: str, seeds: Sequence[int]) -> Iterator[Log]:
    """A run of Weights & Biases for each part, in `folder`/wandb. WANDB_PROJECT, WANDB_MODE=offline and its other variables
    apply."""
    folder.mkdir(parents=True, exist_ok=True)
    run = _library("wandb").init(name=name, dir=str(folder), reinit="create_new", config={"seeds": list(seeds)})

    def log(record: Mapping[str, Any]) -> None:
        values = {f"{key}/seed{seed}": x for key, each in record.items() if key != "step" for seed, x in zip(seeds, each)}
        run.log(values, step=record["step"])

    try:
        yield log
    finally:
        run.finish()


LOGGERS = {"tensorboard": tensorboard, "csv": csv_file, "wandb": wandb}  # the values of --log
LIBRARIES = {"tensorboard": ("tensorboardX", "log"), "wandb": ("wandb", "wandb")}  # (module, extra)


def _library(name: str) -> Any:
    module, extra = LIBRARIES[name]
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ExperimentError(f"--log {name} needs {module}: pip install 'mmjax[{extra}]'") from error


def check_loggers(names: Sequence[str]) -> None:
    """Raises ExperimentError, which names the extra, if the library of a logger is missing."""
    for name in names:
        if name in LIBRARIES:
            _library(name)


@contextmanager
def logging_to(names: Sequence[str], folder: Path, name: str, seeds: Sequence[int]) -> Iterator[Log]:
    """One callback for several loggers."""
    with ExitStack() as stack:
        logs = [stack.enter_context(LOGGERS[logger](folder, name, seeds)) for logger in names]

        def log_to_all(record: Mapping[str, Any]) -> None:
            for log in logs:
                log(record)

        yield log_to_all
