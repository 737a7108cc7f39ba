"""The Exercises task: windows of the real file format, splits by subject, and one line for every damage."""

import dataclasses
import io
import zipfile

import numpy as np
import pytest

from mmjax.data.decode import DataError
from mmjax.data.exercises.dataset import Exercises
from mmjax.data.exercises.files import MEMBER, SHA256, WHEEL, find_wheel, read_recordings
from mmjax.data.exercises.tfds import build_tfds
from mmjax.data.splits import check_splits
from tests.data.exercises.wheels import content, npy, write_wheel

TASK = Exercises(seconds=1.0, hop=0.5, rate=50)
CHANGES = ({}, {"hop": 0.4}, {"fold": 1}, {"rate": 25})


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_wheel(tmp_path_factory.mktemp("wheel"))


def test_a_row_is_a_window_of_a_recording(root):
    data = dataclasses.replace(TASK, root=root).load()
    raw = content()
    # A recording of 150 + 10 p steps has floor((100 + 10 p) / 25) + 1 windows of 50 steps every 25 steps: 5, 5, 6, 6, 7.
    counts = {split: len(rows) for split, rows in data.splits.items()}
    assert sum(counts.values()) == 7 * (5 + 5 + 6 + 6 + 7)
    rows, metadata = data.splits["test"], data.metadata["test"]
    for row in (0, len(rows) - 1):
        recording, _, start = metadata["id"][row].partition(": ")
        begin = round(float(start.removesuffix(" s")) * 50)
        number = int(rows.pointer["accelerometer"][row])
        for name, channels in (("accelerometer", slice(0, 3)), ("gyroscope", slice(3, 6))):
            item = data.columns[name].read(number)
            np.testing.assert_array_equal(item.x, raw["X"][int(recording)][begin : begin + 50, channels].astype(np.float32))
            assert item.length == 50
        assert rows.targets["exercise"][row] == raw["y"][int(recording)]
        assert metadata["subject"][row] == str(raw["subject"][int(recording)])
        assert metadata["side"][row] == ("left", "right")[int(raw["side"][int(recording)])]
    assert data.media(0)["image"].startswith(b"\x89PNG")
    for split, rows in data.splits.items():  # the windows of a recording count as one
        recording = np.array([name.partition(":")[0] for name in data.metadata[split]["id"]])
        for one in np.unique(recording):
            assert rows.weight[recording == one].sum() == pytest.approx(1, abs=1e-6)


def test_steps_are_averaged_to_the_rate(root):
    """25 Hz: an item is the mean of pairs of steps. Windows of 25 steps every 13."""
    data = dataclasses.replace(TASK, root=root, rate=25, hop=0.52).load()
    recording, _, start = data.metadata["test"]["id"][0].partition(": ")
    begin = round(float(start.removesuffix(" s")) * 25)
    x = content()["X"][int(recording)].astype(np.float32)
    expected = (x[0::2] + x[1::2])[begin : begin + 25, :3] / 2
    item = data.columns["accelerometer"].read(int(data.splits["test"].pointer["accelerometer"][0]))
    np.testing.assert_allclose(item.x, expected, atol=1e-6)
    assert data.sizes["accelerometer"] == {"steps": 25, "channels": 3}


