"""The command line of an experiment file.

    python experiments/NAME.py [CELL ...] [--FLAG VALUE ...]

Each CELL is a key of the file's ABLATIONS or BY_NAME. Without a name, all cells of ABLATIONS run. Flags only change values, in
every cell that runs. `--full` takes the cells from FULL, which have the size of the published models. `--costs` prints the cost
of each cell without training it.
"""

import contextlib
import dataclasses
import difflib
import functools
import inspect
import io
import os
import re
import shlex
import sys
import traceback
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import jax
import tyro
from rich.console import Console

from mmjax.experiment.flags import flags_of, mapped, print_help, with_dtype
from mmjax.experiment.options import Options
from mmjax.experiment.shares import with_shares
from mmjax.experiment.value import Experiment, ExperimentError
from mmjax.processes import end_process, is_first, join

__all__ = ["FUNCTIONS", "fail", "parse", "prepare_jax", "run", "run_options"]


@dataclasses.dataclass(frozen=True)
class _Arguments:
    """The values of all flags."""

    options: Annotated[Options, tyro.conf.arg(name="")]
    experiment: Annotated[Experiment, tyro.conf.arg(name="")]


FUNCTIONS = tyro.constructors.ConstructorRegistry()


@FUNCTIONS.primitive_rule
def _function(info: tyro.constructors.PrimitiveTypeInfo) -> tyro.constructors.PrimitiveConstructorSpec | None:
    """Fields that hold a function: no flag can change them."""
    if info.type_origin is not Callable and info.type is not types.FunctionType:
        return None

    def refuse(args: list[str]) -> Any:
        raise ValueError("a function cannot be changed on the command line; change it in the experiment file")

    name = lambda value: [getattr(value, "__name__", repr(value))]
    return tyro.constructors.PrimitiveConstructorSpec(1, "FUNCTION", refuse, callable, name)


@functools.cache  # tyro caches what it knows about a function by its address
def _plain(compiled: Callable) -> Callable:
    """A function of Python that stands for a compiled one."""
    plain = lambda *inputs: compiled(*inputs)
    plain.__name__, plain.compiled = getattr(compiled, "__name__", "function"), compiled
    return plain


def _parse(experiment: Experiment, flags: list[str], prog: str) -> tuple[_Arguments, list[str]]:
    """(the values of the flags, unknown flags). Exits with one line for a wrong value."""
    # tyro reads the types of functions that JAX has compiled, such as jnp.tanh, and fails
    is_compiled = lambda part: callable(part) and type(part).__module__.split(".")[0] in ("jax", "jaxlib")
    hide = lambda part: _plain(part) if is_compiled(part) else part
    show = lambda part: getattr(part, "compiled", part) if inspect.isfunction(part) else part
    default, errors = _Arguments(Options(), mapped(experiment, hide)), io.StringIO()
    settings = {"prog": prog, "return_unknown_args": True, "config": (tyro.conf.FlagCreatePairsOff,)}
    read = lambda: tyro.cli(_Arguments, default=default, args=flags, **settings)
    try:
        with contextlib.redirect_stderr(errors), FUNCTIONS:
            try:
                found, unknown = read()
            except SystemError:  # of ast.parse in Python 3.11, if another thread parses source at the same time
                found, unknown = read()
    except SystemExit:
        fail(_one_line(errors.getvalue()))
    return dataclasses.replace(found, experiment=mapped(found.experiment, show)), unknown


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
    except Exception:
        if not jax.distributed.is_initialized():
            raise
        traceback.print_exc()
        end_process(1)


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
    except (
        ExperimentError, DataError, WeightsError, CheckpointError, RunError, NonFiniteError, ImportError, MemoryError
    ) as error:  # fmt: skip
        _exit_with(f"error: {error}", 1)
    except Stopped as stopped:  # in all processes
        if is_first():
            print(f"{stopped}; everything is saved: continue with the same command and --resume", file=sys.stderr)
        raise SystemExit(130) from None
    except jax.errors.JaxRuntimeError as error:
        if not jax.distributed.is_initialized():
            raise
        _exit_with(f"error: another process has ended, or cannot be reached: {str(error).splitlines()[0]}", 1)
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
    from mmjax.train.sharded import simulate

    prepare_jax()
    if options.coordinator:
        try:
            join(options.coordinator, options.processes, options.process)
        except ValueError as error:
            raise ExperimentError(str(error)) from error
    simulated = options.costs and options.plan == "sharded" and simulate(options.mesh)
    if options.dtype:
        cells = {name: with_dtype(experiment, options.dtype) for name, experiment in cells.items()}
    cells = with_shares(cells, options.shares)
    from mmjax.experiment.costs import print_costs
    from mmjax.experiment.load import check_options, fold_numbers, load_and_check
    from mmjax.experiment.run import run_cells
    from mmjax.runs.folder import check_folder

    if not is_first():  # the first process prints for all
        console = Console(quiet=True)
    if not options.costs and is_first():
        check_folder(out, options.resume)
    check_options(cells, options)
    fold = None if options.costs else fold_numbers(cells, options)[0]
    with console.status("reading the data"):
        loaded = load_and_check(cells, fold)
    if options.costs:
        print_costs(cells, loaded, options, run=not simulated)
        return
    run_cells(header, cells, every, options, out, loaded, console)


def _exit_with(line: str, code: int) -> None:
    """Prints one line on standard error and exits."""
    print(line, file=sys.stderr)
    end_process(code)
