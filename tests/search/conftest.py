
import time
from pathlib import Path

import pytest

import mmjax
from tests.search.colours import FUSED, SUMMED
from tests.served import Served


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


class Server(Served):
    """The search page in a process of its own."""

    def __init__(self, run: Path, cell: str, *options: str, cache: Path):
        super().__init__("mmjax.search", str(run), cell, "--cache", str(cache), *options, log=cache.with_suffix(".log"))


@pytest.fixture(scope="session")
def server(run, tmp_path_factory):
    """The page of the cell "fused", over the images of the test split."""
    server = Server(run, "fused", "--upload", "2", cache=tmp_path_factory.mktemp("server") / "cache")
    yield server
    server.close()
