"""The options of a run, from the command line and from Python."""

import dataclasses
import math
import typing
from pathlib import Path
from typing import Any, Literal

from mmjax.experiment.value import ExperimentError
from mmjax.train.sharded import Mesh

__all__ = ["Options"]


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of a run, the same for all cells.

    seeds: number of seeds, numbered from 0. seeds_at_once: seeds trained side by side by `vmap`; None for all of them, 1 for
    one after another. folds: "all" trains every fold of the data and joins the test predictions into one set; a number trains
    that fold alone, and "all" with the same folder continues.
    shares: also trains each cell with these shares of the training groups, as cells such as concat.0.25, for a learning curve.
    plan: "single" runs on one device, "pmap" splits each batch over all devices of this process, "sharded" runs on a mesh of
    the devices of all processes. mesh: the sizes of that mesh. steps_per_call: training steps in one compiled call; None
    chooses it by the size of the model.
    out: run folder, by default runs/NAME. resume: continue the run in that folder. checkpoint_keep: number of checkpoints that
    are kept, the newest ones; each has the best step so far, too. keep_predictions: save predictions as well as outcomes. log:
    further logs of the learning curves, any of tensorboard, csv and wandb.
    against: a cell that all others are compared with. holm: correct the verdicts for the number of comparisons (Holm, 1979).
    device_memory: gigabytes of prepared data that may stay on the device; larger data are streamed. workers: processes that
    read streamed data, 0 for threads of this process. dtype: of the computations of every module that has a dtype; parameters
    stay in float32.
    coordinator: HOST:PORT of the first of several processes, or "auto" under SLURM, Open MPI, Kubernetes or on Cloud TPU.
    processes: their number. process: the index of this one, from 0.
    full: run the cells in the size of the published models, for an accelerator. costs: compile each cell, take one step and
    print its parameters, FLOPs and memory; nothing is trained or written. A mesh with more devices than there are is simulated.
    """

    seeds: int = 5
    seeds_at_once: int | None = None
    folds: Literal["all"] | int | None = None
    shares: tuple[float, ...] = ()
    plan: Literal["single", "pmap", "sharded"] = "single"
    mesh: Mesh = Mesh()
    steps_per_call: int | None = None
    out: Path | None = None
    resume: bool = False
    checkpoint_keep: int = 2
    keep_predictions: bool = False
    log: tuple[Literal["tensorboard", "csv", "wandb"], ...] = ()
    against: str | None = None
    holm: bool = False
    device_memory: float = 2.0
    workers: int = 0
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    coordinator: str | None = None
    processes: int | None = None
    process: int | None = None
    full: bool = False
    costs: bool = False

    def check(self) -> None:
        """Raises ExperimentError if a value has another type or is out of its range."""
        for name, hint in typing.get_type_hints(Options).items():
            value = getattr(self, name)
            if not _fits(value, hint):
                raise ExperimentError(f"--{name.replace('_', '-')} is {value!r}; it must be {_shown(hint)}")
        for name in ("seeds", "seeds_at_once", "steps_per_call", "checkpoint_keep"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ExperimentError(f"--{name.replace('_', '-')} is {value}; it must be at least 1")
        wrong = [share for share in self.shares if not 0 < share < 1]
        if wrong:
            raise ExperimentError(f"--shares has {wrong[0]:g}; each share of the training data must be above 0 and below 1")
        given = self.processes is not None, self.process is not None
        if self.coordinator in (None, "auto") and any(given):
            raise ExperimentError("--processes and --process need --coordinator HOST:PORT")
        if self.workers < 0:
            raise ExperimentError(f"--workers is {self.workers}; it must be at least 0")
        if not (self.device_memory >= 0 and math.isfinite(self.device_memory)):
            raise ExperimentError(f"--device-memory is {self.device_memory}; it must be a number of gigabytes, at least 0")


def _shown(hint: Any) -> str:
    """What a field of Options can be, as in "'all', of type int or None"."""
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is tuple:
        return f"a tuple whose entries are {_shown(arguments[0])}"
    if arguments:
        *first, last = map(repr, arguments) if typing.get_origin(hint) is Literal else map(_shown, arguments)
        return f"{', '.join(first)} or {last}" if first else last
    return "None" if hint is type(None) else f"of type {hint.__name__}"


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value has the type of a field of Options."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return value in arguments
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(entry, arguments[0]) for entry in value)
    if arguments:  # a union
        return any(_fits(value, argument) for argument in arguments)
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, hint) and (hint is bool or not isinstance(value, bool))
