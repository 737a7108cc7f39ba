"""Every row of scripts/bench.py in its smallest size: all sides compute the same, and every run finishes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks import ROWS, cases_of

pytestmark = pytest.mark.parity

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 1


def test_every_row_compares_and_runs(tmp_path):
    file = tmp_path / "run.json"
    command = [sys.executable, ROOT / "scripts" / "bench.py", "--quick", "--json", file]
    finished = subprocess.run(command, cwd=tmp_path, env=os.environ | {"COLUMNS": "100"}, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stdout[-3000:] + finished.stderr[-3000:]
    found = {(entry["row"], entry["case"]): entry for entry in json.loads(file.read_text())["cases"]}
    expected = {(row, case.name): case for row in ("gemm", "memory", *ROWS) for case in cases_of(row, True, "cpu")}
    assert set(found) == set(expected)
    for name, case in expected.items():
        entry = found[name]
        assert "error" not in entry, name
        assert list(entry["sides"]) == list(case.sides), name
        if not case.sides:
            assert entry["note"], name
            continue
        assert next(iter(case.sides)) == "mmjax" and len(case.sides) > 1, name
        ours = entry["sides"]["mmjax"]
        for side in entry["sides"].values():
            assert len(side["rounds"]) == ROUNDS, name
            assert all(one["wall"] > 0 and one["cpu"] >= 0 for one in side["rounds"]), name
            assert side["parameters"] == ours["parameters"], name
            assert 0 <= side["difference"] <= case.tolerance, name
