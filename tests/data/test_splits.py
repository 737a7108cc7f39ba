"""Folds: groups stay whole, labels stay mixed, the seed decides, and errors name what is wrong."""

import numpy as np
import pytest

from mmjax.data.splits import grouped_folds, train_validation_test


def random_task(seed: int, n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Groups of 1 to about 6, labels with one of them rare; a group mostly shares its label."""
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, n // 3, n)
    label_of_group = rng.choice(4, n // 3, p=[0.5, 0.3, 0.15, 0.05])
    labels = np.where(rng.random(n) < 0.9, label_of_group[groups], rng.integers(0, 4, n))
    return groups, labels


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("folds", [2, 5])
def test_no_group_crosses_and_every_fold_is_used(seed, folds):
    groups, labels = random_task(seed)
    fold_of = grouped_folds(groups, labels, folds, seed)
    assert fold_of.shape == groups.shape and set(fold_of) == set(range(folds))
    for group in set(groups.tolist()):
        assert len(set(fold_of[groups == group].tolist())) == 1


@pytest.mark.parametrize("seed", range(4))
def test_labels_are_spread_evenly(seed):
    """With groups of about three, a fold's share of a label differs from a fifth by about one group at most."""
    groups, labels = random_task(seed)
    fold_of = grouped_folds(groups, labels, 5, seed)
    largest = np.bincount(groups).max()
    for label in range(4):
        counts = np.bincount(fold_of[labels == label], minlength=5)
        assert counts.max() - counts.min() <= largest
    sizes = np.bincount(fold_of)
    assert sizes.max() - sizes.min() <= 2 * largest


def test_single_examples_divide_exactly():
    """20 groups of one example, two labels of ten: every one of five folds must get two of each."""
    fold_of = grouped_folds(np.arange(20), np.repeat(["cat", "dog"], 10))
    for label in (slice(0, 10), slice(10, 20)):
        np.testing.assert_array_equal(np.bincount(fold_of[label]), [2] * 5)


def test_the_seed_decides():
    groups, labels = random_task(0)
    np.testing.assert_array_equal(grouped_folds(groups, labels, seed=3), grouped_folds(groups, labels, seed=3))
    assert (grouped_folds(groups, labels, seed=3) != grouped_folds(groups, labels, seed=4)).any()


def test_names_of_groups_do_not_matter():
    groups, labels = random_task(1)
    np.testing.assert_array_equal(grouped_folds(groups, labels), grouped_folds(7 * groups + 100, labels))


def test_every_example_has_one_place():
    fold_of = np.array([0, 1, 2, 0, 1, 2])
    split = train_validation_test(fold_of, 2)
    assert split.test.tolist() == [2, 5]
    assert split.validation.tolist() == [0, 3]  # the fold after the last is the first
    assert split.train.tolist() == [1, 4]


@pytest.mark.parametrize("arguments, message", [
    (dict(groups=np.zeros(3), labels=np.zeros(4)), "groups .* labels"),
    (dict(groups=np.zeros((3, 2)), labels=np.zeros((3, 2))), "one dimension"),
    (dict(groups=np.arange(3), labels=np.zeros(3), folds=1), "folds is 1"),
    (dict(groups=np.arange(3), labels=np.zeros(3), folds=4), "groups has 3 different values"),
])
def test_folds_that_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        grouped_folds(**arguments)


@pytest.mark.parametrize("fold_of, fold, message", [
    ([0, 1, 2], 3, "fold is 3"), ([0, 1, 2], -1, "fold is -1"), ([0, 1], 0, "2 folds"), ([], 0, "folds_of has shape"),
])
def test_splits_that_cannot_be(fold_of, fold, message):
    with pytest.raises(ValueError, match=message):
        train_validation_test(np.array(fold_of), fold)
