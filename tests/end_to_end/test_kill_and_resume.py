"""A run that is killed several times ends with the same bits as an undisturbed one."""

import signal
import subprocess
import time

import numpy as np
import pytest

from tests.end_to_end.conftest import FLAGS, ROOT, kill
from tests.end_to_end.same import assert_same_bits, steps_in, unfinished

# slow: rows 1 to 3 of the scoreboard, with a smaller experiment, are in the default tests (scripts/test_faults.py)
pytestmark = [pytest.mark.end_to_end, pytest.mark.slow]
FILE = ROOT / "experiments" / "stamps_fusion.py"
CELL = "concat"
ARGS = (CELL, *FLAGS, "--checkpoint-every", "1")


def wait_for(process: subprocess.Popen, condition, seconds: float = 600) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None:
            pytest.fail(f"the run ended before it could be stopped: {process.communicate()[0]}")
        assert time.monotonic() < end, "the run did not get that far"
        time.sleep(0.0005)


def test_killed_and_terminated_it_ends_with_the_same_bits(commands, whole, tmp_path):
    reference, out = whole(FILE), tmp_path / "run"
    checkpoints = out / "cells" / CELL / "all" / "checkpoints"
    random = np.random.default_rng(7)

    # kill -9 at a random moment of the training
    process = commands.start(FILE, *ARGS, "--out", out)
    wait_for(process, lambda: steps_in(checkpoints))
    time.sleep(random.uniform(0, 0.3))
    kill(process)
    assert process.returncode == -signal.SIGKILL
    first = max(steps_in(checkpoints))
    assert 1 <= first < 24
    assert not (out / "cells" / CELL / "cell.json").exists()

    # kill -9 in the middle of writing a checkpoint
    process = commands.start(FILE, *ARGS, "--out", out, "--resume")
    before = unfinished(checkpoints)
    wait_for(process, lambda: max(steps_in(checkpoints)) > first and unfinished(checkpoints) - before)
    kill(process)
    second = max(steps_in(checkpoints))
    assert first < second < 24

    # SIGTERM: it stops by itself, with a message and a checkpoint of the same step
    process = commands.start(FILE, *ARGS, "--out", out, "--resume")
    wait_for(process, lambda: max(steps_in(checkpoints)) > second)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    third = max(steps_in(checkpoints))
    assert f"stopped after step {third} of 24; everything is saved: continue with the same command and --resume" in output
    assert "Traceback" not in output
    assert second < third < 24

    commands.run(FILE, *ARGS, "--out", out, "--resume")
    part, expected = (folder / "cells" / CELL / "all" for folder in (out, reference))
    assert_same_bits(part, expected)
    with np.load(part / "outcomes.npz") as outcomes:
        assert outcomes["label/audio+image+text/probability"].std() > 1e-3  # the model is not constant
    assert not unfinished(checkpoints)
