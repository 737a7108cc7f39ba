"""Folds keep groups whole and labels mixed and depend on the seed; splits with a common id or group are refused."""

import numpy as np
import pytest

from mmjax.data.dataset import Dataset, Rows
from mmjax.data.decode import DataError
from mmjax.data.splits import check_splits, grouped_folds, train_validation_test


def random_task(seed: int, n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Groups of 1 to about 6 examples and four labels, one of them rare; most groups share a label."""
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


def test_folds_depend_on_the_seed():
    groups, labels = random_task(0)
    np.testing.assert_array_equal(grouped_folds(groups, labels, seed=3), grouped_folds(groups, labels, seed=3))
    assert (grouped_folds(groups, labels, seed=3) != grouped_folds(groups, labels, seed=4)).any()


def test_folds_do_not_depend_on_the_numbers_of_the_groups():
    groups, labels = random_task(1)
    np.testing.assert_array_equal(grouped_folds(groups, labels), grouped_folds(7 * groups + 100, labels))


def test_every_example_is_in_one_split():
    splits = train_validation_test(np.array([0, 1, 2, 0, 1, 2]), 2)
    found = {split: indices.tolist() for split, indices in splits.items()}
    assert found == {"train": [1, 4], "validation": [0, 3], "test": [2, 5]}  # fold 0 follows the last fold


@pytest.mark.parametrize("arguments, message", [
    (dict(groups=np.zeros(3), labels=np.zeros(4)), "groups .* labels"),
    (dict(groups=np.zeros((3, 2)), labels=np.zeros((3, 2))), "one dimension"),
    (dict(groups=np.arange(3), labels=np.zeros(3), folds=1), r"folds is 1; it must lie in \[2, 3\]"),
    (dict(groups=np.arange(3), labels=np.zeros(3), folds=4), r"folds is 4; it must lie in \[2, 3\]"),
    (dict(groups=np.arange(3), labels=np.zeros(3), folds=2, seed=-1), "seed of the split is -1"),
])
def test_bad_folds_are_refused(arguments, message):
    with pytest.raises(DataError, match=message):
        grouped_folds(**arguments)


@pytest.mark.parametrize("fold_of, fold, message", [
    ([0, 1, 2], 3, "fold is 3"), ([0, 1, 2], -1, "fold is -1"), ([0, 1], 0, "2 folds"), ([], 0, "folds_of has shape"),
])
def test_bad_splits_are_refused(fold_of, fold, message):
    with pytest.raises(DataError, match=message):
        train_validation_test(np.array(fold_of), fold)


def dataset(**metadata):
    """Splits of two rows with this metadata."""
    splits = {split: Rows({}, {}, np.ones(2, np.float32)) for split in metadata}
    return Dataset({}, splits, {split: {k: np.array(v) for k, v in columns.items()} for split, columns in metadata.items()}, "")


def test_splits_without_a_common_id_or_group_are_leak_free():
    """Ids may repeat within a split: a stamp has a row per clip."""
    assert check_splits(dataset(train={"id": ["a", "a"], "group": [1, 1]}, test={"id": ["b", "c"], "group": [2, 3]}))


def test_without_groups_nothing_is_claimed():
    assert not check_splits(dataset(train={"id": ["a", "b"], "group": [1, 1]}, test={"id": ["c", "d"]}))


@pytest.mark.parametrize("test, message", [
    ({"id": ["a", "c"], "group": [2, 3]}, "id 'a' is in the splits 'train' and 'test'; an example belongs to one split"),
    ({"id": ["a", "c"]}, "id 'a' is in the splits 'train' and 'test'"),
    ({"id": ["c", "d"], "group": [3, 2]}, "group 2 is in the splits 'validation' and 'test'; a group belongs to one split"),
    ({"group": [5, 6]}, "the metadata of the test split have no 'id' column"),
])
def test_a_common_id_or_group_is_refused(test, message):
    train, validation = {"id": ["a", "b"], "group": [1, 1]}, {"id": ["x", "y"], "group": [2, 2]}
    with pytest.raises(DataError, match=message):
        check_splits(dataset(train=train, validation=validation, test=test))
