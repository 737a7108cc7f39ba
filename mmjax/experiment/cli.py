"""The command line of an experiment file.

    python experiments/NAME.py [CELL ...] [--FLAG VALUE ...]

Each CELL is a key of the file's ABLATIONS or BY_NAME. Without a name, all cells of ABLATIONS run. Flags only change values, in
every cell that runs. `--full` takes the cells from FULL, which have the size of the published models. `--costs` prints the cost
of each cell without training it.
"""

import contextlib
import dataclasses
import difflib
import inspect
import io
import math
import os
import re
import shlex
import sys
import typing
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import tyro
from rich.console import Console

from mmjax.experiment.flags import flags_of, print_help, with_dtype
from mmjax.experiment.value import Experiment, ExperimentError


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of a run, the same for all cells.

    seeds: number of seeds, numbered from 0. seeds_at_once: seeds trained side by side by `vmap`; None for all of them, 1 for
    one after another. folds: "all" trains every fold of the data and joins the test predictions into one set.
    plan: "single" runs on one device, "pmap" splits each batch over all local devices. steps_per_call: training steps in one
    compiled call; None chooses it by the size of the model.
    out: run folder, by default runs/NAME. resume: continue the run in that folder. keep_predictions: save predictions as well
    as outcomes. log: further logs of the learning curves, any of tensorboard, csv and wandb.
    against: a cell that all others are compared with. holm: correct the verdicts for the number of comparisons (Holm, 1979).
    device_memory: gigabytes of prepared data that may stay on the device; larger data are streamed. dtype: of the computations
    of every module that has a dtype; parameters stay in float32.
    full: run the cells in the size of the published models, for an accelerator. costs: compile each cell, take one step and
    print its parameters, FLOPs and memory; nothing is trained or written.
    """

    seeds: int = 5
    seeds_at_once: int | None = None
    folds: Literal["all"] | None = None
    plan: Literal["single", "pmap"] = "single"
    steps_per_call: int | None = None
    out: Path | None = None
    resume: bool = False
    keep_predictions: bool = False
    log: tuple[Literal["tensorboard", "csv", "wandb"], ...] = ()
    against: str | None = None
    holm: bool = False
    device_memory: float = 2.0
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    full: bool = False
    costs: bool = False

    def check(self) -> None:
        """Raises ExperimentError if a value has another type or is out of its range."""
        for name, hint in typing.get_type_hints(Options).items():
            value = getattr(self, name)
            if not _fits(value, hint):
                kind = str(hint).removeprefix("typing.") if typing.get_origin(hint) else hint.__name__
                raise ExperimentError(f"--{name.replace('_', '-')} is {value!r}; it must be of type {kind}")
        for name in ("seeds", "seeds_at_once", "steps_per_call"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ExperimentError(f"--{name.replace('_', '-')} is {value}; it must be at least 1")
        if not (self.device_memory >= 0 and math.isfinite(self.device_memory)):
            raise ExperimentError(f"--device-memory is {self.device_memory}; it must be a number of gigabytes, at least 0")


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


@dataclasses.dataclass(frozen=True)
class _Arguments:
    """The values of all flags."""

    options: Annotated[Options, tyro.conf.arg(name="")]
    experiment: Annotated[Experiment, tyro.conf.arg(name="")]


FUNCTIONS = tyro.constructors.ConstructorRegistry()


@FUNCTIONS.primitive_rule
def _function(info: tyro.constructors.PrimitiveTypeInfo) -> tyro.constructors.PrimitiveConstructorSpec | None:
    """Fields that hold a function, such as `jax.nn.relu`, which is an object of JAX's own: no flag can change them."""
    is_jax = isinstance(info.type, type) and info.type.__module__.split(".")[0] in ("jax", "jaxlib")
    if info.type_origin is not Callable and not is_jax:
        return None

    def refuse(args: list[str]) -> Any:
        raise ValueError("a function cannot be changed on the command line; change it in the experiment file")

    name = lambda value: [getattr(value, "__name__", repr(value))]
    return tyro.constructors.PrimitiveConstructorSpec(1, "FUNCTION", refuse, callable, name)


