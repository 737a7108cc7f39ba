"""A sweep by submitit's local executor: a job per cell, one table, finished cells are kept, and failed ones are named."""

import os
import subprocess
import sys
import time

import pytest

from mmjax.runs.read import read_run
from tests.end_to_end.launched import ROOT

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow]
FILE = ROOT / "tests" / "end_to_end" / "sweep_cells.py"


def sweep(*args: object) -> tuple[int, str]:
    command = [sys.executable, "-m", "mmjax.sweep", FILE, *map(str, args)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "XLA_FLAGS": ""}, capture_output=True, text=True, timeout=600)
    return done.returncode, done.stdout + done.stderr


def test_a_job_per_cell_and_one_table(tmp_path):
    out = tmp_path / "run"
    flags = ["--seeds", 2, "--out", out, "--at-once", 2]
    code, output = sweep(*flags)
    assert code == 0 and "Traceback" not in output, output
    results = read_run(out).results
    assert list(results["cells"]) == ["both", "arm"]
    rivals = {verdict["against"] for verdict in results["cells"]["both"]["tasks"]["label"]["verdicts"]}
    assert "arm" in rivals and (out / "report.html").is_file()
    trained = out.with_name("run.jobs") / "both" / "cells" / "both" / "all" / "outcomes.npz"
    before = trained.stat().st_mtime_ns
    assert (out / "cells" / "both" / "all" / "outcomes.npz").read_bytes() == trained.read_bytes()

    code, output = sweep("both", "diverges", *flags)
    assert code == 1 and "cell diverges failed; its output is in" in output, output
    assert trained.stat().st_mtime_ns == before < time.time_ns()
    assert set(read_run(out).results["cells"]) == {"both", "arm"}


def test_mistakes_are_one_line(tmp_path):
    for args, message in (("bohth", "there is no cell 'bohth'; did you mean both?"), ("--setps 3", "did you mean --steps?")):
        code, output = sweep(*args.split(), "--out", tmp_path / "run")
        assert code == 2 and message in output and len(output.strip().splitlines()) == 1, output
    assert not list(tmp_path.iterdir())
