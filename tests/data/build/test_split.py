"""Splits never divide a group, held-out values are the test split, and the check for leaks fails where there is one."""

import dataclasses

import numpy as np
import pytest

from mmjax.data.build.split import are_numbers, check_leaks, hold_out, split_by_group, strata
from mmjax.data.decode import DataError
from tests.data.build.files import item

GROUPS = np.random.default_rng(0).integers(0, 40, 200)
LABELS = [f"class {k % 3}" for k in range(200)]


@pytest.mark.parametrize("seed", range(20))
def test_no_group_is_divided(seed):
    splits, folds = split_by_group(GROUPS, LABELS, 5, seed % 5, seed)
    for values in (splits, folds.tolist()):
        assert len(set(zip(GROUPS.tolist(), values))) == len(set(GROUPS.tolist()))
    for label in set(LABELS):
        share = np.mean([split == "test" for split, own in zip(splits, LABELS) if own == label])
        assert 0.1 < share < 0.3


def test_seeds_differ_and_repeat():
    first, again, other = (split_by_group(GROUPS, LABELS, 5, 0, seed)[0] for seed in (1, 1, 2))
    assert first == again != other


def test_held_out_values_are_the_test_split():
    values = ["ann", "ann", "ben", "cem", "dee", "eva", "eva"]
    groups = np.array([0, 1, 2, 3, 4, 5, 1])  # the last item, of eva, is a near-duplicate of the second, of ann
    splits = hold_out(values, ["ann"], groups, ["x"] * 7, 5, 0)
    assert splits[:2] == ["test", "test"] and splits[6] == ""
    assert set(splits[2:6]) == {"train", "validation"} and splits.count("test") == 2
    with pytest.raises(DataError, match="no item has the held-out value 'zoe'; the values are ann, ben, cem, dee, eva"):
        hold_out(values, ["zoe"], groups, ["x"] * 7, 5, 0)
    with pytest.raises(DataError, match="fewer than two groups remain"):
        hold_out(values, ["ann", "ben", "cem", "dee"], groups, ["x"] * 7, 5, 0)


def test_strata_of_classes_and_numbers():
    np.testing.assert_array_equal(strata(["b", "a", "b"]), [1, 0, 1])
    assert not are_numbers(["1", "2"] * 30) and are_numbers([str(k / 7) for k in range(50)])
    np.testing.assert_array_equal(np.bincount(strata([str(k / 7) for k in range(50)])), [10] * 5)


def test_the_leak_check_can_fail():
    items = [item(str(k), text=f"text {k}") for k in range(4)]
    splits, groups, none = ["train", "train", "test", ""], np.array([0, 1, 2, 0]), np.zeros((0, 2), np.int64)
    check_leaks(items, splits, groups, none)
    with pytest.raises(DataError, match=r"the group of '2' \(test\) and '1' \(train\)"):
        check_leaks(items, splits, np.array([0, 1, 1, 0]), none)
    with pytest.raises(DataError, match=r"'0' \(train\) and '2' \(test\) are near-duplicates"):
        check_leaks(items, splits, groups, np.array([[0, 1], [0, 2]]))
    check_leaks(items, splits, groups, np.array([[0, 1], [2, 3]]))  # an item that is left out leaks nothing
    items[2] = dataclasses.replace(items[2], parts=items[0].parts)
    with pytest.raises(DataError, match="the content of '2'"):
        check_leaks(items, splits, groups, none)
