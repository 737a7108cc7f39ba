"""Two processes with one device each train as one process with two; larger ones are slow tests in end_to_end/."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.conftest import QUICK
from tests.train.shared_training import train

ROOT = Path(__file__).parents[2]


def test_two_processes_train_as_one(tmp_path):
    """Each makes and stores its half of the state and reads its rows; both write one checkpoint."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    flags = f"--xla_force_host_platform_device_count=1 {QUICK}"
    start = lambda number: subprocess.Popen(
        [sys.executable, "-m", "tests.train.shared_training", address, str(number), tmp_path],
        cwd=ROOT,
        env=os.environ | {"XLA_FLAGS": flags},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    both = [start(number) for number in range(2)]
    try:
        expected = train(tmp_path / "alone")
        outputs = [process.communicate(timeout=300)[0] for process in both]
    finally:
        for process in both:
            process.kill()
            process.wait()
    assert [process.returncode for process in both] == [0, 0], outputs
    with np.load(tmp_path / "result.npz") as found:
        assert set(found.files) == set(expected)
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-6, err_msg=name)
