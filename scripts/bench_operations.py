#!/usr/bin/env python3
"""Where the time of a benchmark's case goes: the milliseconds of each kind of operation, in mmjax and in torch, on one core.

    scripts/bench_operations.py dual "batch 64"
    scripts/bench_operations.py trimodal "batch 32" --steps 10 --longest 12    also the longest single operations

Each side runs in a process of its own that is bound to one core, so that operations do not run beside each other. The first
line is the time by the clock without the profiler, the second the sum of the operations with it: the profiler itself takes
time, and not all work belongs to an operation. mmjax: the operations of XLA's program, which may combine several of JAX;
they are sorted by the one whose name XLA keeps. torch: operators without those that they call.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent


def main() -> None:
    from benchmarks import ROWS, cases_of
    from benchmarks.operations import KINDS, kind_of
    from rich.console import Console
    from rich.table import Table

    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("row", choices=[row for row in ROWS if row not in ("start", "input", "stream")], metavar="ROW")
    options.add_argument("case", metavar="CASE", help='of the row, such as "batch 64"')
    options.add_argument("--sides", nargs="+", default=["mmjax", "torch"], help="default: mmjax torch")
    options.add_argument("--steps", type=int, default=5, help="repetitions, of which the mean is shown (default: 5)")
    options.add_argument("--longest", type=int, default=0, metavar="N", help="also the N longest operations of each side")
    options.add_argument("--quick", action="store_true", help="tiny sizes")
    given = options.parse_args()
    cases = {case.name: case for case in cases_of(given.row, given.quick, "cpu")}
    if given.case not in cases:
        options.error(f"row {given.row} has no case {given.case!r}; its cases are {', '.join(cases)}")
    known = list(cases[given.case].sides)
    if not known:
        options.error(f"case {given.case!r} is not compared on a CPU: {cases[given.case].note}")
    if given.steps < 1:
        options.error(f"--steps is {given.steps}; it must be at least 1")
    if unknown := [side for side in given.sides if side not in known]:
        options.error(f"case {given.case!r} has no side {unknown[0]!r}; its sides are {', '.join(known)}")
    if not all(side.startswith("mmjax") for side in given.sides) and importlib.util.find_spec("torch") is None:
        options.error("torch is not installed: use the environment of scripts/parity, or --sides mmjax")
    console, found = Console(), {}
    with tempfile.TemporaryDirectory() as folder:
        for side in dict.fromkeys([known[0], *given.sides]):  # the first side writes the weights
            command = [sys.executable, "-m", "benchmarks.operations", given.row, given.case, side, folder, str(given.steps)]
            path = os.pathsep.join([str(SCRIPTS.parent), str(SCRIPTS), os.environ.get("PYTHONPATH", "")])
            with console.status(f"{side}: {given.row} {given.case}"):
                command += ["--quick"] * given.quick
                done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})
            if done.returncode:
                sys.exit(f"{done.stderr}error: side {side} of {given.row} {given.case} ended with exit code {done.returncode}")
            found[side] = json.loads((Path(folder) / f"{side}.json").read_text())
    table = Table("operations", *(f"{side}, ms" for side in given.sides), title=f"{given.row}, {given.case}, one core")
    table.add_row("all, by the clock", *(f"{1e3 * found[side]['seconds']:.1f}" for side in given.sides))
    totals = {side: Counter() for side in given.sides}
    for side, total in totals.items():
        for operation, seconds in found[side]["operations"].items():
            total[kind_of(operation)] += seconds
    table.add_row("their sum, with the profiler", *(f"{1e3 * total.total():.1f}" for total in totals.values()))
    for kind in KINDS:
        if any(total[kind] for total in totals.values()):
            table.add_row(kind, *(f"{1e3 * total[kind]:.1f}" for total in totals.values()))
    console.print(table)
    for side in given.sides if given.longest else ():
        longest = Table(f"{side}: operation", "ms", "kind")
        for operation, seconds in list(found[side]["operations"].items())[: given.longest]:
            longest.add_row(operation, f"{1e3 * seconds:.1f}", kind_of(operation))
        console.print(longest)


if __name__ == "__main__":
    main()
