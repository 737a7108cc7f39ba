"""One side of one case, in a process of its own: python -m benchmarks.worker ROW CASE SIDE DEVICE FOLDER [--quick]

It imports its libraries and waits for a line of its standard input; then it builds the work, writes weights and outputs into
the folder, says what it built, and answers each further line {"runs": n} with the seconds that n runs took.
"""

import json
import os
import resource
import sys
import time
from importlib import import_module
from pathlib import Path

import numpy as np

from benchmarks import cases_of


def cpu_seconds() -> float:
    """Of this process, all of its threads, and of the children that have ended."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def memory(device: str, field: str = "VmHWM") -> int:
    """Bytes: the accelerator's at most, by the library that was imported, or this process's by a field of its status."""
    if device == "gpu" and "torch" in sys.modules:
        return sys.modules["torch"].cuda.max_memory_allocated()
    if device == "gpu" and "jax" in sys.modules:
        return sys.modules["jax"].local_devices()[0].memory_stats()["peak_bytes_in_use"]
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def main() -> None:
    row, name, side, device, folder, *quick = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is not an answer

    def answer(**said) -> None:
        print(json.dumps(said), file=answers)

    (case,) = (case for case in cases_of(row, bool(quick), device) if case.name == name)
    _import("jax" if side.startswith("mmjax") else "torch")
    if not sys.stdin.readline():
        return
    weights_file = Path(folder) / "weights.npz"
    is_first = side == next(iter(case.sides))
    weights = {} if is_first else dict(np.load(weights_file))
    before = memory("cpu", "VmRSS")
    work = case.sides[side](weights)
    if is_first:
        np.savez(weights_file, **work.weights)
    began = time.perf_counter()
    gave = [work.run()]
    first = time.perf_counter() - began
    gave += [work.run() for _ in range(1, work.compared_runs)]
    runs = {"first runs": np.array([float(np.asarray(one).squeeze()) for one in gave])} if work.compared_runs else {}
    np.savez(Path(folder) / f"{side}.npz", **work.outputs, **runs)
    answer(parameters=work.parameters, flops=work.flops, first=first)
    for line in sys.stdin:
        runs = json.loads(line)["runs"]
        began, used = time.perf_counter(), cpu_seconds()
        for _ in range(runs):
            work.run()
        wall, cpu = time.perf_counter() - began, cpu_seconds() - used
        answer(wall=wall / runs, cpu=cpu / runs, memory=memory(device) - (before if device == "cpu" else 0))


def _import(library: str) -> None:
    """So that what imports take is not counted as the work's memory."""
    counter = "torch.fx.experimental.symbolic_shapes"  # by which FLOPs are counted, and programs compiled
    for name in {"jax": ("mmjax.model", "optax"), "torch": (counter, "transformers")}[library]:
        import_module(name)


if __name__ == "__main__":
    main()
