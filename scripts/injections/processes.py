"""Processes that are killed, stopped, or in each other's way."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import numpy as np

from injections import victim
from injections.row import problem
from tests.end_to_end.launched import lose_a_process
from tests.end_to_end.same import assert_same_bits, steps_in, unfinished

__all__ = ["PART", "Running", "kills", "kills_in_saves", "lost_peers", "races", "signals", "start", "undisturbed"]

Faults = Iterator[tuple[str, str | None]]
PART = Path("cells/both/all")
LIMIT = 300  # seconds of one run
KILLED = (-signal.SIGKILL,)
LAST_CALL = int(victim.FLAGS[victim.FLAGS.index("--steps") + 1]) - 3
"""The newest complete checkpoint from which a run may be in its last call, of one step: one is being written, and the next one
waits for that."""


@dataclass(frozen=True)
class Running:
    """One process of the experiment."""

    process: ForkServerProcess
    out: Path
    log: Path

    @property
    def ended(self) -> bool:
        return self.process.exitcode is not None

    @property
    def steps(self) -> int:
        """The step of the newest complete checkpoint, 0 without one."""
        return max(steps_in(self.out / PART / "checkpoints"), default=0)

    def kill(self) -> None:
        self.process.kill()
        self.process.join()

    def finish(self) -> str:
        """Its output, once it has ended."""
        self.process.join(LIMIT)
        if not self.ended:
            self.kill()
            raise AssertionError(f"it took more than {LIMIT} s")
        return self.log.read_text(errors="replace")


def start(out: Path, *args: str) -> Running:
    """Starts the experiment; returns when its code begins to run."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["injections.victim"])
    log, begun = out.with_suffix(f".{time.monotonic_ns()}.log"), context.Event()
    process = context.Process(target=victim.experiment, args=(["--out", str(out), *args], log, begun))
    process.start()
    begun.wait(60)
    return Running(process, out, log)


Stop = Callable[[Running, float, np.random.Generator], tuple[str, tuple[int, ...]] | None]
"""(a run, seconds of a whole run, random) -> (how it was stopped, possible exit codes); None if it ended before."""


@cache
def undisturbed(folder: Path) -> tuple[Path, float]:
    """(the folder of a whole run, its seconds). folder: of all rows, which share the run."""
    folder = folder / "undisturbed"  # as deep as the runs of a row, which share its cache of compiled programs
    folder.mkdir()
    began, run = time.monotonic(), start(folder / "whole")
    assert "wrote" in run.finish(), run.log.read_text()
    return run.out, time.monotonic() - began


def _chains(stop: Stop, random: np.random.Generator, count: int | None, scratch: Path) -> Faults:
    """Runs that are stopped and resumed again and again until they end, and compared with an undisturbed one."""
    reference, seconds = undisturbed(scratch.parent)
    left, number = count or 0, 0
    while left > 0:
        number += 1
        out, faults = scratch / f"run{number}", []
        while len(faults) < left:
            run, began = start(out, "--resume"), time.monotonic()
            before = run.steps
            stopped = stop(run, seconds, random)
            if stopped is None:
                seconds = (seconds + time.monotonic() - began) / 2  # programs are cached, or the machine is less busy
                break
            found = problem(lambda: _assert_sound(run, before, stopped[1]))
            faults.append((f"{stopped[0]}, step {run.steps} of run {number}", found))
        last = run if run.ended and run.process.exitcode == 0 else start(out, "--resume")
        end = problem(lambda: _assert_ended(last, reference))
        yield from ((what, found or end) for what, found in faults)
        left -= len(faults)


def _assert_sound(run: Running, before: int, codes: tuple[int, ...]) -> None:
    """No checkpoint is lost or damaged, and there is no traceback."""
    output = run.finish()
    assert run.process.exitcode in codes, f"exit code {run.process.exitcode}: {output[-500:]}"
    assert run.steps >= before, f"the newest checkpoint was {before}, now {run.steps}"
    assert "Traceback" not in output and "damaged" not in output, output[-1000:]


def _assert_ended(run: Running, reference: Path) -> None:
    output = run.finish()
    assert run.process.exitcode == 0 and "damaged" not in output, output[-1000:]
    assert_same_bits(run.out / PART, reference / PART)


