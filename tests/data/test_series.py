"""The `.ts` files of the archive: the parser, splits and z-scores by hand; the files of aeon if it is installed."""

import dataclasses
import importlib.util
import io

import jax
import numpy as np
import pytest
from PIL import Image

from mmjax.data import feed
from mmjax.data.dataset import stack
from mmjax.data.decode import DataError
from mmjax.data.series import AeonSeries, find_archive, read_ts
from mmjax.data.splits import CrossValidated, check_splits

HEADER = "#about: 1,2,3\n@problemName Toy\n@timeStamps false\n@dimensions 2\n@classLabel true up down\n@data\n"
REGRESSION = HEADER.replace("@classLabel true up down", "@targetlabel true")
SPLITS = ("train", "validation", "test")


@pytest.fixture
def root(tmp_path):
    """Toy: 2 channels, 12 training and 4 test series of 2 to 4 steps."""
    rng, folder = np.random.default_rng(0), tmp_path / "Toy"
    folder.mkdir()
    for part, count in (("TRAIN", 12), ("TEST", 4)):
        lines = []
        for i in range(count):
            values = rng.normal((5, -2), (2, 3), size=(2 + i % 3, 2)).T
            lines.append(":".join(",".join(f"{v:.4f}" for v in channel) for channel in values) + (":up", ":down")[i % 2])
        (folder / f"Toy_{part}.ts").write_text(HEADER + "\n".join(lines) + "\n")
    return tmp_path


def test_parser():
    series, labels, classes = read_ts((HEADER + "1,2.5,-3:4,5,6:down\r\n\n7:8e-1:up\n").encode(), "toy")
    assert labels == ["down", "up"] and classes == ["up", "down"]
    np.testing.assert_array_equal(series[0], np.array([[1, 4], [2.5, 5], [-3, 6]], np.float32))
    np.testing.assert_array_equal(series[1], np.array([[7, 0.8]], np.float32))
    assert series[0].dtype == np.float32


def test_parser_of_regression_targets():
    series, targets, classes = read_ts((REGRESSION + "1,2:4,5:-0.5\n7:8:3e2\n").encode(), "toy")
    assert targets == [-0.5, 300.0] and classes == [] and series[1].tolist() == [[7, 8]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER + "1,?:2,3:up\n", "toy: example 1 has missing values"),
        (HEADER + "1,2:3,4:up\n1,2:3:up\n", "toy: example 2 .* channels of different length"),
        (HEADER + "1,2:3,4:sideways\n", r"example 1 has the label 'sideways'; it must be one of up, down"),
        (HEADER + "1,nan:3,4:up\n", "example 1 .* damaged"),
        (HEADER, "toy has no examples"),
        (HEADER.replace("@timeStamps false", "@timeStamps true") + "1:2:up\n", "and no time stamps"),
        (HEADER.replace("@classLabel true up down", "@classLabel false") + "1:2\n", "must declare class labels or a target"),
        (REGRESSION.replace("true", "false") + "1:2\n", "must declare class labels or a target"),
        (REGRESSION + "1:2:up\n", "example 1 has the target 'up'; it must be a finite number"),
        (REGRESSION + "1:2:nan\n", "example 1 has the target 'nan'"),
        ("", "must declare class labels"),
    ],
)
def test_damaged_files(text, message):
    with pytest.raises(DataError, match=message):
        read_ts(text.encode(), "toy")


