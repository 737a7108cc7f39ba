"""Rows with files that cannot be read: by default the first one stops, and SkipDamaged leaves out exactly these."""

import numpy as np
import pytest

from mmjax.data.custom import reading
from mmjax.data.decode import DataError
from mmjax.data.feed import HostFeed
from mmjax.data.skip_damaged import SkipDamaged
from tests.faults.malformed_files import VECTORS, N, arrays, changed, line, manifest, png, written


def damage(path):
    """Of ten rows: a truncated image in row 2, a text as image in 3, a damaged sound in 3 and one in 9."""
    written("1.png", png()[:60])(path)
    written("2.png", b"hello")(path)
    written("2.wav", b"RIFF" + bytes(40))(path)
    written("8.wav", b"")(path)


def ids(dataset):
    return sorted(int(name) for of in dataset.metadata.values() for name in of["id"])


def test_damaged_rows_are_left_out_and_counted(tmp_path):
    splits = ["part", *["train"] * 6, "val", *["test"] * 3]
    lines = lambda table: line(5, "no.png,4.wav,a,s2,train")([f"{text},{split}" for text, split in zip(table, splits)])
    data = manifest(lines, damage, split="part", groups=None)
    with pytest.raises(DataError, match=r"row 5, field 'image': .*no\.png' is not a file"):
        data(tmp_path).load()
    skipping = SkipDamaged(data(tmp_path))
    dataset = skipping.load()
    assert ids(dataset) == [1, 4, 6, 7, 8, 10]  # the numbers in the file, from 1
    assert dataset.dropped["rows with a damaged image"] == 3 and dataset.dropped["rows with a damaged audio"] == 2
    assert {split: len(rows) for split, rows in dataset.splits.items()} == {"train": 3, "validation": 1, "test": 2}
    for name, column in dataset.columns.items():
        assert column.count == 6, name
        for item in range(6):
            column.read(item)
    assert skipping.load().fingerprint == dataset.fingerprint  # for every seed and resume


def test_without_damage_nothing_changes(tmp_path):
    data = manifest()(tmp_path)
    ours, theirs = SkipDamaged(data).load(), data.load()
    assert ids(ours) == list(range(1, N + 1)) and ours.dropped == theirs.dropped
    for split, rows in theirs.splits.items():
        np.testing.assert_array_equal(rows.targets["label"], ours.splits[split].targets["label"])
        np.testing.assert_array_equal(rows.pointer["image"], ours.splits[split].pointer["image"])


def test_folds_have_the_same_rows(tmp_path):
    data = SkipDamaged(manifest(after=damage)(tmp_path))
    assert data.folds == 5 and {tuple(ids(data.at_fold(fold).load())) for fold in (0, 2)} == {(1, 4, 5, 6, 7, 8, 10)}


def test_values_that_are_not_finite_are_damage(tmp_path):
    dataset = SkipDamaged(arrays({"vector": changed((6, 1), np.nan)})(tmp_path)).load()
    assert ids(dataset) == [1, 2, 3, 4, 5, 6, 8, 9, 10] and dataset.dropped == {"rows with a damaged vector": 1}


def test_other_errors_still_stop(tmp_path):
    with pytest.raises(DataError, match=r"row 7, field 'speaker': it is empty"):
        SkipDamaged(manifest(line(7, "6.png,6.wav,a,"), after=written("1.png", b""))(tmp_path)).load()
    with pytest.raises(DataError, match=r"SkipDamaged: no row of from_arrays can be read; the first error is: .*row 1, field"):
        SkipDamaged(arrays({"vector": np.full_like(VECTORS, np.inf)})(tmp_path)).load()


def test_a_file_that_vanishes_after_loading_stops_the_stream(tmp_path, monkeypatch):
    """Of data that are too large to keep: the batch before it comes, then one line."""
    monkeypatch.setattr(reading, "MAX_BYTES", 0)
    dataset = manifest(split=None)(tmp_path).load()
    batches = HostFeed(dataset, dataset.splits["train"], dataset.columns, 1).stream(lambda step: np.full((1, 2), step), 0, 6)
    (tmp_path / "7.png").unlink()  # of the last training row
    next(batches)
    with pytest.raises(DataError, match=r"row 8, .*'image'.*7\.png") as error:
        list(batches)
    assert "\n" not in str(error.value)
