"""Two processes with two devices each give the results of one process with four, stop together, and notice a lost one."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.conftest import USERS_XLA_FLAGS
from tests.end_to_end.conftest import ROOT

pytestmark = pytest.mark.end_to_end
LAUNCH, FILE = ROOT / "scripts" / "launch" / "local.py", ROOT / "tests" / "end_to_end" / "two_processes.py"
MESH = ["--plan", "sharded", "--mesh.fsdp", "2", "--seeds", "2"]


def start(count: int, devices: int, out, *flags: str) -> subprocess.Popen:
    environment = {**os.environ, "XLA_FLAGS": USERS_XLA_FLAGS}
    command = [sys.executable, LAUNCH, str(count), str(devices), FILE, *MESH, "--out", out, *flags]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def finish(process: subprocess.Popen, code: int = 0) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == code, output
    return output


@pytest.fixture(scope="module")
def of_two(tmp_path_factory):
    """(the run folder, the output) of two processes."""
    out = tmp_path_factory.mktemp("two") / "run"
    return out, finish(start(2, 2, out))


def curves(out):
    return [json.loads(line) for line in (out / "cells/both/all/curves.jsonl").read_text().splitlines()]


def outcomes(out):
    with np.load(out / "cells/both/all/outcomes.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


def test_two_processes_give_the_results_of_one(of_two, tmp_path):
    out, output = of_two
    assert output.count("wrote") == 1, output  # the second process writes and prints nothing
    finish(start(1, 4, tmp_path / "one"))
    for ours, theirs in zip(curves(out), curves(tmp_path / "one"), strict=True):
        assert ours.keys() == theirs.keys()
        for name in ours:
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-5, err_msg=name)
    ours, theirs = outcomes(out), outcomes(tmp_path / "one")
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.slow
def test_processes_without_a_common_plan_are_refused(tmp_path):
    output = finish(start(2, 1, tmp_path / "run", "--plan", "single"), code=1)
    assert "--plan is 'single', but there are 2 processes" in output and "Traceback" not in output
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_processes_stop_together_and_resume_with_the_same_bits(of_two, tmp_path):
    out = tmp_path / "run"
    process = start(2, 2, out, "--steps-per-call", "1")
    first = out / "cells/both/all/checkpoints/4"
    while not first.is_dir():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.001)
    process.send_signal(signal.SIGTERM)
    output = finish(process, code=130)
    assert "everything is saved" in output and "Traceback" not in output
    finish(start(2, 2, out, "--steps-per-call", "1", "--resume"))
    whole = tmp_path / "whole"
    finish(start(2, 2, whole, "--steps-per-call", "1"))
    ours, theirs = outcomes(out), outcomes(whole)
    assert all(ours[name].tobytes() == theirs[name].tobytes() for name in theirs)
    assert (out / "cells/both/all/curves.jsonl").read_bytes() == (whole / "cells/both/all/curves.jsonl").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("lost", (0, 1))
def test_a_killed_process_ends_the_others_within_20_seconds(tmp_path, lost):
    out = tmp_path / "run"
    process = start(2, 2, out, "--steps", "1000000", "--checkpoint-every", "4")
    while not (out / "cells/both/all/checkpoints/4").is_dir():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    children = subprocess.run(["ps", "--ppid", str(process.pid), "-o", "pid="], capture_output=True, text=True, check=True)
    os.kill(sorted(map(int, children.stdout.split()))[lost], signal.SIGKILL)
    began = time.monotonic()
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert time.monotonic() - began < 20
