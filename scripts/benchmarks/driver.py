"""Starts the sides of each case, compares their outputs, and runs them in turn."""

import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks import READS_WEIGHTS, cases_of
from benchmarks.case import Case
from benchmarks.table import growth, lines, markdown, show

PACKAGES = ("jax", "jaxlib", "flax", "optax", "torch", "transformers")
MIN_ROUNDS, ENOUGH_SECONDS = 3, 10.0  # further rounds start only within ENOUGH_SECONDS
LONG_RUN = 3.0  # seconds; the second run of longer work is its first round, without another warm-up


class SideError(Exception):
    """A side that cannot be compared: its process ended, or its outputs differ."""


class Side:
    """A worker process. It imports its libraries immediately and builds its workload on request."""

    def __init__(self, row: str, case: str, name: str, device: str, folder: str, quick: bool):
        command = [sys.executable, "-m", "benchmarks.worker", row, case, name, device, folder, *(["--quick"] if quick else [])]
        scripts = Path(__file__).resolve().parents[1]
        path = os.pathsep.join([str(scripts), str(scripts.parent), os.environ.get("PYTHONPATH", "")])
        inherited = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
        env = inherited | {
            "PYTHONPATH": path,
            "OMP_WAIT_POLICY": "PASSIVE",  # otherwise torch's threads spin during the turns of other sides
            "JAX_PLATFORMS": {"cpu": "cpu", "gpu": "cuda"}[device],
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # several processes share the accelerator
            "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",  # large pages for every side, see docs/bench.md
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "TF_CPP_MIN_LOG_LEVEL": "2",
        }
        self.name = name
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=env)
        self.errors: deque[str] = deque(maxlen=30)
        Thread(target=self.errors.extend, args=(self.process.stderr,), daemon=True).start()
        self.built: dict[str, float] = {}

    def _request(self, **values: int) -> dict[str, float]:
        with suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(values) + "\n")
            self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            raise SideError(f"{self.name} ended with exit code {self.process.returncode}:\n{''.join(self.errors)}")
        return json.loads(line)

    def build(self) -> None:
        """Builds the workload and runs it once; `built` has its facts."""
        self.built = self._request()

    def run(self, runs: int) -> dict[str, float]:
        """{"wall", "cpu": mean seconds of one run, "memory": peak in bytes so far}."""
        return self._request(runs=runs)

    def close(self) -> None:
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.process.stdout.close()


def measure(row: str, case: Case, device: str, quick: bool, rounds: int, seconds: float) -> dict[str, Any]:
    """{side: its facts, the largest difference of its outputs from the first side's, and its rounds}."""
    sides: list[Side] = []
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            for name in case.sides:
                sides.append(Side(row, case.name, name, device, folder, quick))
            for side in sides:
                side.build()
                name = side.name
                found[name] = dict(side.built, rounds=[])
                found[name]["difference"] = _difference(Path(folder), sides[0].name, side.name, case.tolerance)
                counts = [one.built["parameters"] for one in (side, sides[0])]
                if counts[0] != counts[1]:
                    raise SideError(f"{name} has {counts[0]:.0f} parameters, {sides[0].name} has {counts[1]:.0f}")
            for turn in turns(sides, rounds, seconds):
                for name, times in turn.items():
                    found[name]["rounds"].append(times)
        finally:
            for side in sides:
                side.close()
    return found


def turns(sides: Sequence[Side], rounds: int, seconds: float) -> Iterator[dict[str, dict[str, float]]]:
    """{side: its times} of each round: at least MIN_ROUNDS, further ones within ENOUGH_SECONDS, and at most `rounds`.

    Each round starts with another side, since the order may matter, and each turn with an untimed run (`worker`).
    """
    began, done, runs = time.perf_counter(), 0, dict.fromkeys((side.name for side in sides), 1)
    if seconds:
        second = {side.name: side.run(1) for side in sides}  # compiled, with warm caches
        if min(times["wall"] for times in second.values()) >= LONG_RUN:
            done = 1
            yield second
        for side in () if done else sides:
            if second[side.name]["wall"] < seconds:
                runs[side.name] = math.ceil(seconds / side.run(1)["wall"])
    while done < min(rounds, MIN_ROUNDS) or (done < rounds and time.perf_counter() - began < ENOUGH_SECONDS):
        first = done % len(sides)
        done += 1
        yield {side.name: side.run(runs[side.name]) for side in (*sides[first:], *sides[:first])}