def test_splits_columns_and_z_scores(root):
    task = AeonSeries("Toy", folds=3, root=root)
    data = task.load()
    assert sorted(data.columns) == ["channel00", "channel01"] and data.classes == {"label": ("up", "down")}
    assert data.sizes["channel01"] == {"steps": 4, "channels": 1}
    assert {part: len(data.splits[part]) for part in SPLITS} == {"train": 8, "validation": 4, "test": 4}
    assert check_splits(data)
    for part in SPLITS:  # the classes are balanced in each
        assert np.bincount(data.splits[part].targets["label"]).tolist() == [len(data.splits[part]) // 2] * 2
        assert data.metadata[part]["id"].shape == data.metadata[part]["group"].shape == data.splits[part].weight.shape
    rows = [set(data.splits[part].pointer["channel00"].tolist()) for part in SPLITS]
    assert set.union(*rows) == set(range(16)) and sum(map(len, rows)) == 16 and rows[2] == {12, 13, 14, 15}

    raw, labels, _ = read_ts((root / "Toy" / "Toy_TRAIN.ts").read_bytes(), "toy")
    train = data.splits["train"].pointer["channel00"]
    assert [data.classes["label"][k] for k in data.splits["train"].targets["label"]] == [labels[i] for i in train]
    for at, (_, column) in enumerate(sorted(data.columns.items())):
        values = np.concatenate([raw[i][:, at] for i in train])  # training series alone; padding does not count
        items = jax.jit(column.preprocess)(stack([column.read(i) for i in range(column.count)]))
        assert items.x.shape == (16, 4, 1) and items.length[:12].tolist() == [len(x) for x in raw]
        for i, x in enumerate(raw):
            z = (x[:, at] - values.mean()) / values.std()
            np.testing.assert_allclose(items.x[i, : len(x), 0], z, rtol=1e-4, atol=1e-5)


@pytest.fixture
def regression(tmp_path):
    """Toy for regression: series i has the value (i - 6)^2 / 10; test series 0 equals training series 3."""
    folder = tmp_path / "Toy"
    folder.mkdir()
    for part, numbers in (("TRAIN", range(12)), ("TEST", (3, 20, 21, 22))):
        lines = [f"{i},{i + 1}:{-i},{2 * i}:{(i - 6) ** 2 / 10}" for i in numbers]
        (folder / f"Toy_{part}.ts").write_text(REGRESSION + "\n".join(lines) + "\n")
    return tmp_path


def test_regression_has_values_and_no_classes(regression):
    """The training series that is also a test series is dropped, so no group is in two splits."""
    data = AeonSeries("Toy", folds=3, root=regression).load()
    assert data.classes == {} and data.dropped == {"training series that are also in the test split": 1}
    assert {split: len(rows) for split, rows in data.splits.items()} == {"train": 7, "validation": 4, "test": 4}
    for split, rows in data.splits.items():
        value = rows.targets["value"]
        numbers = [int(i.split()[1]) for i in data.metadata[split]["id"]]
        numbers = [(3, 20, 21, 22)[n] for n in numbers] if split == "test" else numbers
        assert value.dtype == np.float32
        np.testing.assert_allclose(value, [(n - 6) ** 2 / 10 for n in numbers], rtol=1e-6)
    assert "train 3" not in data.metadata["train"]["id"].tolist() + data.metadata["validation"]["id"].tolist()
    assert data.metadata["test"]["group"][0] == 3 and check_splits(data)


def test_the_fold_chooses_validation_and_never_test(root):
    assert not isinstance(AeonSeries("Toy", root=root), CrossValidated)
    folds = [AeonSeries("Toy", folds=3, fold=fold, root=root).load() for fold in range(3)]
    validation = [set(d.metadata["validation"]["id"].tolist()) for d in folds]
    assert len(set.union(*validation)) == sum(map(len, validation)) == 12
    assert len({tuple(d.metadata["test"]["id"]) for d in folds}) == 1
    assert len({d.fingerprint for d in folds}) == 3


def test_fingerprint_changes_with_every_choice_and_byte(root):
    task = AeonSeries("Toy", folds=3, root=root)
    first = task.load().fingerprint
    assert task.load().fingerprint == first and len(first) == 64
    others = [dataclasses.replace(task, **change) for change in ({"folds": 4}, {"split_seed": 1}, {"channels": 2})]
    seen = {first} | {other.load().fingerprint for other in others}
    with (root / "Toy" / "Toy_TEST.ts").open("a") as file:
        file.write("1,2:3,4:up\n")
    assert len(seen | {task.load().fingerprint}) == 5


def test_channels_together(root):
    data = AeonSeries("Toy", channels=2, folds=3, root=root).load()
    (name,) = data.columns
    assert name == "channels00to01" and data.sizes[name] == {"steps": 4, "channels": 2}
    apart = AeonSeries("Toy", folds=3, root=root).load()
    together, separate = feed.load_columns(data), feed.load_columns(apart)
    np.testing.assert_allclose(together[name].x[..., 1:], separate["channel01"].x, atol=1e-6)
    picture = Image.open(io.BytesIO(data.media(0)["image"]))
    assert picture.size == (8 * 2, 8 * 2)  # 2 steps, 2 channels


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": 3}, r"AeonSeries\.channels is 3; it must divide the 2 channels"),
        ({"channels": 0}, r"AeonSeries\.channels is 0"),
        ({"name": "Yot"}, r"AeonSeries\.name is 'Yot'.* has Toy"),
        ({"fold": 5}, r"AeonSeries\.fold is 5 of 5 folds"),
        ({"folds": 1}, r"AeonSeries\.fold is 0 of 1 folds"),
        ({"folds": 100_000}, r"folds is 100000; it must lie in \[2, 12\]"),
    ],
)
def test_bad_fields_are_refused(root, change, message):
    with pytest.raises(DataError, match=message):
        dataclasses.replace(AeonSeries("Toy", root=root), **change).load()


