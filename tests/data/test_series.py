"""The archive's `.ts` files: the parser on lines written here, splits, z-scores by hand; aeon's own files where installed."""

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

HEADER = "#about: 1,2,3\n@problemName Toy\n@timeStamps false\n@dimensions 2\n@classLabel true up down\n@data\n"
SPLITS = ("train", "validation", "test")


@pytest.fixture
def root(tmp_path):
    """Toy: 2 channels, 12 training and 4 test series of 2 to 4 steps."""
    rng, folder = np.random.default_rng(0), tmp_path / "Toy"
    folder.mkdir()
    for part, count in (("TRAIN", 12), ("TEST", 4)):
        lines = []
        for i in range(count):
            values = rng.normal((5, -2), (2, 3), size=(2 + i % 3, 2)).T  # channels have other means and deviations
            lines.append(":".join(",".join(f"{v:.4f}" for v in channel) for channel in values) + (":up", ":down")[i % 2])
        (folder / f"Toy_{part}.ts").write_text(HEADER + "\n".join(lines) + "\n")
    return tmp_path


def test_parser():
    series, labels, classes = read_ts((HEADER + "1,2.5,-3:4,5,6:down\r\n\n7:8e-1:up\n").encode(), "toy")
    assert labels == ["down", "up"] and classes == ["up", "down"]
    np.testing.assert_array_equal(series[0], np.array([[1, 4], [2.5, 5], [-3, 6]], np.float32))
    np.testing.assert_array_equal(series[1], np.array([[7, 0.8]], np.float32))
    assert series[0].dtype == np.float32


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER + "1,?:2,3:up\n", "toy: example 1 has missing values"),
        (HEADER + "1,2:3,4:up\n1,2:3:up\n", "toy: example 2 .* channels of different length"),
        (HEADER + "1,2:3,4:sideways\n", r"example 1 \(label 'sideways'\) .* labels are up, down"),
        (HEADER + "1,nan:3,4:up\n", "example 1 .* damaged"),
        (HEADER, "toy has no examples"),
        (HEADER.replace("@timeStamps false", "@timeStamps true") + "1:2:up\n", "without time stamps"),
        (HEADER.replace("@classLabel true up down", "@classLabel false") + "1:2\n", "with class labels"),
        ("", "with class labels"),
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
    for part in SPLITS:  # every class as often in each
        assert np.bincount(data.splits[part].targets["label"]).tolist() == [len(data.splits[part]) // 2] * 2
        assert data.about[part]["id"].shape == data.about[part]["group"].shape == data.splits[part].weight.shape
    rows = [set(data.splits[part].pointer["channel00"].tolist()) for part in SPLITS]
    assert set.union(*rows) == set(range(16)) and sum(map(len, rows)) == 16 and rows[2] == {12, 13, 14, 15}

    raw, labels, _ = read_ts((root / "Toy" / "Toy_TRAIN.ts").read_bytes(), "toy")
    train = data.splits["train"].pointer["channel00"]
    assert [data.classes["label"][k] for k in data.splits["train"].targets["label"]] == [labels[i] for i in train]
    for at, (_, column) in enumerate(sorted(data.columns.items())):
        values = np.concatenate([raw[i][:, at] for i in train])  # training series alone; padding does not count
        items = jax.jit(column.finish)(stack([column.read(i) for i in range(column.count)]))
        assert items.x.shape == (16, 4, 1) and items.length[:12].tolist() == [len(x) for x in raw]
        for i, x in enumerate(raw):
            z = (x[:, at] - values.mean()) / values.std()
            np.testing.assert_allclose(items.x[i, : len(x), 0], z, rtol=1e-4, atol=1e-5)


def test_the_fold_decides_what_is_validation_and_never_what_is_test(root):
    folds = [AeonSeries("Toy", folds=3, fold=fold, root=root).load() for fold in range(3)]
    validation = [set(d.about["validation"]["id"].tolist()) for d in folds]
    assert len(set.union(*validation)) == sum(map(len, validation)) == 12
    assert len({tuple(d.about["test"]["id"]) for d in folds}) == 1
    assert len({d.fingerprint for d in folds}) == 3


def test_fingerprint(root):
    """The same twice; another one for each choice and for another byte in a file."""
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
    columns, alone = feed.fill(data), feed.fill(apart)
    np.testing.assert_allclose(columns[name].x[..., 1:], alone["channel01"].x, atol=1e-6)
    picture = Image.open(io.BytesIO(data.media(0)["image"]))
    assert picture.size == (8 * 2, 8 * 2)  # 2 steps, 2 channels


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": 3}, r"AeonSeries\.channels is 3, .* 2 channels"),
        ({"channels": 0}, r"AeonSeries\.channels is 0"),
        ({"name": "Yot"}, r"AeonSeries\.name is 'Yot'.* there are Toy"),
        ({"fold": 5}, r"AeonSeries\.fold is 5 of 5 folds"),
        ({"folds": 1}, r"AeonSeries\.fold is 0 of 1 folds"),
    ],
)
def test_what_does_not_exist_is_refused(root, change, message):
    with pytest.raises(DataError, match=message):
        dataclasses.replace(AeonSeries("Toy", root=root), **change).load()


def test_without_aeon_one_is_told_how_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"pip install --no-deps aeon==\S+ .* root"):
        AeonSeries().load()


needs_aeon = pytest.mark.skipif(importlib.util.find_spec("aeon") is None, reason="aeon, whose files are read, is not installed")


@needs_aeon
@pytest.mark.parametrize(
    ("name", "channels", "lengths", "classes", "train", "test"),
    [("JapaneseVowels", 12, (7, 29), 9, 270, 370), ("BasicMotions", 6, (100, 100), 4, 40, 40)],
)
def test_published_counts(name, channels, lengths, classes, train, test):
    """As the archive's own description has them: aeon is not imported for it."""
    data = AeonSeries(name).load()
    assert len(data.columns) == channels and len(data.classes["label"]) == classes
    assert len(data.splits["train"]) + len(data.splits["validation"]) == train and len(data.splits["test"]) == test
    column = data.columns["channel00"]
    found = [int(column.read(i).length) for i in range(column.count)]
    assert (min(found), max(found)) == lengths
    files = [find_archive() / name / f"{name}_{part}.ts" for part in ("TRAIN", "TEST")]
    assert {read_ts(file.read_bytes(), file.name)[0][0].shape[1] for file in files} == {channels}
