"""A sweep by submitit's local executor: a job per cell and fold, one table, finished jobs are kept, and failed ones named."""

import os
import runpy
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest

import mmjax
from mmjax.machine import GPUS
from mmjax.runs.read import read_run
from tests.end_to_end.launched import ROOT

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow]
FILE = ROOT / "tests" / "end_to_end" / "sweep_cells.py"


def sweep(*args: object) -> tuple[int, str]:
    command = [sys.executable, "-m", "mmjax.sweep", FILE, *map(str, args)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "XLA_FLAGS": ""}, capture_output=True, text=True, timeout=600)
    return done.returncode, done.stdout + done.stderr


def test_a_job_per_cell_and_fold_and_one_table(tmp_path, monkeypatch):
    """The collected run is that of one command. Jobs that run at the same time have their own cores."""
    out = tmp_path / "run"
    flags = ["--seeds", 2, "--out", out, "--at-once", 2]
    code, output = sweep("both", "--folds", "all", *flags)
    assert code == 0 and "Traceback" not in output, output
    jobs = out.with_name("run.jobs")
    cores = sorted(os.sched_getaffinity(0))
    half = len(cores) // 2
    parts = [cores[:half], cores[half : 2 * half]] if half else [cores]
    lines = [line for log in (jobs / "logs").glob("*_log.out") for line in log.read_text().splitlines()]
    said = {line for line in lines if line.startswith("cores ")}
    assert said == {f"cores {' '.join(map(str, part))} gpus {os.environ.get(GPUS)}" for part in parts}
    monkeypatch.syspath_prepend(FILE.parent)
    cells = {"both": runpy.run_path(str(FILE))["ABLATIONS"]["both"]}
    mmjax.run(cells, folds="all", seeds=2, out=tmp_path / "together", quiet=True)
    found, together = read_run(out), read_run(tmp_path / "together")
    assert found.results["cells"]["both"]["folds"] == [0, 1, 2]
    for name in ("tasks", "data", "comparisons"):
        assert same(found.results[name], together.results[name]), name
    ours, theirs = (run.results["cells"]["both"] for run in (found, together))
    assert {name for name in ours if not same(ours[name], theirs[name])} == {"seconds"}
    assert [example["id"] for example in found.examples()] == [example["id"] for example in together.examples()] != []
    assert (out / "report.html").is_file()

    trained = jobs / "both" / "fold1" / "cells" / "both" / "fold1" / "outcomes.npz"
    before = trained.stat().st_mtime_ns
    code, output = sweep("both", "arm", "diverges", "--folds", 1, *flags)
    assert code == 1 and "fold 1 of cell diverges failed; its output is in" in output, output
    assert trained.stat().st_mtime_ns == before
    assert (out / "cells" / "both" / "fold1" / "outcomes.npz").read_bytes() == trained.read_bytes()
    results = read_run(out).results
    assert read_run(out).shown("both") == {}  # the examples are of fold 0
    assert {name: cell["folds"] for name, cell in results["cells"].items()} == {"both": [1], "arm": [1]}
    assert "arm" in {verdict["against"] for verdict in results["cells"]["both"]["tasks"]["label"]["verdicts"]}


def same(one: Any, other: Any) -> bool:
    """Equal JSON, numbers up to rounding: the programs of the jobs have other threads."""
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == (pytest.approx(other, rel=1e-4, abs=1e-6) if isinstance(one, float) else other)


def test_mistakes_are_one_line(tmp_path):
    cell = "there is no cell 'bohth'; did you mean both?"
    for args, message in (("bohth", cell), ("--setps 3", "did you mean --steps?"), ("--folds 3", "a fold from 0 to 2")):
        code, output = sweep(*args.split(), "--out", tmp_path / "run")
        assert code == 2 and message in output and len(output.strip().splitlines()) == 1, output
    assert not list(tmp_path.iterdir())
