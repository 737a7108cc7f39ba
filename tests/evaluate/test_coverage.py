"""The simulation of scripts/coverage.py: verdicts are rarely false, and its tables are printed."""

import importlib.util
import sys
from pathlib import Path

import pytest

from mmjax.metrics import classification
from mmjax.types import Metric

ACCURACY = {"accuracy": Metric(classification.accuracy)}


@pytest.fixture(scope="module")
def coverage():
    path = Path(__file__).resolve().parents[2] / "scripts" / "coverage.py"
    spec = importlib.util.spec_from_file_location("simulated_coverage", path)
    module = sys.modules["simulated_coverage"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_verdicts_are_rarely_false_where_two_seeds_dominate(coverage):
    found = coverage.simulate(coverage.REGIMES["40 groups, 2 seeds, seeds dominate"], 250, ACCURACY)
    assert found["accuracy"]["verdicts"] <= 0.075  # 5 % and two standard errors
    assert found["former"]["verdicts"] >= 0.12  # the percentile interval that this rule replaced


def test_the_simulation_prints_its_tables(coverage, monkeypatch, capsys):
    monkeypatch.setattr(coverage, "METRICS", {"Pearson": coverage.METRICS["Pearson"]})
    monkeypatch.setattr(coverage, "MANY_UNITS", 200)
    monkeypatch.setattr(coverage, "MANY_SEEDS", 3)
    monkeypatch.setattr(sys, "argv", ["coverage.py", "12 groups, equal", "--tables", "2"])
    coverage.main()
    printed = capsys.readouterr().out
    assert "| regime | Pearson | accuracy, former rule |" in printed and "2 tables of each regime, seed 0" in printed
