"""Malformed data sets and files give one clear line that names the file, the row and the field, and leave nothing behind."""

import re

import pytest

import mmjax
from mmjax.data.decode import DataError
from mmjax.encoders import CNN, Features
from mmjax.experiment import Experiment
from mmjax.fusion import Concat
from mmjax.heads import Classifier
from mmjax.tasks import Classify
from tests.faults.malformed_data import CASES


def files(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_there_are_at_least_thirty_cases():
    assert len(CASES) >= 30


@pytest.mark.parametrize("name", CASES)
def test_one_line(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    make, pattern = CASES[name]
    before = {}
    with pytest.raises(DataError) as raised:
        data = make(tmp_path)
        before = files(tmp_path)
        data.load()
    message = str(raised.value)
    assert re.search(pattern, message), message
    assert "\n" not in message and len(message) < 500, message
    assert files(tmp_path) == (before or files(tmp_path))
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("name", ["a truncated image", "NaN in a vector"])
def test_nothing_is_left_of_a_run(tmp_path, name):
    make, pattern = CASES[name]
    data = make(tmp_path)
    encoders = {"image": CNN(widths=(4,))} if "image" in name else {"vector": Features(width=4)}
    experiment = Experiment(
        data, encoders, Concat(width=4), {"label": Classifier(2)}, tasks={"label": Classify("label")}, steps=1, batch=2
    )
    with pytest.raises(DataError, match=pattern):
        mmjax.run({"cell": experiment}, seeds=1, out=tmp_path / "out", quiet=True)
    assert not (tmp_path / "out").exists()