def test_z_scores_of_each_channel_are_those_of_the_training_windows(root):
    data = dataclasses.replace(TASK, root=root).load()
    column, at = data.columns["gyroscope"], data.splits["train"].pointer["gyroscope"]
    raw = np.stack([column.read(int(i)).x for i in at])
    scaled = (raw - column.preprocess.mean) / column.preprocess.deviation
    np.testing.assert_allclose(scaled.reshape(-1, 3).mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(scaled.reshape(-1, 3).std(0), 1, atol=1e-5)


def test_no_subject_is_in_two_splits_and_each_is_tested_once(root):
    tested = []
    for fold in range(5):
        data = dataclasses.replace(TASK, root=root, fold=fold).load()
        assert check_splits(data)
        subjects = [set(data.metadata[split]["subject"]) for split in ("train", "validation", "test")]
        assert not subjects[0] & subjects[1] and not subjects[0] & subjects[2] and not subjects[1] & subjects[2]
        tested += sorted(subjects[2])
    assert sorted(tested) == ["1", "2", "3", "4", "5"]


def test_the_fingerprint_is_of_the_file_and_the_options(root, tmp_path):
    found = {dataclasses.replace(TASK, root=root, **change).load().fingerprint for change in CHANGES}
    other = write_wheel(tmp_path, content(steps=151))
    found.add(dataclasses.replace(TASK, root=other).load().fingerprint)
    assert len(found) == 5


def test_tfds_reads_back_what_is_written(root, tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")
    path = build_tfds(tmp_path, root)
    builder, raw = tfds.builder_from_directory(path), content()
    subjects, seen = {}, set()
    for split in ("train", "validation", "test"):
        for row in builder.as_data_source(split):
            number = int(row["id"])
            seen.add(number)
            subjects.setdefault(int(row["group"]), set()).add(split)
            x = np.load(io.BytesIO(row["gyroscope"]))
            np.testing.assert_array_equal(x, raw["X"][number][:, 3:].astype(np.float32))
            assert row["exercise"].decode() == raw["y_labels"][raw["y"][number]]
    assert seen == set(range(35)) and all(len(splits) == 1 for splits in subjects.values())
    with pytest.raises(FileExistsError):
        build_tfds(tmp_path, root)


def changed(**change):
    return lambda: {"value": content() | change}


def without(name):
    return lambda: {"value": {key: value for key, value in content().items() if key != name}}


class Evil:
    def __reduce__(self):
        return print, ("executed",)


DAMAGES = {
    "no dict": (lambda: {"value": [1]}, "lacks the fields X, X_labels, y, y_labels, subject, side"),
    "no field": (without("subject"), "lacks the fields subject"),
    "channels": (changed(X_labels=["a"]), r"X_labels is \['a'\]; it must be ax, ay, az, wx, wy, wz"),
    "names": (changed(y_labels=3), "y_labels is 3; it must be a list of the names of exercises"),
    "no series": (changed(X=[]), "X is list; it must be a list of recordings"),
    "shape": (changed(X=[np.zeros((9, 5))]), r"X of recording 0 must be an array \[t 6\] of finite numbers"),
    "nan": (changed(X=[np.full((9, 6), np.nan)]), "X of recording 0 must be an array"),
    "count": (changed(y=np.zeros(3, int)), r"y is int64\[3\]; it needs a number for each recording"),
    "class": (changed(y=np.full(35, 7)), "y of recording 0 is 7; it must be a whole number from 0 to 6"),
    "side": (changed(side=np.full(35, 0.5)), "side of recording 0 is 0.5; it must be a whole number from 0 to 1"),
    "code": (lambda: {"value": Evil()}, "the pickle has .*print; only NumPy arrays"),
    "no npy": (lambda: {"data": b"text"}, "is not an .npy file"),
    "cut": (lambda: {"data": npy(content())[:5000]}, "the pickle is damaged"),
    "numbers": (lambda: {"data": _plain_npy()}, r"is an array float64\[3\]; it must be one object, a dict"),
}


def _plain_npy():
    np.save(file := io.BytesIO(), np.zeros(3))
    return file.getvalue()


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_gives_one_line(damage, tmp_path, capsys):
    make, message = DAMAGES[damage]
    write_wheel(tmp_path, **make())
    with pytest.raises(DataError, match=message) as caught:
        read_recordings(find_wheel(tmp_path))
    assert "\n" not in str(caught.value) and MEMBER in str(caught.value)
    assert "executed" not in capsys.readouterr().out


def test_a_missing_file_and_invalid_fields(tmp_path):
    with pytest.raises(DataError, match=r"there is no seglearn-1\.2\.5-py3-none-any\.whl in .*pip download"):
        dataclasses.replace(TASK, root=tmp_path).load()
    with zipfile.ZipFile(tmp_path / WHEEL, "w") as file:
        file.writestr("other", "")
    with pytest.raises(DataError, match="does not exist; the file should be seglearn"):
        dataclasses.replace(TASK, root=tmp_path).load()
    for field, value in (("seconds", 0.0), ("hop", 61.0), ("rate", 20), ("fold", 5), ("folds", 2)):
        with pytest.raises(DataError, match=f"Exercises.{field.removesuffix('s') if field == 'folds' else field} is"):
            Exercises(**{field: value})


@pytest.mark.slow
def test_the_published_package_has_the_documented_counts(tmp_path):
    """Fetches 11 MB through pip unless they are in the cache."""
    recordings = read_recordings(find_wheel())
    assert len(SHA256) == 64
    assert len(recordings.series) == 140 and recordings.exercises == ("PEN", "ABD", "FEL", "IR", "ER", "TRAP", "ROW")
    assert np.bincount(recordings.exercise).tolist() == [20] * 7
    assert np.bincount(recordings.subject).tolist() == [0] + [14] * 10
    assert np.bincount(recordings.side).tolist() == [70, 70]
    assert (min(map(len, recordings.series)), max(map(len, recordings.series))) == (947, 2618)
    assert sum(map(len, recordings.series)) == 244_102
    data = Exercises().load()
    assert {split: len(rows) for split, rows in data.splits.items()} == {"train": 1267, "validation": 499, "test": 463}
    assert check_splits(data)
