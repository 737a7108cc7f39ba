"""Coverage of conformal sets by group, of a fabricated cell, against counts by hand."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mmjax.audit import prediction_sets
from mmjax.audit.audited import Audited
from mmjax.runs.read import Run
from mmjax.types import Units

# (language, class, units, units that are covered); the last language has too few
TABLE = [("a", 0, 20, 20), ("a", 1, 20, 18), ("b", 0, 20, 10), ("b", 1, 20, 14), ("c", 0, 5, 0)]


def units_of(label, language):
    rows = np.arange(len(label))
    metadata = {"id": rows.astype(str), "language": np.array(language)}
    target = {"label": np.array(label), "name": np.array(["cat", "dog"])[label]}
    return Units(target, np.ones(len(label), np.float32), rows, metadata, rows, rows)


def logits_of(label, probability):
    """One seed, two classes. probability: of the true class."""
    odds = np.log(np.array(probability) / (1 - np.array(probability)))
    return (np.where(np.array(label)[:, None] == np.arange(2), odds[:, None], 0.0))[None], np.array(label)


def test_coverage_of_each_group(monkeypatch):
    """The 19 validation units give the true class 0.6, so sets have all classes of at least 0.6: the true one, or the other."""
    label = [kind for _, kind, count, _ in TABLE for _ in range(count)]
    language = [name for name, _, count, _ in TABLE for _ in range(count)]
    probability = [0.9 if k < covered else 0.2 for _, _, count, covered in TABLE for k in range(count)]
    logits = {"validation": logits_of([0] * 19, [0.6] * 19), "test": logits_of(label, probability)}
    monkeypatch.setattr(prediction_sets, "class_logits", lambda audited, split: {None: logits[split]})
    part = SimpleNamespace(fold=None, units=lambda split: units_of([0] * 19, ["a"] * 19))
    audited = Audited(Run(Path("none"), {}), "c", "t")
    audited.__dict__.update(parts=(part,), _units=(units_of(label, language), None))
    found = prediction_sets.conformal(audited)
    coverage = {name: one.mean for name, one in found.estimates.items()}
    expected = {"language a": 38 / 40, "language b": 24 / 40, "class cat": 30 / 45, "class dog": 32 / 40}
    assert coverage.pop("set size") == 1 and coverage.pop("coverage") == pytest.approx(62 / 85)
    assert coverage == {f"coverage, {name}": pytest.approx(share) for name, share in expected.items()}
    assert "Coverage is below 90% for language b (60%), class cat (67%), corrected for 4 groups" in found.conclusions[1]
    assert not found.warnings