def test_the_error_without_aeon_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"pip install --no-deps aeon==\S+ .* root"):
        AeonSeries().load()


needs_aeon = pytest.mark.skipif(importlib.util.find_spec("aeon") is None, reason="aeon is not installed")


@needs_aeon
@pytest.mark.parametrize(
    ("name", "channels", "lengths", "classes", "train", "test"),
    [("JapaneseVowels", 12, (7, 29), 9, 270, 370), ("BasicMotions", 6, (100, 100), 4, 40, 40)],
)
def test_published_counts(name, channels, lengths, classes, train, test):
    """From the descriptions of the data sets; aeon is not imported."""
    data = AeonSeries(name).load()
    assert len(data.columns) == channels and len(data.classes["label"]) == classes
    assert len(data.splits["train"]) + len(data.splits["validation"]) == train and len(data.splits["test"]) == test
    column = data.columns["channel00"]
    found = [int(column.read(i).length) for i in range(column.count)]
    assert (min(found), max(found)) == lengths
    files = [find_archive() / name / f"{name}_{part}.ts" for part in ("TRAIN", "TEST")]
    assert {read_ts(file.read_bytes(), file.name)[0][0].shape[1] for file in files} == {channels}


@needs_aeon
@pytest.mark.parametrize(
    ("name", "channels", "steps", "train", "test"), [("CardanoSentiment", 2, 24, 74, 33), ("Covid3Month", 1, 84, 140, 61)]
)
def test_published_counts_of_regression(name, channels, steps, train, test):
    """Some training series of Covid3Month are also test series; they are counted here as text."""
    data = AeonSeries(name).load()
    files = [find_archive() / name / f"{name}_{part}.ts" for part in ("TRAIN", "TEST")]
    lines = [file.read_text().split("@data\n")[1].split() for file in files]
    of_train, of_test = ([line.rpartition(":")[0] for line in part] for part in lines)
    shared = sum(line in of_test for line in of_train)
    assert (shared > 0) == (name == "Covid3Month") and sum(data.dropped.values()) == shared
    assert len(data.columns) == channels and data.sizes["channel00"]["steps"] == steps and data.classes == {}
    assert len(data.splits["train"]) + len(data.splits["validation"]) == train - shared
    assert len(data.splits["test"]) == test and check_splits(data)
