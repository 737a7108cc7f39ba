"""The command line of an experiment file.

    python experiments/NAME.py [CELL ...] [--FLAG VALUE ...]

CELL names pick entries of the file's ABLATIONS; without one, all of them run, but not those of its BY_NAME. Flags change values
only, in every cell that runs; --full takes the cells of the source's full size instead, and --costs tells what each costs
without training it.
"""

import contextlib
import dataclasses
import difflib
import inspect
import io
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import jax
import tyro

from mmjax.experiment import Experiment, ExperimentError


@dataclasses.dataclass(frozen=True)
class Options:
    """How to run, the same for all cells.

    seeds: how many, numbered from 0, trained at once. plan: `single` compiles the step for one device, `pmap` splits each
    batch over all of them. out: run folder, by default runs/<file's name>. resume: go on where that folder stopped.
    tensorboard: also write event files. device_memory: gigabytes of prepared data that stay on the device; more is streamed.
    full: the cells in the size of their source, for an accelerator. costs: compile each cell, stage by stage, take one step,
    and print its parameters, FLOPs and memory; nothing is trained or written.
    """

    seeds: int = 5
    plan: Literal["single", "pmap"] = "single"
    out: Path | None = None
    resume: bool = False
    tensorboard: bool = False
    device_memory: float = 2.0
    full: bool = False
    costs: bool = False


@dataclasses.dataclass(frozen=True)
class _Line:
    options: Annotated[Options, tyro.conf.arg(name="")]
    experiment: Annotated[Experiment, tyro.conf.arg(name="")]


def _parse(experiment: Experiment, flags: list[str], prog: str) -> tuple[_Line, list[str]]:
    line = _Line(Options(), experiment)
    config = (tyro.conf.FlagCreatePairsOff,)
    return tyro.cli(_Line, default=line, args=flags, prog=prog, return_unknown_args=True, config=config)


def _knows(experiment: Experiment, flag: str) -> bool:
    """Whether this cell has the flag, by asking its parser for it without a value, which it will refuse in one of two ways."""
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        try:
            return flag not in _parse(experiment, [flag], "")[1]
        except SystemExit:
            return True


def fail(message: str) -> None:
    """One line on standard error and exit code 2, the shell's for a wrong command."""
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(2)


def parse(
    ablations: Mapping[str, Experiment], args: list[str], prog: str, by_name: Mapping[str, Experiment] | None = None
) -> tuple[Options, dict[str, Experiment]]:
    """The options, and the cells that run with their flags applied. Exits with what is wrong and what would be right.

    by_name: cells that do not run unless they are named.
    """
    every = {**ablations, **(by_name or {})}
    first_flag = next((i for i, arg in enumerate(args) if arg.startswith("-")), len(args))
    names, flags = args[:first_flag], args[first_flag:]
    for name in names:
        if name not in every:
            close = difflib.get_close_matches(name, every, 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            fail(f"there is no cell {name!r}{hint} The cells are {', '.join(every)}")
    if {"-h", "--help"} & set(flags):
        print(f"cells: {', '.join(every)}\n")
    chosen = {name: every[name] for name in names or ablations}
    lines = {}
    for name, experiment in chosen.items():
        lines[name], unknown = _parse(experiment, flags, f"{prog} {name}")
        if unknown:
            _unknown_flag(unknown[0].split("=")[0], name, every)
    options = next(iter(lines.values())).options
    if options.seeds < 1:
        fail(f"--seeds is {options.seeds}; it must be at least 1")
    return options, {name: line.experiment for name, line in lines.items()}


def _unknown_flag(flag: str, cell: str, ablations: Mapping[str, Experiment]) -> None:
    if not flag.startswith("--"):
        fail(f"{flag!r} is neither a flag nor the value of one; cells are named before the first flag")
    owners = [name for name, experiment in ablations.items() if _knows(experiment, flag)]
    where = f"it exists in {', '.join(owners)}: name those cells before the flags" if owners else "no cell has it"
    fail(f"cell {cell!r} has no flag {flag}; {where}. `{cell} --help` lists its flags")


def prepare_jax() -> None:
    """Compiled programs are kept in the user's cache: what took half a second to compile is compiled once."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mmjax" / "xla"
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def by_output(
    cells: Mapping[str, Experiment], ablations: Mapping[str, Experiment], out: Path
) -> dict[Path, dict[str, Experiment]]:
    """{run folder: cells}: the folder itself, or one inside for each output where the file's cells are scored on several."""
    if len({experiment.output for experiment in ablations.values()}) <= 1:
        return {out: dict(cells)}
    outputs = dict.fromkeys(experiment.output for experiment in cells.values())
    return {
        out / output: {name: experiment for name, experiment in cells.items() if experiment.output == output}
        for output in outputs
    }


def run(
    ablations: Mapping[str, Experiment],
    full: Mapping[str, Experiment] | None = None,
    by_name: Mapping[str, Experiment] | None = None,
    args: list[str] | None = None,
) -> None:
    """Parses the command line and runs the cells; `python file.py` comes here through `mmjax.experiment.main`."""
    args = sys.argv[1:] if args is None else args
    file = Path(sys.argv[0])
    if "--full" in args:
        if not full:
            fail(f"{file.name} has no --full size: it is the same as the default")
        ablations, by_name = full, None
    options, cells = parse(ablations, args, file.name, by_name)
    prepare_jax()
    from rich.console import Console

    from mmjax.data.decode import DataError
    from mmjax.experiment.costs import print_costs
    from mmjax.experiment.run import check_options, load_and_check, run_cells
    from mmjax.pretrained.files import WeightsError
    from mmjax.runs.schema import RunError
    from mmjax.train.checkpoint import CheckpointError
    from mmjax.train.loop import Stopped

    description = inspect.getdoc(sys.modules["__main__"]) or ""
    command = f"python {shlex.join([os.path.relpath(file), *args])}"
    out = options.out or Path("runs") / file.stem
    try:
        folders = by_output(cells, ablations, out)
        check_options(cells, options, () if options.costs else folders)
        with Console().status("reading the data"):
            datasets = load_and_check(cells)
        if options.costs:
            print_costs(cells, datasets, options)
            return
        for folder, group in folders.items():
            run_cells(file.stem, description, command, group, datasets, options, folder)
    except (ExperimentError, DataError, WeightsError, CheckpointError, RunError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except Stopped as stopped:
        print(f"{stopped}; everything is kept, and the same command with --resume goes on", file=sys.stderr)
        raise SystemExit(130) from None
