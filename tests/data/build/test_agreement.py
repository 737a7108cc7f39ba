"""Krippendorff's published example, hand-derived values, and scikit-learn."""

import math

import numpy as np
import pytest

from mmjax.data.build.agreement import cohen_kappa, krippendorff_alpha, pairwise_kappas
from mmjax.data.build.label_errors import label_errors
from mmjax.data.decode import DataError

N = None
PUBLISHED = [  # Krippendorff (2011), section C: four observers, twelve units
    [1, 2, 3, 3, 2, 1, 4, 1, 2, N, N, N],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, N, 3],
    [N, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, N],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, N],
]


@pytest.mark.parametrize(("scale", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_krippendorffs_published_example(scale, alpha):
    assert krippendorff_alpha(PUBLISHED, scale) == pytest.approx(alpha, abs=5e-4)
    texts = [["" if value is None else str(value) for value in own] for own in PUBLISHED]
    assert krippendorff_alpha(texts, scale) == pytest.approx(alpha, abs=5e-4)


def test_alpha_by_hand():
    # Units aa, ab: values a a a b. Observed disagreement: the unit ab counts 2 of 4 -> 1/2. Expected: pairs of different values
    # among the 4 values, 2 * 3 * 1 / (4 * 3) = 1/2. alpha = 1 - 1 = 0.
    assert krippendorff_alpha([["a", "a"], ["a", "b"]]) == pytest.approx(0)
    assert krippendorff_alpha([["a", "b"], ["a", "b"]]) == 1
    assert krippendorff_alpha([["a", "b"], ["b", "a"]]) < 0
    assert math.isnan(krippendorff_alpha([["a", "a"], ["a", "a"]])) and math.isnan(krippendorff_alpha([["a", ""], ["", "a"]]))


@pytest.mark.parametrize("weights", ["none", "linear", "quadratic"])
@pytest.mark.parametrize("seed", range(3))
def test_kappa_is_that_of_scikit_learn(weights, seed):
    from sklearn.metrics import cohen_kappa_score

    rng = np.random.default_rng(seed)
    a = rng.integers(0, 4, 50)
    b = np.where(rng.random(50) < 0.6, a, rng.integers(0, 4, 50))
    expected = cohen_kappa_score(a, b, weights=None if weights == "none" else weights)
    assert cohen_kappa(a.tolist(), b.tolist(), weights) == pytest.approx(expected)


def test_kappa_by_hand():
    # 2 x 2 table [[20, 5], [10, 15]] (Cohen's textbook case): observed .7, expected .5 -> .4
    a = ["y"] * 25 + ["n"] * 25
    b = ["y"] * 20 + ["n"] * 5 + ["y"] * 10 + ["n"] * 15
    assert cohen_kappa(a, b) == pytest.approx(0.4)
    assert cohen_kappa([*a, "y", None], [*b, "", "n"]) == pytest.approx(0.4)  # missing ratings
    assert math.isnan(cohen_kappa(["y"], ["y"]))
    assert pairwise_kappas([a, b, a]) == {(0, 1): pytest.approx(0.4), (0, 2): 1.0, (1, 2): pytest.approx(0.4)}


def test_bad_ratings_are_one_line():
    with pytest.raises(DataError, match="a rating is 'good'; the scale 'interval' needs numbers"):
        krippendorff_alpha([["good", "1"], ["1", "1"]], "interval")
    with pytest.raises(DataError, match="scale is 'ratio'"):
        krippendorff_alpha([[1], [1]], "ratio")
    with pytest.raises(DataError, match=r"raters have \[1, 2\] ratings"):
        krippendorff_alpha([[1], [1, 2]])
    with pytest.raises(DataError, match="3 and 2 ratings"):
        cohen_kappa([1, 2, 3], [1, 2])
    with pytest.raises(DataError, match="weights is 'cubic'"):
        cohen_kappa([1], [1], "cubic")


def test_confident_learning_by_hand():
    # Thresholds: class 0: mean of .9, .8, .1 = .6; class 1: mean of .7, .9, .4 = .667.
    # Row 2 (label 0): p1 = .9 >= .667 -> off the diagonal. Row 5 (label 1): p0 = .6 reaches .6 -> off the diagonal, less sure.
    labels = np.array([0, 0, 0, 1, 1, 1])
    p0 = np.array([0.9, 0.8, 0.1, 0.3, 0.1, 0.6])
    found = label_errors(labels, np.stack([p0, 1 - p0], axis=1))
    np.testing.assert_array_equal(found.joint, [[2, 1], [1, 2]])
    np.testing.assert_array_equal(found.rows, [2, 5])
    np.testing.assert_array_equal(found.suggested, [1, 0])


def test_candidates_are_planted_label_errors():
    """A wrong label is found if the model is as sure of the true class as it is on average: for about half of them."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 300)
    probabilities = np.eye(3)[truth] * 2 + rng.random((300, 3))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    wrong = rng.permutation(300)[:20]
    labels = truth.copy()
    labels[wrong] = (truth[wrong] + 1) % 3
    found = label_errors(labels, probabilities)
    assert set(found.rows.tolist()) <= set(wrong.tolist()) and len(found.rows) >= 8
    np.testing.assert_array_equal(found.suggested, truth[found.rows])


def test_label_errors_of_other_shapes():
    with pytest.raises(DataError, match=r"must be \[n\] and \[n, classes\]"):
        label_errors(np.zeros(3, int), np.zeros((2, 2)))
    with pytest.raises(DataError, match=r"must lie in \[0, 2\)"):
        label_errors(np.array([2]), np.ones((1, 2)))