def _parse(experiment: Experiment, flags: list[str], prog: str) -> tuple[_Arguments, list[str]]:
    """(the values of the flags, unknown flags). Exits with one line for a wrong value."""
    default, errors = _Arguments(Options(), experiment), io.StringIO()
    config = (tyro.conf.FlagCreatePairsOff,)
    try:
        with contextlib.redirect_stderr(errors), FUNCTIONS, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Could not resolve type parameter")  # of functions compiled by JAX
            return tyro.cli(_Arguments, default=default, args=flags, prog=prog, return_unknown_args=True, config=config)
    except SystemExit:
        fail(_one_line(errors.getvalue()))
    except (NameError, TypeError) as error:  # by tyro, for functions that JAX has compiled, such as jnp.tanh
        fail(f"a field of this cell cannot be a flag ({error}); wrap its function: lambda x: jnp.tanh(x)")


def _one_line(box: str) -> str:
    """The parser's box of an error as one line: the message, and the flag with its type."""
    lines = [line.strip(" │|╭╮╰╯") for line in box.splitlines()][1:]  # the first line is a title
    paragraphs = re.split(r"\n[-─]{3,}", "\n" + "\n".join(lines))
    message = next((" ".join(text.split()) for text in paragraphs if text.strip()), "a flag has a wrong value")
    message = message.removeprefix("Error parsing ").rstrip(".")
    usage = re.search(r"^--[a-z]\S* .*$", "\n".join(lines), re.M)
    return f"{message}; expected {usage[0]}" if usage else message


def _has_flag(experiment: Experiment, flag: str) -> bool:
    """Whether this cell has the flag. Its parser returns an unknown flag, and exits for a known one without a value."""
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        try:
            return flag not in _parse(experiment, [flag], "")[1]
        except SystemExit:
            return True


def fail(message: str) -> None:
    """Prints one line on standard error and exits with code 2, the convention for a wrong command line."""
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(2)


def parse(
    ablations: Mapping[str, Experiment], args: list[str], prog: str, by_name: Mapping[str, Experiment] | None = None
) -> tuple[Options, dict[str, Experiment]]:
    """(options, the cells that run with the flags applied). Exits with one line for a wrong cell, flag or value.

    args: without the program. by_name: cells that run only if they are named.
    """
    every = {**ablations, **(by_name or {})}
    first_flag = next((i for i, arg in enumerate(args) if arg.startswith("-")), len(args))
    names, flags = args[:first_flag], args[first_flag:]
    for name in names:
        if name not in every:
            close = difflib.get_close_matches(name, every, 1)
            hint = f"; did you mean {close[0]}?" if close else "."
            fail(f"there is no cell {name!r}{hint} The cells are {', '.join(every)}")
    if {"-h", "--help"} & set(flags):
        cell = next(iter(names or ablations))
        print_help(flags_of(Options(), every[cell]), list(every), cell, prog, Console())
        raise SystemExit(0)
    chosen = {name: every[name] for name in names or ablations}
    parsed = {}
    for name, experiment in chosen.items():
        parsed[name], unknown = _parse(experiment, flags, f"{prog} {name}")
        if unknown:
            _unknown_flag(unknown[0].split("=")[0], name, every)
    options = next(iter(parsed.values())).options
    try:
        options.check()
    except ExperimentError as error:
        fail(str(error))
    return options, {name: arguments.experiment for name, arguments in parsed.items()}


def _unknown_flag(flag: str, cell: str, ablations: Mapping[str, Experiment]) -> None:
    """Exits with one line that names the cells which have the flag."""
    if not flag.startswith("--"):
        fail(f"{flag!r} is neither a flag nor the value of one; cells are named before the first flag")
    owners = [name for name, experiment in ablations.items() if _has_flag(experiment, flag)]
    close = difflib.get_close_matches(flag, [known.name for known in flags_of(Options(), ablations[cell])], 1, 0.8)
    where = f"it exists in {', '.join(owners)}: name those cells before the flags" if owners else "no cell has it"
    where = f"did you mean {close[0]}?" if close and not owners else f"{where}."
    fail(f"cell {cell!r} has no flag {flag}; {where} `{cell} --help` lists its flags")


