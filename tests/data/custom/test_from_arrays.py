"""Data from arrays: kinds, missing cells, sizes, equal cells, folds and held-out groups."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import mmjax.data
from mmjax.data import from_arrays
from mmjax.data.check import check_dataset
from mmjax.data.custom import Captions, Images, KFold, Labels, Scores, Sounds, TagSets, Texts, TimeSeries, Vectors, Videos
from mmjax.data.decode import DataError
from mmjax.data.splits import CrossValidated, check_splits
from tests.data.custom.arrays import IMAGES, LABELS, SERIES, SPLIT, VECTORS, N, everything, gif, png


def inferred(inputs, targets=None):
    data = from_arrays(inputs, targets)
    return {name: type(kind) for name, kind in data.resolved(data.source.read()).items()}


@pytest.mark.parametrize("cells, kind", [
    (IMAGES, Images), (list(IMAGES[..., 0]), Images), ([png(image) for image in IMAGES], Images),
    ([Image.fromarray(image) for image in IMAGES], Images),
    ([np.zeros(300 + row, np.float32) for row in range(N)], Sounds), (np.zeros((N, 5000), np.int16), Sounds),
    ([(np.zeros(50), 8000)] * N, Sounds), (["a red car"] * N, Texts), (np.array(["a red car"] * N), Texts),
    (SERIES, TimeSeries), (np.zeros((N, 7, 2)), TimeSeries), (VECTORS, Vectors), (np.arange(N), Vectors), ([1.5] * N, Vectors),
    (np.zeros((N, 4, 6, 5, 3), np.uint8), Videos), ([gif()] * N, Videos), ([gif(1)] * N, Images),
])  # fmt: skip
def test_kinds_of_inputs(cells, kind):
    assert inferred({"x": cells}) == {"x": kind}
    with_missing = [None, *list(cells)[1:]]
    assert inferred({"x": with_missing}) == {"x": kind}


@pytest.mark.parametrize("cells, kind", [
    (LABELS, Labels), (np.arange(N), Labels), ([True, False] * 5, Labels), (["a dog"] * N, Labels),
    (np.arange(N) / 2, Scores), ([1.0, None] * 5, Scores), (np.zeros((N, 2)), Scores),
    ([{"x"}, set()] * 5, TagSets), ([["x", "y"]] * N, TagSets), (np.eye(N, dtype=int), TagSets),
    ([f"a dog with {row} hats" for row in range(N)], Captions),
])  # fmt: skip
def test_kinds_of_targets(cells, kind):
    assert inferred({"x": VECTORS}, {"y": cells})["y"] is kind


def test_every_kind_at_once():
    dataset = everything().load()
    check_dataset(dataset)
    assert check_splits(dataset)
    assert {name: len(rows) for name, rows in dataset.splits.items()} == {"train": 6, "validation": 2, "test": 2}
    rows = dataset.splits["train"]
    # all texts of training: word0, word1, word2 twice each, "and", "more"; the longest sound has 1300 samples at 8 kHz
    assert rows.pointer["text"].tolist() == [0, 1, 2, 0, 1, 2]
    assert dataset.columns["text"].count == 3
    assert dataset.classes == {"label": ("a", "b"), "tags": ("old", "wet")}
    assert rows.targets["label"].tolist() == [1, 0, 1, 0, 1, 0]
    np.testing.assert_array_equal(rows.targets["score"], np.array([0.5, np.nan, 0, 1, 2, 3], np.float32))
    assert rows.targets["tags"].tolist() == [[0, 1], [1, 1], [0, 0], [-1, -1], [1, 0], [1, 0]]
    sizes = dataset.sizes
    assert sizes["image"] == {"size": 4, "channels": 4} and sizes["series"] == {"steps": 6, "channels": 2}
    assert sizes["video"] == {"frames": 8, "size": 64, "channels": 4} and sizes["vector"] == {"width": 3}
    # window 640 and hop 480 samples: 1300 samples at 8 kHz are 2600 at 16 kHz, so 1 + (2600 - 640) // 480 = 5 frames
    assert sizes["audio"] == {"bands": 40, "frames": 5}
    assert dataset.dropped == {"audio: sounds truncated to 0.1625 s": 4}
    caption = rows.targets["caption"]
    assert caption.shape == (6, sizes["caption"]["length"]) and caption.min() >= -1
    assert dataset.metadata["test"]["caption"].tolist() == ["a dog with 8 hats", "a dog with 9 hats"]


@pytest.mark.parametrize("missing", [None, np.nan])
def test_missing_cells_are_missing_modalities_and_targets(missing):
    series = [missing if row in (1, 7) else np.full((3, 2), row, float) for row in range(N)]
    labels = [None if row == 2 else "ab"[row % 2] for row in range(N)]
    dataset = from_arrays({"series": series}, {"label": labels}, split=SPLIT).load()
    assert dataset.splits["train"].pointer["series"].tolist() == [0, -1, 1, 2, 3, 4]
    assert dataset.splits["validation"].pointer["series"].tolist() == [5, -1]
    assert dataset.splits["train"].targets["label"].tolist() == [0, 1, -1, 1, 0, 1]


def test_equal_cells_are_one_item_and_one_group():
    images = IMAGES.copy()
    images[9] = images[0]
    dataset = from_arrays({"image": images}, {"label": LABELS}).load()
    assert dataset.columns["image"].count == 9
    of = {str(i): (split, int(g)) for split, m in dataset.metadata.items() for i, g in zip(m["id"], m["group"])}
    assert of["1"] == of["10"]
    assert check_splits(dataset)


def test_equal_content_across_a_given_split_is_counted():
    images = IMAGES.copy()
    images[9] = images[0]
    for groups in (range(N), None):
        dataset = from_arrays({"image": images}, {"label": LABELS}, groups=groups, split=SPLIT).load()
        assert check_splits(dataset)
        with pytest.warns(UserWarning, match="1 of 2 rows of the test split have 'image' equal to that of 1 training rows"):
            check_dataset(dataset)


def test_folds_hold_each_group_out_once():
    groups = ["anna", "anna", "ben", "ben", "cleo", "cleo", "dan", "dan", "eva", "eva"]
    data = from_arrays({"vector": VECTORS}, {"label": LABELS}, groups=groups, ids=[f"r{row}" for row in range(N)])
    assert isinstance(data, CrossValidated) and data.folds == 5
    tested = []
    for fold in range(5):
        dataset = data.at_fold(fold).load()
        assert check_splits(dataset)
        tested += dataset.metadata["test"]["id"].tolist()
        assert dataset.splits["test"].targets["label"].tolist() == [1, 0]  # stratified: one of each class
    assert sorted(tested) == sorted(f"r{row}" for row in range(N))
    assert dataclasses.replace(data, split=KFold(3)).folds == 3


def test_held_out_groups_and_validation_from_the_training_groups():
    groups = ["anna", "ben", "cleo", "dan", "eva"] * 2
    dataset = from_arrays({"vector": VECTORS}, groups=groups, split={"test": ["eva"], "validation": "ben"}).load()
    assert {split: set(np.array(groups)[m["id"].astype(int) - 1]) for split, m in dataset.metadata.items()} == {
        "train": {"anna", "cleo", "dan"}, "validation": {"ben"}, "test": {"eva"}
    }  # fmt: skip
    data = from_arrays({"vector": VECTORS}, groups=groups, split={"test": "eva"})
    dataset = data.load()
    assert len(dataset.splits["validation"]) == 2 and len(dataset.splits["train"]) == 6
    with pytest.raises(DataError, match="no folds for cross-validation"):
        data.at_fold(1)


def test_pandas_columns():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"age": [1.0, None, *range(8)], "label": LABELS}, index=range(5, 15))
    dataset = from_arrays({"age": frame["age"]}, {"label": frame["label"]}, split=SPLIT).load()
    assert dataset.splits["train"].pointer["age"].tolist() == [0, -1, 1, 0, 2, 3]  # 1.0 occurs twice
    assert dataset.splits["train"].targets["label"].tolist() == [1, 0, 1, 0, 1, 0]


def test_imports_are_lazy():
    code = "import sys, mmjax.data; assert 'from_arrays' in dir(mmjax.data); print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    assert mmjax.data.__all__ == ["from_arrays", "from_manifest"]
    with pytest.raises(AttributeError, match="from_nothing"):
        mmjax.data.from_nothing  # noqa: B018
