"""Every data set is checked before training: ranges, shapes, finite values and content that splits share."""

import dataclasses
import warnings

import numpy as np
import pytest

from mmjax.data.check import check_dataset
from mmjax.data.dataset import Column, Dataset, Rows, identity
from mmjax.data.decode import DataError
from mmjax.types import Padded

N = 12  # items; four rows per split
SERIES = np.random.default_rng(0).normal(size=(N, 4, 5)).astype(np.float32)
TOKENS = np.arange(N * 3, dtype=np.int32).reshape(N, 3)


def dataset(series=SERIES, tokens=TOKENS, **changes):
    """Modalities "series" and "text", targets "label" (two classes) and "score"; row k of all has item k."""
    columns = {
        "series": Column(N, series.__getitem__, identity),
        "text": Column(N, lambda i: Padded(tokens[i], np.int32(3)), identity),
    }
    splits, metadata = {}, {}
    for number, split in enumerate(("train", "validation", "test")):
        at = np.arange(4 * number, 4 * number + 4)
        targets = {"label": (at % 2).astype(np.int32), "score": at.astype(np.float32)}
        splits[split] = Rows({"series": at.copy(), "text": at.copy()}, targets, np.ones(4, np.float32))
        metadata[split] = {"id": np.array([f"r{i}" for i in at]), "group": at}
    return dataclasses.replace(
        Dataset(columns, splits, metadata, "", classes={"label": ("no", "yes")}), **changes
    )


def with_rows(data, split, **parts):
    """The data with other pointers, targets or weights in one split."""
    rows = data.splits[split]
    merged = {name: {**getattr(rows, name), **value} if isinstance(value, dict) else value for name, value in parts.items()}
    return dataclasses.replace(data, splits={**data.splits, split: rows.replace(**merged)})


def changed(array, index, value):
    array = array.copy()
    array[index] = value
    return array


