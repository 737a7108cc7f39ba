
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import mmjax
from tests.search.colours import FUSED, SUMMED

ROOT = Path(__file__).parents[2]
QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"  # compiling is most of the time here


@pytest.fixture(scope="session")
def run(tmp_path_factory, worker_id):
    """The run folder of two trained cells of two seeds; made once for all processes of the tests."""
    base = tmp_path_factory.getbasetemp()
    shared = (base if worker_id == "master" else base.parent) / "colours"
    try:
        shared.mkdir()
    except FileExistsError:  # another process is at it, or was
        end = time.monotonic() + 300
        while not (shared / "done").exists():
            assert not (shared / "failed").exists(), "the run failed in another process of the tests"
            assert time.monotonic() < end, "the run took too long in another process of the tests"
            time.sleep(0.2)
        return shared / "run"
    try:
        mmjax.run({"fused": FUSED, "summed": SUMMED}, seeds=2, out=shared / "run", quiet=True)
    except BaseException:
        (shared / "failed").touch()
        raise
    (shared / "done").touch()
    return shared / "run"


class Server:
    """The search page in a process of its own. address: of the page. pid: of the process. output: what it printed."""

    def __init__(self, run: Path, cell: str, *options: str, cache: Path):
        command = [sys.executable, "-m", "mmjax.search", str(run), cell, "--port", "0", "--cache", str(cache), *options]
        log = cache.with_suffix(".log")
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(cache.parent), "XLA_FLAGS": QUICK}
        with log.open("w") as file:
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=file, stderr=file)
        self.pid, self._log = self.process.pid, log
        end = time.monotonic() + 300
        while not (found := re.search(r"search page: (http://\S+)", self.output)):
            assert self.process.poll() is None and time.monotonic() < end, self.output
            time.sleep(0.1)
        self.address = found[1]

    @property
    def output(self) -> str:
        return self._log.read_text()

    def memory(self) -> float:
        """Resident memory in MB."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def close(self) -> int:
        """Ends it as Ctrl-C does; the exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)


@pytest.fixture(scope="session")
def server(run, tmp_path_factory):
    """The page of the cell "fused", over the images of the test split."""
    server = Server(run, "fused", "--upload", "2", cache=tmp_path_factory.mktemp("server") / "cache")
    yield server
    server.close()
