"""The simulation of scripts/coverage_of_pairs.py."""

import importlib.util
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def coverage():
    path = Path(__file__).resolve().parents[2] / "scripts" / "coverage_of_pairs.py"
    spec = importlib.util.spec_from_file_location("coverage_of_pairs", path)
    module = sys.modules["coverage_of_pairs"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_intervals_contain_the_truth_if_both_groups_count(coverage):
    found = coverage.simulate(coverage.REGIMES["20 groups of 6, correlation 0.8"], 200)
    assert found["pairs"] >= 0.91 and found["groups"] <= 0.87  # 95 % and 80 %, with 2 to 3 standard errors


def test_the_simulation_prints_its_table(coverage, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["coverage_of_pairs.py", "20 groups", "--tables", "2"])
    coverage.main()
    printed = capsys.readouterr().out
    assert printed.count("| 20 groups of 6, correlation ") == 3 and "2 tables of each regime, seed 0" in printed
