"""The TFDS source returns the items of the pack, prepares them once, and never reads an incomplete or damaged copy."""

import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmjax.data.decode import DataError
from mmjax.data.stamps.pack import StampsPack
from tests.data.stamps.packs import write_pack, write_sums

pytest.importorskip("tensorflow_datasets")

from mmjax.data.stamps.tfds import prepared_folder, tfds_source  # after the check, since it imports tensorflow_datasets

CHECKOUT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def source(cache):
    return tfds_source(cache=cache)


def test_items_are_those_of_the_pack(source, pack):
    assert len(source) == len(pack)
    assert [source[i]["id"] for i in range(len(source))] == [record["id"] for record in pack.index]
    for i in (0, 7, 400, 812, len(pack) - 1, -1):
        assert source[i] == pack[i]
    digit = next(i for i, record in enumerate(pack.index) if record["spoken"])
    assert source[digit] == pack[digit]


def test_index_and_single_reads_are_those_of_the_pack(source, pack):
    assert source.index == pack.index and source.labels() == pack.labels() and source.fingerprint == pack.fingerprint
    loud = next(i for i, record in enumerate(pack.index) if record["sound"] and "fr" in record["speech"])
    assert source.image_bytes(loud) == pack.image_bytes(loud)
    assert source.speech_bytes(loud, "fr") == pack.speech_bytes(loud, "fr")
    assert source.sound_bytes(loud) == pack.sound_bytes(loud) != b""
    with pytest.raises(DataError, match="unknown language 'xx'"):
        source.speech_bytes(loud, "xx")


def test_out_of_bounds(source):
    with pytest.raises(IndexError):
        source[len(source)]


def test_pickles(source):
    assert pickle.loads(pickle.dumps(source))[5] == source[5]


def test_tensorflow_is_not_imported(source):
    assert source[0] and "tensorflow" not in sys.modules


def test_prepares_once(tmp_path, pack):
    root = write_pack(tmp_path / "pack", pack, list(range(5)))
    tfds_source(root, cache=tmp_path)
    folder = prepared_folder(StampsPack(root).fingerprint, tmp_path)
    written = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    again = tfds_source(root, cache=tmp_path)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == written
    assert again[4]["image"] == pack.image_bytes(4)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]  # no incomplete folder remains


def test_another_pack_has_another_folder(tmp_path, pack):
    sizes = [
        len(tfds_source(write_pack(tmp_path / f"pack{rows}", pack, list(range(rows))), cache=tmp_path)) for rows in (3, 6)
    ]
    assert sizes == [3, 6]


def test_the_default_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert prepared_folder("0123456789abcdefff") == tmp_path / "xdg" / "mmjax" / "tfds" / "0123456789abcdef"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert prepared_folder("0123456789abcdefff") == tmp_path / ".cache" / "mmjax" / "tfds" / "0123456789abcdef"


def test_failure_while_preparing_leaves_nothing(tmp_path, pack):
    root = write_pack(tmp_path / "pack", pack, list(range(5)))
    images = (root / "images.zip").read_bytes()
    (root / "images.zip").write_bytes(images[:1000])
    write_sums(root)  # the archive was damaged before its checksum was computed
    with pytest.raises(DataError, match=r"images\.zip is damaged at"):
        tfds_source(root, cache=tmp_path)
    assert list(prepared_folder("x", tmp_path).parent.iterdir()) == []
    (root / "images.zip").write_bytes(images)
    write_sums(root)
    assert len(tfds_source(root, cache=tmp_path)) == 5


def test_a_damaged_pack_is_not_prepared(tmp_path, pack):
    root = write_pack(tmp_path / "pack", pack, [0, 1])
    (root / "images.zip").write_bytes((root / "images.zip").read_bytes() + b"x")
    with pytest.raises(DataError, match=r"images\.zip is damaged: its sha256 .* restore it with git"):
        tfds_source(root, cache=tmp_path)


def copy_of(root, cache):
    return prepared_folder(StampsPack(root).fingerprint, cache) / "stamps" / "1.0.0"


def test_an_incomplete_copy_is_prepared_again(tmp_path, pack):
    root = write_pack(tmp_path / "pack", pack, list(range(5)))
    folder = copy_of(root, tmp_path)
    folder.mkdir(parents=True)
    assert tfds_source(root, cache=tmp_path)[4]["image"] == pack.image_bytes(4)
    (folder / "dataset_info.json").write_text("{")
    assert tfds_source(root, cache=tmp_path)[4]["image"] == pack.image_bytes(4)
    next(folder.glob("*.array_record*")).unlink()
    assert tfds_source(root, cache=tmp_path)[4]["image"] == pack.image_bytes(4)


@pytest.mark.parametrize(
    "damage", [lambda data: data[:70_000], lambda data: data[:3000] + b"\xff" + data[3001:], lambda data: b""]
)
def test_a_damaged_copy_is_named_with_the_remedy(tmp_path, pack, damage):
    """Truncated, with a changed byte, and empty. Deleting the named folder helps."""
    root = write_pack(tmp_path / "pack", pack, list(range(5)))
    tfds_source(root, cache=tmp_path)
    records = next(copy_of(root, tmp_path).glob("*.array_record*"))
    records.write_bytes(damage(records.read_bytes()))
    with pytest.raises(DataError, match=r"mmjax/tfds/\w{16} .*; delete that folder, and the next run prepares it again"):
        source = tfds_source(root, cache=tmp_path)
        [source[i] for i in range(len(source))]
    shutil.rmtree(prepared_folder(StampsPack(root).fingerprint, tmp_path))
    assert tfds_source(root, cache=tmp_path)[4]["image"] == pack.image_bytes(4)


def test_killed_while_preparing(tmp_path, pack):
    """kill -9 as soon as something is written: the next call prepares a new copy with complete items."""
    code = "import sys; from mmjax.data.stamps.tfds import tfds_source; tfds_source(cache=sys.argv[1])"
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], env=environment, cwd=CHECKOUT,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    parent = prepared_folder("x", tmp_path).parent
    deadline = time.monotonic() + 60
    while not list(parent.glob("*.partial-*/stamps/*")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list(parent.glob("*.partial-*")) and not prepared_folder(pack.fingerprint, tmp_path).exists()
    source = tfds_source(cache=tmp_path)
    assert len(source) == len(pack) and source[900] == pack[900]
    abandoned = next(parent.glob("*.partial-*"))
    os.utime(abandoned, (0, 0))
    tfds_source(write_pack(tmp_path / "pack", pack, [0, 1, 2]), cache=tmp_path)
    assert not abandoned.exists()  # removed after a day