GOOD = dataset()
BAD = {
    "a split is missing": (
        dataset(splits={name: GOOD.splits[name] for name in ("train", "test")}),
        "no validation split; they need train, validation, test, and have train, test",
    ),
    "no columns": (dataset(columns={}), "no modality"),
    "no ids": (dataset(metadata={**GOOD.metadata, "test": {"group": np.arange(4)}}), "the test split have no 'id'"),
    "metadata of another length": (
        dataset(metadata={**GOOD.metadata, "test": {**GOOD.metadata["test"], "speaker": np.array(["a"])}}),
        "'speaker' of the test split has 1 entries, and 'id' 4",
    ),
    "weight NaN": (
        with_rows(GOOD, "train", weight=np.array([1, np.nan, 1, 1], np.float32)), r"train split, row 1 \(r1\): weight is nan"
    ),
    "weight below 0": (with_rows(GOOD, "test", weight=np.array([1, 1, 1, -1], np.float32)), r"row 3 \(r11\): weight is -1"),
    "weight 0": (with_rows(GOOD, "test", weight=np.zeros(4, np.float32)), "weight of the test split is 0 everywhere"),
    "training weight": (dataset(training_weight=np.ones(3, np.float32)), r"training_weight .*float32\[3\]; it must be Float"),
    "pointer above": (
        with_rows(GOOD, "validation", pointer={"series": np.array([4, 5, 12, 7])}),
        r"validation split, row 2 \(r6\): it points to item 12 of 'series'; items are 0 to 11",
    ),
    "pointer below": (with_rows(GOOD, "test", pointer={"text": np.array([8, -2, 10, 11])}), r"row 1 \(r9\): .* item -2 "),
    "pointer of floats": (with_rows(GOOD, "test", pointer={"text": np.ones(4)}), r"'text' of the test split is float64\[4\]"),
    "unknown modality": (with_rows(GOOD, "test", pointer={"smell": np.arange(4)}), "series, smell, text; the columns are"),
    "label above": (
        with_rows(GOOD, "test", targets={"label": np.array([0, 1, 2, 0], np.int32)}),
        r"test split, row 2 \(r10\): target 'label' is 2; it must be 0 to 1",
    ),
    "score infinite": (
        with_rows(GOOD, "train", targets={"score": np.array([0, np.inf, 2, 3], np.float32)}),
        r"train split, row 1 \(r1\): target 'score' is inf",
    ),
    "target of bools": (with_rows(GOOD, "test", targets={"label": np.ones(4, bool)}), "'label' of the test split is bool"),
    "target too short": (with_rows(GOOD, "test", targets={"score": np.ones(3, np.float32)}), "Int or Float with 4 rows"),
    "target of another shape": (
        with_rows(GOOD, "test", targets={"score": np.ones((4, 2), np.float32)}), r"shape \[2\]; that of the training split"
    ),
    "target missing in a split": (with_rows(GOOD, "test", targets={"mood": np.zeros(4)}), "label, mood, score; the training"),
    "NaN": (
        dataset(changed(SERIES, (9, 1, 2), np.nan)),
        r"test split, row 1 \(r9\): its 'series' has nan; all values of a present input must be finite",
    ),
    "an item of another shape": (
        dataset(columns={"series": Column(N, lambda i: SERIES[i, : 4 - (i == 5)], identity), "text": GOOD.columns["text"]}),
        r"validation split, row 1 \(r5\): its 'series' is float32\[3, 5\]; other items are float32\[4, 5\]",
    ),
    "an item that cannot be read": (
        dataset(columns={"series": Column(N, lambda i: {}[i], identity), "text": GOOD.columns["text"]}),
        r"train split, row 0 \(r0\): its 'series' cannot be read \(KeyError: 0\)",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_part_is_named(name):
    data, message = BAD[name]
    with pytest.raises(DataError, match=message) as raised:
        check_dataset(data)
    assert "\n" not in str(raised.value)


def test_good_data_and_missing_values_pass_in_silence():
    absent = with_rows(GOOD, "test", pointer={"series": np.array([8, -1, 10, 11])}, targets={
        "label": np.array([0, -1, 1, 0], np.int32), "score": np.array([np.nan, 1, 2, 3], np.float32)
    })  # fmt: skip
    hidden = dataclasses.replace(absent, columns={**absent.columns, "series": Column(
        N, changed(SERIES, 9, np.nan).__getitem__, identity)})  # fmt: skip
    check_dataset(hidden)  # item 9 is NaN, and no row points to it


def test_multilabel_targets_have_two_values_also_with_one_label():
    tags = {split: {"tags": np.array([[0], [1], [-1], [1]], np.int32)} for split in GOOD.splits}
    data = dataset(classes={"label": ("no", "yes"), "tags": ("wet",)})
    for split in GOOD.splits:
        data = with_rows(data, split, targets=tags[split])
    check_dataset(data)
    with pytest.raises(DataError, match="'tags' is 2; it must be 0 to 1"):
        check_dataset(with_rows(data, "test", targets={"tags": np.array([[0], [2], [0], [0]], np.int32)}))


def test_shared_items_are_counted():
    """Test rows 0 and 1 point to the series of training row 2; token ids alone may be equal."""
    data = with_rows(GOOD, "test", pointer={"series": np.array([2, 2, 10, 11]), "text": np.array([0, 0, 0, 0])})
    with pytest.warns(UserWarning, match="^2 of 4 rows of the test split have 'series' equal to that of 1 training rows"):
        check_dataset(data)


def test_equal_content_of_different_items_is_counted():
    copied = changed(SERIES, 4, SERIES[0])  # row 0 of validation has the series of rows 0 and 1 of training
    with pytest.warns(UserWarning, match="^1 of 4 rows of the validation split have 'series' equal to that of 2 training"):
        check_dataset(dataset(changed(copied, 1, SERIES[0])))


def test_rows_equal_in_all_modalities_are_counted_also_without_media():
    columns = {"text": GOOD.columns["text"]}
    data = dataset(columns=columns)
    for split, rows in GOOD.splits.items():
        at = rows.pointer["text"]
        data = dataclasses.replace(data, splits={**data.splits, split: rows.replace(pointer={"text": at})})
    check_dataset(data)
    with pytest.warns(UserWarning, match="^3 of 4 rows of the test split have inputs of all modalities equal to"):
        check_dataset(with_rows(data, "test", pointer={"text": np.array([0, 0, 1, 11])}))


def test_rows_of_weight_zero_are_not_counted():
    data = with_rows(GOOD, "test", pointer={"series": np.array([2, 9, 10, 11])}, weight=np.array([0, 1, 1, 1], np.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_dataset(data)


def test_at_most_a_bounded_number_of_items_is_read(monkeypatch):
    monkeypatch.setattr("mmjax.data.check.MAX_FLOAT", 3)
    read = []
    column = Column(N, lambda i: (read.append(i), SERIES[i])[1], identity)
    check_dataset(dataset(columns={"series": column, "text": GOOD.columns["text"]}))
    assert read == [0, 0, 6, 11]  # one for its size, then three evenly spaced: round(5.5) = 6
