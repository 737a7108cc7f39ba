#!/usr/bin/env python3
"""mmjax against PyTorch: the same work with the same weights, in turn, in one run; prints ratios of times.

    scripts/bench.py                         every row, on the CPU; half an hour to more than an hour on two cores
    scripts/bench.py trimodal decode         these rows
    scripts/bench.py --device gpu            on an accelerator, with the torch that is installed beside jax
    scripts/bench.py --json run.json --markdown table.md

In each case, every side builds the same model from the weights of the first side; parameters are counted and outputs compared
before timing. Then the sides, each in a process of its own, run in turn for several rounds. A ratio is the other side's time
divided by mmjax's time in the same round, above 1 if mmjax is faster. The table has its median over rounds and, in brackets,
the lowest and the highest. A case has three rounds, and up to --rounds within 10 seconds. On a GPU, float32 matmuls use TF32 on
all sides, which is JAX's default. If torch or mmjax is missing, an environment with both is created first (.venv-parity).
"""

import argparse
import importlib.util
import os
import sys
from pathlib import Path

NEEDED = ("jax", "flax", "optax", "torch", "transformers", "rich")


def main() -> None:
    from benchmarks import DEVICES, ROWS

    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("rows", nargs="*", metavar="ROW", help=f"any of {', '.join(ROWS)}; default: all")
    options.add_argument("--device", choices=DEVICES, default="cpu")
    options.add_argument("--json", type=Path, metavar="F", help="write the times of every round to this file")
    options.add_argument("--markdown", type=Path, metavar="F", help="write the table to this file")
    options.add_argument("--quick", action="store_true", help="tiny sizes and one run each, to test that every row works")
    rounds = "maximum number of rounds; three if they take longer than 10 seconds (default: 7)"
    options.add_argument("--rounds", type=int, default=7, help=rounds)
    options.add_argument("--seconds", type=float, default=0.5, help="minimum time of each side in a round")
    given = options.parse_args()
    unknown = [row for row in given.rows if row not in ROWS]
    if unknown:
        options.error(f"unknown row {', '.join(unknown)}; the rows are {', '.join(ROWS)}")
    if any(importlib.util.find_spec(name) is None for name in NEEDED):
        _restart_with_torch()
    from benchmarks.driver import bench

    rounds, seconds = (1, 0.0) if given.quick else (given.rounds, given.seconds)
    failed = bench(given.rows or list(ROWS), given.device, given.quick, rounds, seconds, given.json, given.markdown)
    sys.exit(1 if failed else 0)


def _restart_with_torch() -> None:
    """Restarts in the environment of the parity tests, which has torch and mmjax."""
    root = Path(__file__).resolve().parents[1]
    if Path(sys.prefix) == root / ".venv-parity":
        raise SystemExit(f"error: {sys.prefix} lacks one of {', '.join(NEEDED)}; remove that folder and try again")
    script = 'EXTRAS=all,dev; PARITY=1; . scripts/environment; exec python scripts/bench.py "$@"'
    files, pairs = ("--json", "--markdown"), zip(sys.argv, sys.argv[1:])
    arguments = [str(Path(value).resolve()) if before in files else value for before, value in pairs]
    os.chdir(root)
    os.execvp("bash", ["bash", "-euo", "pipefail", "-c", script, "bench", *arguments])


if __name__ == "__main__":
    main()
