"""Precision, recall, density, coverage and variances of points on a line, by hand."""

import numpy as np
import pytest

from mmjax.robust.gan_collapse import fidelity, imputer_spread, neighbour_scores, within_class_variance

LINE = np.array([[0.0], [1.0], [2.0], [3.0]])  # the nearest neighbour of each has distance 1


def test_scores_by_hand():
    """The balls (-1, 1), (0, 2), (1, 3), (2, 4) are open. 0.5 lies in two of them, 10 in none."""
    precision, recall, density, coverage = neighbour_scores(LINE, np.array([[0.5], [10.0]]), k=1)
    assert (precision, density) == (0.5, 1.0)  # (2 + 0) / 2
    assert coverage == 0.5  # the balls of 0 and 1
    assert recall == 1.0  # the balls of the generated points have radius 9.5: (-9, 10) and (0.5, 19.5)


def test_one_repeated_sample_covers_little():
    precision, recall, _, coverage = neighbour_scores(LINE, np.full((4, 1), 0.1), k=1)
    assert (precision, recall, coverage) == (1.0, 0.0, 0.5)  # balls of radius 0 contain nothing; 0.1 is near 0 and 1


def test_two_neighbours():
    """With k = 2 the radii are 2, 1, 1, 2: the balls (-2, 2), (0, 2), (1, 3), (1, 5)."""
    _, _, density, coverage = neighbour_scores(LINE, np.array([[1.5]] * 3), k=2)
    assert (density, coverage) == (2.0, 1.0)  # 4 balls / 2


def test_variance_within_classes_by_hand():
    x, label = np.array([[0.0], [2.0], [10.0], [10.0], [10.0]]), np.array([0, 0, 1, 1, 1])
    assert within_class_variance(x, label) == pytest.approx(2 / 3)  # (1 + 1 + 0) / (1 + 2)


def test_equal_sets_reach_the_reference():
    random = np.random.default_rng(0)
    real, train, x = (random.normal(size=(60, 3)) for _ in range(3))
    label = np.arange(60) % 2
    good = fidelity(real, label, x, label, train)
    assert not good.collapsed and 0.7 < good.variance_ratio < 1.4 and good.reference > 0.8
    collapsed = fidelity(real, label, 0.1 * x, label, train)
    assert collapsed.collapsed and collapsed.variance_ratio == pytest.approx(0.01 * good.variance_ratio)


def test_too_few_rows_are_named():
    with pytest.raises(ValueError, match="5 neighbours need more rows than 4 real and 4 generated ones"):
        neighbour_scores(LINE, LINE)


def test_spread_of_an_imputer_by_hand():
    spread = lambda *x: {"fusion": {"imputer": {"text_spread": np.array(x), "text_average": {"dense": np.zeros(2)}}}}
    found = imputer_spread({"imputer": spread(4.0, 2.0, 1.0)})["text"]
    assert (found.total, found.by_noise, found.collapsed) == (0.5, 0.25, False)
    assert imputer_spread({"imputer": spread(4.0, 0.9, 0.0)})["text"].collapsed
    with pytest.raises(ValueError, match="no GANImputer"):
        imputer_spread({"params": {}})