def kills(random: np.random.Generator, count: int | None, scratch: Path) -> Faults:
    """At any moment from the start to the report."""

    def stop(run: Running, seconds: float, random: np.random.Generator) -> tuple[str, tuple[int, ...]] | None:
        delay = random.uniform(0, seconds)
        run.process.join(delay)
        if run.ended:
            return None
        run.kill()
        return f"kill after {delay:.3f} s", KILLED

    return _chains(stop, random, count, scratch)


def kills_in_saves(random: np.random.Generator, count: int | None, scratch: Path) -> Faults:
    """While Orbax has an unfinished checkpoint, a few milliseconds into it."""

    def stop(run: Running, seconds: float, random: np.random.Generator) -> tuple[str, tuple[int, ...]] | None:
        folder, first, more = run.out / PART / "checkpoints", run.steps, int(random.integers(0, 4))
        left, delay = unfinished(folder), random.uniform(0, 0.02)
        while not run.ended:
            if run.steps >= first + more and unfinished(folder) - left:
                time.sleep(delay)
                run.process.kill()
                run.process.join()
                where = "into" if unfinished(folder) - left else "after the beginning of"
                return f"kill {1e3 * delay:.1f} ms {where} a save", KILLED
            time.sleep(0.0005)
        return None

    return _chains(stop, random, count, scratch)


def signals(random: np.random.Generator, count: int | None, scratch: Path) -> Faults:
    """SIGTERM or SIGINT at any moment; a second one in one of four cases."""

    def stop(run: Running, seconds: float, random: np.random.Generator) -> tuple[str, tuple[int, ...]] | None:
        delay, twice = 0.05 + random.uniform(0, seconds), random.random() < 0.25
        number = signal.SIGTERM if random.integers(2) else signal.SIGINT
        run.process.join(delay)
        if run.ended:
            return None
        os.kill(run.process.pid, number)
        codes = (0, 130) if run.steps >= LAST_CALL else (130,)  # 0 if it ended meanwhile
        what = f"{number.name} after {delay:.3f} s"
        if twice and run.process.join(random.uniform(0, 0.3)) is None and not run.ended:
            os.kill(run.process.pid, number)
            what += " and again"
        return what, (*codes, -number, 128 + number) if twice else codes

    return _chains(stop, random, count, scratch)


def lost_peers(random: np.random.Generator, count: int | None, scratch: Path) -> Faults:
    """One of two processes of `--plan sharded` is killed during training: the other one ends within 20 seconds."""
    del random

    def check(lost: int, out: Path) -> None:
        seconds = lose_a_process(out, lost, victim.XLA_FLAGS)
        assert seconds < 20, f"it took {seconds:.0f} s"

    for number in range(count or 0):
        yield f"process {number % 2}", problem(lambda: check(number % 2, scratch / f"peers{number}"))


def races(random: np.random.Generator, count: int | None, scratch: Path) -> Faults:
    """Every other one in a run folder, where one process is refused in one line; the others in a file of features."""
    reference, _ = undisturbed(scratch.parent)
    for number in range(count or 0):
        if number % 2:
            yield "two processes write the same features", problem(lambda: _race_for_features(scratch / f"{number}.npz"))
        else:
            delay = random.uniform(0, 0.5) if number % 4 else 0.0
            what = f"two processes in one run folder, {delay:.3f} s apart"
            yield what, problem(lambda: _race_in_folder(scratch / f"race{number}", delay, reference))


def _race_in_folder(out: Path, delay: float, reference: Path) -> None:
    runs = [start(out)]
    time.sleep(delay)
    runs.append(start(out))
    outputs = [run.finish() for run in runs]
    codes = [run.process.exitcode for run in runs]
    assert sorted(codes) == [0, 1], (codes, outputs)
    refused = outputs[codes.index(1)]
    assert "is in use by process" in refused or "is not empty" in refused, refused
    assert "Traceback" not in refused, refused
    assert_same_bits(out / PART, reference / PART)


def _race_for_features(file: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    both = [context.Process(target=victim.features, args=(file, 50)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(LIMIT)
    assert [process.exitcode for process in both] == [0, 0], "features were damaged"