def _difference(folder: Path, ours: str, theirs: str, tolerance: float) -> float:
    """The largest difference of all outputs, relative to the largest absolute value of the output. Integers, such as token ids,
    must be equal."""
    largest = 0.0
    with np.load(folder / f"{ours}.npz") as mine, np.load(folder / f"{theirs}.npz") as other:
        if set(mine.files) != set(other.files):
            raise SideError(f"the outputs of {theirs} are {sorted(other.files)}, those of {ours} {sorted(mine.files)}")
        for name in mine.files:
            a, b = mine[name], other[name]
            if a.shape != b.shape:
                raise SideError(f"{name} has the shape {b.shape} in {theirs} and {a.shape} in {ours}")
            if {a.dtype.kind, b.dtype.kind} & set("biu") and np.any(a != b):
                raise SideError(f"{np.sum(a != b)} of the {a.size} integers {name} of {theirs} differ from those of {ours}")
            a, b = np.float64(a), np.float64(b)
            error = float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-30)) if a.size else 0.0
            if not error <= tolerance:
                raise SideError(f"{name} of {theirs} differs from that of {ours} by {error:.2g} of its largest value")
            largest = max(largest, error)
    return largest


def machine(device: str) -> dict[str, Any]:
    """The device, the CPU and the versions."""
    models = [line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    found = {"device": device, "cpu": models[0] if models else platform.machine(), "cores": len(os.sched_getaffinity(0))}
    if device == "gpu":
        query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        found["gpu"] = subprocess.run(query, capture_output=True, text=True).stdout.strip()
    return found | {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES}


def bench(
    rows: list[str], device: str, quick: bool, rounds: int, seconds: float, json_file: Path | None, table_file: Path | None
) -> list[str]:
    """Runs the rows and prints their table. Returns the names of cases that could not be compared; their errors are printed."""
    console = Console()
    record = {"machine": machine(device), "rounds": rounds, "seconds": seconds, "gemm": {}, "bandwidth": 0.0, "cases": []}
    console.print("  ".join(f"{name} {value}" for name, value in record["machine"].items()))
    wanted = [(row, case) for row in rows for case in cases_of(row, quick, device)]
    dtypes = {case.dtype for _, case in wanted if case.sides}
    gemms = [case for case in cases_of("gemm", quick, device) if case.dtype in dtypes]
    memory = [("memory", case) for case in cases_of("memory", quick, device)] if READS_WEIGHTS & set(rows) else []
    failed = []
    for row, case in [("gemm", gemm) for gemm in gemms] + memory + wanted:
        entry = {"row": row, "case": case.name, "dtype": case.dtype, "goals": dict(case.goals)}
        entry |= {"note": case.note, "grown_from": case.grown_from, "sides": {}}
        began = time.perf_counter()
        if case.sides:
            with console.status(f"{row} {case.name}"):
                try:
                    entry["sides"] = measure(row, case, device, quick, rounds, seconds)
                except SideError as error:
                    entry["error"] = str(error)
                    failed.append(f"{row} {case.name}")
                    console.print(f"{row} {case.name}: {error}", style="red", markup=False, highlight=False)
        entry["seconds"] = time.perf_counter() - began
        record["cases"].append(entry)
        if row == "gemm" and entry["sides"]:
            record["gemm"][case.dtype] = max(_speed(side, "flops") for side in entry["sides"].values())
        if row == "memory" and entry["sides"]:
            record["bandwidth"] = max(_speed(side, "bytes") for side in entry["sides"].values())
        if json_file:
            json_file.write_text(json.dumps(record, indent=1))
        show(console, lines(entry, record["gemm"], record["bandwidth"]))
    for sentence in growth(record):
        console.print(sentence, markup=False, highlight=False)
    if table_file:
        table_file.write_text(markdown(record))
    if failed:
        console.print(f"not compared: {', '.join(failed)}")
    return failed


def _speed(side: Mapping[str, Any], of: str) -> float:
    return side[of] / statistics.median(one["wall"] for one in side["rounds"])
