"""One side of one case, in a process of its own: python -m benchmarks.worker ROW CASE SIDE DEVICE FOLDER [--quick]

It imports its libraries and waits for a line on standard input. Then it builds the workload, writes weights and outputs into
the folder and reports what it built. Each further line {"runs": n} makes it do the work once more, and then at least n times,
of which it reports the mean seconds of one repetition.
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
from benchmarks.case import Workload

WITHOUT_TORCH = ("faiss", "numpy")


def cpu_seconds() -> float:
    """CPU time of this process with all its threads, and of its finished child processes."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def memory(device: str, field: str = "VmHWM") -> int:
    """Bytes: the peak of the accelerator as the imported library reports it, or a field of this process's status."""
    if device == "gpu" and "torch" in sys.modules:
        return sys.modules["torch"].cuda.max_memory_allocated()
    if device == "gpu" and "jax" in sys.modules:
        return sys.modules["jax"].local_devices()[0].memory_stats()["peak_bytes_in_use"]
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def first_runs(work: Workload) -> tuple[float, dict[str, np.ndarray]]:
    """(seconds of the first call, {"first losses": ...} if they are compared)."""
    began = time.perf_counter()
    losses = [work.run()]
    seconds = time.perf_counter() - began
    losses += [work.run() for _ in range(1, -(-work.compared_losses // work.repeats))]
    if not work.compared_losses:
        return seconds, {}
    return seconds, {"first losses": np.concatenate([np.ravel(loss) for loss in losses])[: work.compared_losses]}


def main() -> None:
    row, name, side, device, folder, *quick = sys.argv[1:]
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # keeps the output of libraries out of the replies

    def reply(**values) -> None:
        print(json.dumps(values), file=replies)

    (case,) = (case for case in cases_of(row, bool(quick), device) if case.name == name)
    if side not in WITHOUT_TORCH:
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
    first, losses = first_runs(work)
    np.savez(Path(folder) / f"{side}.npz", **work.outputs, **losses)
    reply(parameters=work.parameters, flops=work.flops, bytes=work.bytes, first=first)
    for line in sys.stdin:
        calls = -(-json.loads(line)["runs"] // work.repeats)
        work.run()  # untimed: while another side ran, the system took memory from this one, which the next run pays for
        began, used = time.perf_counter(), cpu_seconds()
        for _ in range(calls):
            work.run()
        wall, cpu = time.perf_counter() - began, cpu_seconds() - used
        used_memory, runs = memory(device) - (before if device == "cpu" else 0), calls * work.repeats
        reply(wall=wall / runs, cpu=cpu / runs, memory=used_memory)


def _import(library: str) -> None:
    """Imports in advance, so that imports do not count as memory of the workload."""
    counter = "torch.fx.experimental.symbolic_shapes"  # for counting FLOPs and for torch.compile
    for name in {"jax": ("mmjax.model", "optax"), "torch": (counter, "transformers")}[library]:
        import_module(name)


if __name__ == "__main__":
    main()
