"""Classes of equal weight: in training alone, so that floors and scores see the rows as they are."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.test_experiment import DATA, GOOD

from mmjax.data import feed
from mmjax.data.dataset import Rows, equally_weighted
from mmjax.experiment import ExperimentError
from mmjax.experiment.run import _Run

LABEL = np.array([0, 0, 0, 2, 2, -1], np.int32)
WEIGHT = np.array([1, 1, 2, 0.5, 0.5, 0.25], np.float32)
BY_HAND = [0.625, 0.625, 1.25, 1.25, 1.25, 0.25]  # classes weigh 4 and 1, so 2.5 each; no label keeps its own


def test_by_hand():
    rows = Rows({}, {"label": LABEL}, WEIGHT)
    np.testing.assert_allclose(equally_weighted(rows, "label").weight, BY_HAND)
    np.testing.assert_array_equal(rows.weight, np.float32([1, 1, 2, 0.5, 0.5, 0.25]))  # a copy was changed


def test_rows_without_any_label_keep_their_weight():
    rows = Rows({}, {"label": np.full(2, -1, np.int32)}, np.ones(2, np.float32))
    np.testing.assert_array_equal(equally_weighted(rows, "label").weight, 1)


def test_training_alone_sees_them():
    rows = Rows({"image": np.zeros(6, np.int32), "text": np.zeros(6, np.int32)}, {"label": LABEL}, WEIGHT)
    data = replace(DATA, splits=dict.fromkeys(("train", "validation", "test"), rows))
    run = _Run("cell", replace(GOOD, equal_classes="label"), data, feed.fill(data, lambda count: None), {}, None, {}, Path())
    weights = {split: np.asarray(run.feed_of(split)(np.arange(6)).weight) for split in data.splits}
    np.testing.assert_allclose(weights["train"], BY_HAND)
    np.testing.assert_array_equal(weights["validation"], WEIGHT)
    np.testing.assert_array_equal(weights["test"], WEIGHT)
    np.testing.assert_array_equal(data.splits["train"].weight, WEIGHT)  # which is what the floors are fitted on


def test_what_it_cannot_be():
    with pytest.raises(ExperimentError, match=r"equal_classes is 'mood', which the data lack; they have label"):
        replace(GOOD, equal_classes="mood").check(DATA)
    steps = replace(DATA, splits={"train": Rows({}, {"label": np.zeros((2, 3), np.int32)}, np.ones(2, np.float32))})
    with pytest.raises(ExperimentError, match="'label' has labels for steps"):
        replace(GOOD, equal_classes="label").check(steps)
