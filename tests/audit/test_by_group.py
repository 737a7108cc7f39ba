"""Scores by group of a fabricated cell, against sums by hand."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mmjax.audit.audit import NotApplicable
from mmjax.audit.audited import Audited
from mmjax.audit.by_group import Column, _mean_light, _thirds, brightness, columns_of, groups
from mmjax.metrics.classification import accuracy
from mmjax.runs.read import Run
from mmjax.types import Metric, Units

UNITS, SEEDS = 240, 3
RNG = np.random.default_rng(0)
LANGUAGE = np.repeat(["fr", "ru", "es", "la"], [90, 90, 50, 10])  # the last one is small
LABEL = RNG.integers(0, 3, UNITS)
RIGHT = RNG.random((SEEDS, UNITS)) < np.where(LANGUAGE == "ru", 0.3, 0.9)
PREDICTED = np.where(RIGHT, LABEL, (LABEL + 1) % 3)


@pytest.fixture(scope="module")
def audited():
    """What `groups` reads of an `Audited`: units, outcomes and one task's metric."""
    texts = np.array(["a b c d e f"[: 2 * n + 1] for n in RNG.integers(0, 6, UNITS)])
    metadata = {"id": np.arange(UNITS).astype(str), "language": LANGUAGE, "text": texts, "same": np.full(UNITS, "x")}
    rows = np.arange(UNITS)
    units = Units({"label": LABEL}, np.ones(UNITS, np.float32), rows // 2, metadata, rows, rows)
    outcomes = {"label": np.tile(LABEL, (SEEDS, 1)), "predicted": PREDICTED}
    results = {"cells": {"c": {"tasks": {"t": {"complete": "image"}}}}}
    cell = Audited(Run(Path("none"), results), "c", "t")
    task = SimpleNamespace(metrics={"accuracy": Metric(accuracy)})
    blind = outcomes | {"predicted": np.zeros((SEEDS, UNITS), int)}
    cell.__dict__.update({"task": task, "_units": (units, None), "outcomes": {"image": outcomes, "text": blind}})
    return cell


def test_scores_gap_and_worst(audited):
    found = groups(audited, ["language"])
    of = {value: RIGHT[:, value == LANGUAGE].mean(axis=1) for value in ("fr", "ru", "es", "la")}
    for value, expected in of.items():
        assert found.estimates[f"language: {value}"].per_seed == pytest.approx(expected, abs=1e-6)
    large = np.stack([of[value] for value in ("fr", "ru", "es")])
    assert found.estimates["language: gap"].per_seed == pytest.approx(large.max(0) - large.min(0), abs=1e-6)
    assert found.estimates["language: worst"].mean == pytest.approx(of["ru"].mean(), abs=1e-6)
    assert found.values["columns"]["language"]["small"] == ["la"]
    assert "Different from the other units" in found.conclusions[0] and "ru (language)" in found.conclusions[0]
    assert found.values["tests"]["language: ru"]["verdict"] == "worse"
    rest = RIGHT[:, (LANGUAGE != "ru")].mean()
    assert found.values["tests"]["language: ru"]["mean"] == pytest.approx(of["ru"].mean() - rest, abs=1e-6)


def test_scores_of_another_subset(audited):
    found = groups(audited, ["language"], subset="text")  # always predicts class 0
    for value in ("fr", "ru", "es"):
        assert found.estimates[f"language: {value}"].mean == pytest.approx((LABEL[LANGUAGE == value] == 0).mean(), abs=1e-6)
    assert found.title == "accuracy by group with text" and found.panels[0]["title"] == "accuracy by language with text"
    assert groups(audited, ["language"]).title == "accuracy by group"
    with pytest.raises(KeyError, match="no outcomes with 'audio' are in the run; there are those with image, text"):
        groups(audited, ["language"], subset="audio")


def test_rates_are_those_of_the_units(audited):
    found = groups(audited, ["language"])
    share = lambda value, k: (PREDICTED[:, value == LANGUAGE] == k).mean(axis=1)
    selected = np.array([[share(value, k) for value in ("fr", "ru", "es")] for k in range(3)])
    expected = (selected.max(axis=1) - selected.min(axis=1)).max(axis=0)
    assert found.estimates["language: demographic parity difference"].per_seed == pytest.approx(expected, abs=1e-6)


def test_columns_and_intersections(audited):
    assert [column.name for column in columns_of(audited)] == ["language", "words"]
    found = groups(audited)
    assert {"language and words", "language", "words"} == set(found.values["columns"])
    with pytest.raises(KeyError, match="they have id, language, same, text"):
        groups(audited, ["nothing"])
    with pytest.raises(NotApplicable, match="no column"):
        groups(audited, ["same"])
    with pytest.raises(NotApplicable, match="no column has two values"):
        groups(audited, [Column("tiny", np.where(np.arange(UNITS) < 8, "few", np.where(np.arange(UNITS) < 16, "some", "")))])


def test_thirds():
    numbers = np.array([1, 1, 2, 2, 3, 9, np.nan])
    found = _thirds(numbers, np.ones(7), "{:.0f}")
    assert found.tolist() == ["up to 1"] * 2 + ["over 1, up to 2"] * 2 + ["over 2"] * 2 + [""]


def test_brightness_is_the_mean_of_opaque_pixels():
    """Images of one grey each, in thirds; a transparent pixel does not count, and an absent image has no value."""
    grey = lambda value: np.full((2, 2, 3), value, np.uint8)
    half = np.full((1, 2, 4), 255, np.uint8)
    half[0, 1] = 0  # a white pixel, and a transparent black one
    images = [grey(0), grey(51), grey(102), grey(153), grey(204), half, np.zeros((2, 2, 4), np.uint8)]
    assert [_mean_light(image) for image in images[:6]] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert np.isnan(_mean_light(images[6])) and np.isnan(_mean_light(np.ones((2, 2, 3))))
    pointer = np.array([5, 0, 1, -1, 2, 3, 4])
    split = SimpleNamespace(pointer={"image": pointer})
    units = Units({}, np.ones(7, np.float32), np.arange(7), {}, np.arange(7), np.arange(7))
    columns = {"image": SimpleNamespace(original=images.__getitem__), "text": SimpleNamespace(original=None)}
    data = SimpleNamespace(columns=columns, splits={"test": split})
    part = SimpleNamespace(fold=None, dataset=data, units=lambda: units)
    cell = Audited(Run(Path("none"), {}), "c", "t")
    cell.__dict__.update({"parts": (part, part), "_units": (units, None)})
    low, middle, high = "up to 0.20", "over 0.20, up to 0.60", "over 0.60"
    assert brightness(cell).values.tolist() == [high, low, low, "", middle, middle, high]
    with pytest.raises(NotApplicable, match="no original images of 'text'"):
        brightness(cell, "text")
