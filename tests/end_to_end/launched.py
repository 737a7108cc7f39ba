"""Runs of several processes on this machine, for the tests and the scoreboard."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
LAUNCH, FILE = ROOT / "scripts" / "launch" / "local.py", ROOT / "tests" / "end_to_end" / "two_processes.py"
MESH = ["--plan", "sharded", "--mesh.fsdp", "2", "--seeds", "2"]


def launch(count: int, devices: int, out: Path, *flags: str, xla_flags: str = "") -> subprocess.Popen:
    """`count` processes with `devices` CPU devices each, their output in one pipe."""
    command = [sys.executable, LAUNCH, str(count), str(devices), FILE, *MESH, "--out", out, *flags]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "XLA_FLAGS": xla_flags},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def children(process: subprocess.Popen) -> list[int]:
    """The ids of the launched processes, the first one first."""
    found = subprocess.run(["ps", "--ppid", str(process.pid), "-o", "pid="], capture_output=True, text=True, check=True)
    return sorted(map(int, found.stdout.split()))


def lose_a_process(out: Path, lost: int, xla_flags: str = "") -> float:
    """Kills one of two processes during training. Returns the seconds until the other has ended, with an error."""
    process = launch(2, 2, out, "--steps", "1000000", "--checkpoint-every", "4", xla_flags=xla_flags)
    while not (out / "cells/both/all/checkpoints/4").is_dir():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    os.kill(children(process)[lost], signal.SIGKILL)
    began = time.monotonic()
    process.communicate(timeout=60)
    assert process.returncode != 0
    return time.monotonic() - began
