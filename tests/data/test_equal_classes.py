"""Equally weighted classes in the training loss, by hand."""

import dataclasses
from dataclasses import replace

import numpy as np
import pytest

from mmjax.data.dataset import Column, Dataset, Rows, identity
from mmjax.data.decode import DataError
from mmjax.data.equal_classes import EqualClasses, equal_class_weights
from mmjax.data.splits import CrossValidated, check_splits

LABEL = np.array([0, 0, 0, 2, 2, -1], np.int32)
WEIGHT = np.array([1, 1, 2, 0.5, 0.5, 0.25], np.float32)
BY_HAND = [0.625, 0.625, 1.25, 1.25, 1.25, 0.25]  # the classes weigh 4 and 1, so 2.5 each; a row without a label keeps its own


@dataclasses.dataclass(frozen=True)
class Official:
    """Six rows with an official test split; `fold` only chooses validation, here the fingerprint."""

    fold: int = 0
    folds: int = 4

    def load(self):
        targets = {"label": LABEL, "tags": np.zeros((6, 3), np.int32), "value": np.zeros(6, np.float32)}
        rows = Rows({"x": np.arange(6)}, targets, WEIGHT)
        return Dataset(
            columns={"x": Column(6, lambda i: np.float32(i), identity)},
            splits=dict.fromkeys(("train", "test"), rows),
            metadata={split: {"id": np.array([f"{split} {i}" for i in range(6)])} for split in ("train", "test")},
            fingerprint=f"toy {self.fold}",
            classes={"label": ("a", "b", "c"), "tags": ("x", "y", "z")},
        )


@dataclasses.dataclass(frozen=True)
class Toy(Official):
    """The same rows with folds for cross-validation."""

    def at_fold(self, fold):
        return replace(self, fold=fold)


def test_weights_by_hand():
    weight = WEIGHT.copy()
    np.testing.assert_allclose(equal_class_weights(LABEL, weight), BY_HAND)
    np.testing.assert_array_equal(weight, WEIGHT)  # the argument is unchanged


def test_rows_without_labels_keep_their_weight():
    np.testing.assert_array_equal(equal_class_weights(np.full(2, -1, np.int32), np.ones(2, np.float32)), 1)


def test_only_the_loss_sees_them():
    """Baselines and scores use the splits, whose weights do not change."""
    plain, data = Toy().load(), EqualClasses(Toy()).load()
    np.testing.assert_allclose(data.training_rows.weight, BY_HAND)
    assert data.training_rows.pointer is data.splits["train"].pointer
    for split in ("train", "test"):
        np.testing.assert_array_equal(data.splits[split].weight, WEIGHT)
    np.testing.assert_array_equal(plain.training_rows.weight, WEIGHT)
    assert data.fingerprint != plain.fingerprint and len(data.fingerprint) == 64
    assert data.classes == plain.classes and data.metadata.keys() == plain.metadata.keys()


@pytest.mark.parametrize("target", ["mood", "tags", "value"])
def test_the_target_must_be_one_class_per_row(target):
    with pytest.raises(DataError, match=rf"EqualClasses\.target is '{target}'; the data have one class per row for label"):
        EqualClasses(Toy(), target).load()


def test_folds_are_those_of_the_data():
    data = EqualClasses(Toy())
    assert isinstance(data, CrossValidated) and data.folds == 4 and data.at_fold(2) == EqualClasses(Toy(fold=2))
    assert data.at_fold(2).load().fingerprint != data.load().fingerprint
    assert not check_splits(data.load())  # without groups, leaks between groups cannot be excluded


def test_an_official_test_split_has_no_folds():
    data = EqualClasses(Official())
    for ask in (lambda: data.folds, lambda: data.at_fold(1)):
        with pytest.raises(DataError, match="Official has an official test split, so it has no folds"):
            ask()
