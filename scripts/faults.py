#!/usr/bin/env python3
"""The scoreboard: injects faults and counts how many had the expected result.

    scripts/faults.py                        every row in full
    scripts/faults.py --rows 4,5 --seed 7    these rows, with other random faults
    scripts/faults.py --quick --json F       a few faults of each row; and as JSON

Each row has its own random numbers, from --seed and its own number, so that it can be repeated by itself. What is not as
expected is listed below the table, and makes the exit code 1. The rows are described in `scripts/injections/`.

All rows take about 26 minutes on one core that others use too: rows 1, 2 and 12 four to seven minutes each, row 3 three, and
rows 4 to 11 and 13 to 16 together seven.
"""

import argparse
import contextlib
import io
import json
import os
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Returns the exit code."""
    for folder in (ROOT, ROOT / "scripts"):
        sys.path.insert(0, str(folder))
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path[:2])  # of the processes that rows start
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
    from injections.rows import ROWS
    from rich.console import Console

    numbers = ", ".join(f"{row.number} {row.name}" for row in ROWS)
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", help=f"numbers with commas; default: all of {numbers}")
    options.add_argument("--quick", action="store_true", help="a few faults of each row")
    options.add_argument("--count", type=int, help="at most this many faults of each row")
    options.add_argument("--seed", type=int, default=0, help="of the random faults (default: 0)")
    options.add_argument("--json", type=Path, metavar="F", help="write the scoreboard to this file")
    given = options.parse_args()
    known = {str(row.number): row for row in ROWS}
    wanted = given.rows.split(",") if given.rows else list(known)
    unknown = [number for number in wanted if number not in known]
    if unknown:
        options.error(f"there is no row {', '.join(unknown)}; the rows are {numbers}")
    console, entries = Console(), []
    with tempfile.TemporaryDirectory() as folder:
        for row in map(known.get, wanted):
            count = row.quick if given.quick else row.count
            if given.count is not None:
                count = given.count if count is None else min(count, given.count)
            if count != 0:
                with console.status(f"{row.number}: {row.name}"):
                    entries.append(_entry(row, count, given.seed, folder))
                if given.json:  # after every row, since all of them take long
                    board = {"seed": given.seed, "versions": _versions(), "rows": entries}
                    given.json.write_text(json.dumps(board, indent=1))
    _show(entries, given.seed, console)
    return any(entry["unexpected"] for entry in entries)


def _entry(row, count: int | None, seed: int, folder: str) -> dict:
    """The JSON of one row, after its faults. folder: of all rows, for compiled programs; that of the row is in it."""
    import numpy as np

    began, injected, unexpected = time.monotonic(), 0, []
    silence = contextlib.redirect_stderr(io.StringIO())  # event loops that Orbax leaves after failed reads complain later
    with tempfile.TemporaryDirectory(dir=folder) as scratch, silence:
        for what, problem in row.inject(np.random.default_rng([seed, row.number]), count, Path(scratch)):
            injected += 1
            if problem is not None:
                unexpected.append({"injected": what, "found": problem})
    seconds = round(time.monotonic() - began, 1)
    return {
        "row": row.number, "name": row.name, "of": row.count, "injected": injected, "as_expected": injected - len(unexpected),
        "seconds": seconds, "unexpected": unexpected,
    }  # fmt: skip


def _show(entries: list[dict], seed: int, console) -> None:
    from rich.table import Table

    table = Table("row", "fault", "injected", "as expected", "seconds", title=f"seed {seed}; {_versions()}")
    for entry in entries:
        of = "" if entry["of"] in (None, entry["injected"]) else f" of {entry['of']}"
        counts = f"{entry['injected']}{of}", str(entry["as_expected"])
        table.add_row(str(entry["row"]), entry["name"], *counts, f"{entry['seconds']:.0f}")
    console.print(table)
    for entry in entries:
        for fault in entry["unexpected"]:
            console.print(f"row {entry['row']}: {fault['injected']}: {fault['found']}", markup=False, highlight=False)


def _versions() -> str:
    import platform
    from importlib.metadata import version

    packages = ("jax", "flax", "orbax-checkpoint", "numpy")
    date = time.strftime("%Y-%m-%d")
    return f"{date}, Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in packages)


if __name__ == "__main__":
    raise SystemExit(main())
