"""Runs experiment files as a person does, in processes of their own, all cells of each file once a session."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import QUICK

ROOT = Path(__file__).parents[2]
# Flags that every cell has, and that make a run as small as it can be while everything in it still happens.
FLAGS = (
    "--data.speech-languages lt --data.image-size 16 --data.seconds 0.5"
    " --batch 8 --seeds 2 --steps 24 --evaluate-every 8"
).split()


@dataclass(frozen=True)
class Commands:
    """Starts experiments with one cache for compiled programs and prepared data, which the session shares."""

    cache: Path

    def launch(self, *command: object, devices: int = 1) -> subprocess.Popen:
        """A process in a group of its own, its standard output and error together in one pipe."""
        environment = {
            **os.environ,
            "XDG_CACHE_HOME": str(self.cache),
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices} {QUICK}",
            "JAX_PLATFORMS": "cpu",
        }
        return subprocess.Popen(
            [str(word) for word in command],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def start(self, file: Path, *args: object, devices: int = 1) -> subprocess.Popen:
        """The experiment file, begun."""
        return self.launch(sys.executable, file, *args, devices=devices)

    def finish(self, process: subprocess.Popen, seconds: float = 900) -> str:
        """What it printed; fails with that unless it succeeds."""
        try:
            output, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            kill(process)
            pytest.fail(f"{process.args} took more than {seconds} s")
        assert process.returncode == 0, output
        return output

    def run(self, file: Path, *args: object, devices: int = 1) -> str:
        """The experiment file, to its end; what it printed."""
        return self.finish(self.start(file, *args, devices=devices))


def kill(process: subprocess.Popen) -> None:
    """The whole group, at once and without warning: kill -9."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.fixture(scope="session")
def shared(tmp_path_factory, worker_id):
    """A folder of the session, which all processes of the tests share."""
    base = tmp_path_factory.getbasetemp()
    return base if worker_id == "master" else base.parent


@pytest.fixture(scope="session")
def commands(shared):
    return Commands(shared / "cache")


@pytest.fixture(scope="session")
def whole(commands, shared):
    """Experiment file -> run folder of all its cells, undisturbed; made once for all processes of the tests."""

    def run(file: Path) -> Path:
        folder = shared / f"whole-{file.stem}"
        try:
            folder.mkdir()
        except FileExistsError:  # another process is at it, or was
            end = time.monotonic() + 900
            while not (folder / "done").exists():
                assert not (folder / "failed").exists(), f"{file.name} failed in another process of the tests"
                assert time.monotonic() < end, f"{file.name} took too long in another process of the tests"
                time.sleep(0.2)
            return folder / "run"
        try:
            commands.run(file, *FLAGS, "--checkpoint-every", 1000, "--log", "tensorboard", "csv", "--out", folder / "run")
        except BaseException:
            (folder / "failed").touch()
            raise
        (folder / "done").touch()
        return folder / "run"

    return run
