"""Means over corruptions."""

import numpy as np
import pytest

from mmjax.audit.robustness import _conclusions, _means
from mmjax.evaluate.statistics import estimates
from mmjax.metrics import classification
from mmjax.types import Metric

ACCURACY = {"accuracy": Metric(classification.accuracy)}


@pytest.fixture(scope="module")
def level():
    """Number of wrong answers, the first ones of 20 -> the accuracy."""

    def accuracy(wrong):
        outcomes = {"label": np.zeros((1, 20), np.int32), "predicted": np.int32(np.arange(20) < wrong)[None]}
        return estimates(ACCURACY, outcomes, np.ones(20), np.arange(20))["accuracy"]

    return accuracy


def test_means_are_within_the_bounds_and_of_one_corruption_the_corruption(level):
    clean, worse = level(0), level(1)
    curves = {"image: noise": [clean, worse], "text: typos": [clean, worse], "text: drops": [clean, clean]}
    means = _means(curves, ["image", "text"])
    assert means["image"] == [clean, worse]
    found = means["text"][1]
    assert found.mean == pytest.approx(0.975) and found.high == 1.0 and 0.8 < found.low < 0.975


def test_corruptions_that_change_no_outcome_are_identical(level):
    clean, worse = level(0), level(9)
    same, other = ({"text: typos": [clean, of], "text: drops": [clean, clean]} for of in (clean, worse))
    for curves, verdict in ((same, "identical"), (other, "worse")):
        (text,) = _conclusions("accuracy", curves, _means(curves, ["text"]), clean)
        assert f"({verdict})" in text