def prepare_jax() -> None:
    """Configures JAX to cache compiled programs on disk if they took at least 0.5 s to compile."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mmjax" / "xla"
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def run(
    ablations: Mapping[str, Experiment],
    full: Mapping[str, Experiment] | None = None,
    by_name: Mapping[str, Experiment] | None = None,
    args: list[str] | None = None,
) -> None:
    """Parses the command line and runs the cells; called by `mmjax.experiment.main`. Expected errors are one line each."""
    args = sys.argv[1:] if args is None else args
    try:
        _run(ablations, full, by_name, args)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of the output has closed it, as in `--help | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None


def _run(
    ablations: Mapping[str, Experiment],
    full: Mapping[str, Experiment] | None,
    by_name: Mapping[str, Experiment] | None,
    args: list[str],
) -> None:
    file = Path(sys.argv[0])
    if "--full" in args:
        if not full:
            fail(f"{file.name} has no --full size: its cells already have the full size")
        ablations, by_name = full, None
    every = {**ablations, **(by_name or {})}
    options, cells = parse(ablations, args, file.name, by_name)
    from mmjax.data.decode import DataError
    from mmjax.pretrained.files import WeightsError
    from mmjax.runs.schema import RunError
    from mmjax.train.checkpoint import CheckpointError
    from mmjax.train.finite import NonFiniteError
    from mmjax.train.loop import Stopped

    description = (inspect.getdoc(sys.modules["__main__"]) or "").split("\n\n")[0]
    command = f"python {shlex.join([os.path.relpath(file), *args])}"
    header = {"name": file.stem, "command": command, "description": description}
    try:
        run_options(header, cells, every, options, options.out or Path("runs") / file.stem, Console())
    except (ExperimentError, DataError, WeightsError, CheckpointError, RunError, NonFiniteError, ImportError) as error:
        _exit_with(f"error: {error}", 1)
    except KeyboardInterrupt:
        _exit_with("stopped at once; continue from the last checkpoint with the same command and --resume", 130)
    except Stopped as stopped:
        _exit_with(f"{stopped}; everything is saved: continue with the same command and --resume", 130)
    except BrokenPipeError:
        raise
    except OSError as error:  # a full disk, a folder without permission
        name = f"{error.filename}: " if error.filename else ""
        _exit_with(f"error: {name}{error.strerror or error}; earlier files are intact: continue with --resume", 1)


def run_options(
    header: Mapping[str, str],
    cells: Mapping[str, Experiment],
    every: Mapping[str, Experiment],
    options: Options,
    out: Path,
    console: Any,
) -> None:
    """Runs the cells, or prints their costs. Arguments as those of `mmjax.experiment.run.run_cells`, whose errors pass through.

    Everything that can be checked is checked before the training begins.
    """
    prepare_jax()
    if options.dtype:
        cells = {name: with_dtype(experiment, options.dtype) for name, experiment in cells.items()}
    from mmjax.experiment.costs import print_costs
    from mmjax.experiment.run import check_options, fold_numbers, load_and_check, run_cells
    from mmjax.runs.folder import check_folder

    if not options.costs:
        check_folder(out, options.resume)
    check_options(cells, options)
    fold = None if options.costs else fold_numbers(cells, options)[0]
    with console.status("reading the data"):
        loaded = load_and_check(cells, fold)
    if options.costs:
        print_costs(cells, loaded, options)
        return
    run_cells(header, cells, every, options, out, loaded, console)


def _exit_with(line: str, code: int) -> None:
    """Prints one line on standard error and exits."""
    print(line, file=sys.stderr)
    raise SystemExit(code) from None
