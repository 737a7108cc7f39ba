#!/usr/bin/env python3
"""mmjax against PyTorch: the same work with the same weights, in turn, in one run. What is printed are ratios.

    scripts/bench.py                         every row, on the CPU; about half an hour on two cores
    scripts/bench.py trimodal decode         these rows
    scripts/bench.py --device gpu            on an accelerator, with the torch that is installed beside jax
    scripts/bench.py --json run.json --markdown table.md

Of each case every side builds the same model, from weights that the first one made; parameters are counted and outputs
compared before anything is timed. Then the sides, each a process of its own, run in turn for some rounds. A ratio is the other
side's time through mmjax's in the same round, above 1 where mmjax is faster; printed are its median over rounds and, in
brackets, the lowest and the highest. A case has three rounds, and up to --rounds as long as they took less than 10 seconds: the
table says how many it had. On a GPU float32 matmuls are TF32 on all sides, as is JAX's default. Without torch, or without
mmjax, an environment with both is made first (.venv-parity).
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
    options.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}; without any, all of them")
    options.add_argument("--device", choices=DEVICES, default="cpu")
    options.add_argument("--json", type=Path, metavar="F", help="write every round's figures there")
    options.add_argument("--markdown", type=Path, metavar="F", help="write the table there")
    options.add_argument("--quick", action="store_true", help="tiny sizes and one run each: does every row run?")
    options.add_argument("--rounds", type=int, default=7, help="at most; three where they take 10 seconds (default: 7)")
    options.add_argument("--seconds", type=float, default=0.5, help="that each side runs in a round, at least")
    given = options.parse_args()
    unknown = [row for row in given.rows if row not in ROWS]
    if unknown:
        options.error(f"there is no row {', '.join(unknown)}; rows are {', '.join(ROWS)}")
    if any(importlib.util.find_spec(name) is None for name in NEEDED):
        _in_an_own_environment()
    from benchmarks.driver import bench

    rounds, seconds = (1, 0.0) if given.quick else (given.rounds, given.seconds)
    failed = bench(given.rows or list(ROWS), given.device, given.quick, rounds, seconds, given.json, given.markdown)
    sys.exit(1 if failed else 0)


def _in_an_own_environment() -> None:
    """Starts over in the environment of the parity tests, which has both."""
    root = Path(__file__).resolve().parents[1]
    if Path(sys.prefix) == root / ".venv-parity":
        raise SystemExit(f"error: {sys.prefix} lacks one of {', '.join(NEEDED)}; remove that folder and try again")
    script = 'EXTRAS=all,dev; PARITY=1; . scripts/environment; exec python scripts/bench.py "$@"'
    files, pairs = ("--json", "--markdown"), zip(sys.argv, sys.argv[1:])
    arguments = [str(Path(given).resolve()) if before in files else given for before, given in pairs]
    os.chdir(root)
    os.execvp("bash", ["bash", "-euo", "pipefail", "-c", script, "bench", *arguments])


if __name__ == "__main__":
    main()
