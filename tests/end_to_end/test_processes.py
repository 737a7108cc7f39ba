"""Two processes with two devices each give the results of one process with four, stop together, and notice a lost one."""

import json
import os
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest

from tests.conftest import USERS_XLA_FLAGS
from tests.end_to_end.launched import children, launch, lose_a_process
from tests.end_to_end.same import assert_same_bits

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow]


def start(count: int, devices: int, out, *flags: str) -> subprocess.Popen:
    return launch(count, devices, out, *flags, xla_flags=USERS_XLA_FLAGS)


def finish(process: subprocess.Popen, code: int = 0) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == code, output
    return output


@pytest.fixture(scope="module")
def of_two(tmp_path_factory):
    """(the run folder, the output) of two processes."""
    out = tmp_path_factory.mktemp("two") / "run"
    return out, finish(start(2, 2, out))


STEPS = ("--steps-per-call", "1", "--steps", "60")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The run folder of two processes that take 60 steps."""
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    finish(start(2, 2, out, *STEPS))
    return out


def until_step_4(process: subprocess.Popen, out) -> None:
    while not (out / "cells/both/all/checkpoints/4").is_dir():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.001)


def curves(out):
    return [json.loads(line) for line in (out / "cells/both/all/curves.jsonl").read_text().splitlines()]


def outcomes(out):
    with np.load(out / "cells/both/all/outcomes.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


def assert_close(out, reference):
    for ours, theirs in zip(curves(out), curves(reference), strict=True):
        assert ours.keys() == theirs.keys()
        for name in ours:
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-5, err_msg=name)
    ours, theirs = outcomes(out), outcomes(reference)
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-4, atol=1e-6, err_msg=name)


def test_two_processes_give_the_results_of_one(of_two, tmp_path):
    out, output = of_two
    assert output.count("wrote") == 1, output  # the second process writes and prints nothing
    finish(start(1, 4, tmp_path / "one"))
    assert_close(out, tmp_path / "one")


def test_processes_without_a_common_plan_are_refused(tmp_path):
    output = finish(start(2, 1, tmp_path / "run", "--plan", "single"), code=1)
    assert "--plan is 'single', but there are 2 processes" in output and "Traceback" not in output
    assert not (tmp_path / "run").exists()


def test_a_signal_to_one_process_stops_all_and_any_number_resumes(undisturbed, tmp_path):
    """Two processes end with the same bits as without the signal; one process with four devices is equal but for rounding."""
    out = tmp_path / "run"
    process = start(2, 2, out, *STEPS)
    until_step_4(process, out)
    os.kill(children(process)[1], signal.SIGTERM)
    output = finish(process, code=130)
    assert output.count("everything is saved") == 1 and "Traceback" not in output
    shutil.copytree(out, tmp_path / "one")
    finish(start(2, 2, out, *STEPS, "--resume"))
    finish(start(1, 4, tmp_path / "one", *STEPS, "--resume"))
    assert_close(tmp_path / "one", undisturbed)
    assert_same_bits(out / "cells/both/all", undisturbed / "cells/both/all")


def test_after_a_kill_of_the_first_process_they_resume_with_the_same_bits(undisturbed, tmp_path):
    out = tmp_path / "run"
    process = start(2, 2, out, *STEPS)
    until_step_4(process, out)
    os.kill(children(process)[0], signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode != 0 and not (out / "results.json").exists()
    finish(start(2, 2, out, *STEPS, "--resume"))
    assert_same_bits(out / "cells/both/all", undisturbed / "cells/both/all")


def test_an_error_in_one_process_ends_the_other(tmp_path):
    (tmp_path / "file").touch()
    began = time.monotonic()
    output = finish(start(2, 2, tmp_path), code=1)  # the first process alone looks at the folder
    assert "is not a run of mmjax" in output
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("lost", (0, 1))
def test_a_killed_process_ends_the_others_within_20_seconds(tmp_path, lost):
    assert lose_a_process(tmp_path / "run", lost, USERS_XLA_FLAGS) < 20
