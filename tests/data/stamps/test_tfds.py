"""The TFDS source gives the pack's items, prepares once, and never takes half a cache for a whole one."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from mmjax.data.decode import DataError
from mmjax.data.stamps.pack import StampsPack

pytest.importorskip("tensorflow_datasets")

from mmjax.data.stamps.tfds import cache_folder, tfds_source  # imports tfds, which may be absent

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def source(cache):
    return tfds_source(cache=cache)


@pytest.fixture(scope="module")
def pack():
    with_archives = StampsPack()
    yield with_archives
    with_archives.close()


def test_items_are_the_packs(source, pack):
    assert len(source) == len(pack)
    assert [source[i]["id"] for i in range(len(source))] == [record["id"] for record in pack.index]
    for i in (0, 7, 400, 812, len(pack) - 1, -1):
        assert source[i] == pack[i]
    digit = next(i for i, record in enumerate(pack.index) if record["spoken"])
    assert source[digit] == pack[digit]


def test_plans_and_cheap_reads_are_the_packs(source, pack):
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


def test_no_tensorflow(source):
    assert source[0] and "tensorflow" not in sys.modules


def small_pack(folder: Path, pack: StampsPack, rows: int) -> Path:
    """The first rows of the pack, without media but for one image each."""
    folder.mkdir()
    records = [{**record, "speech": {}, "sound": None, "spoken": {}} for record in pack.index[:rows]]
    (folder / "stamps.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        for i, record in enumerate(records):
            archive.writestr(record["image"], pack.image_bytes(i))
    (folder / "sha256sums.txt").write_text(f"of the first {rows}\n")
    return folder


def test_prepares_once(tmp_path, pack):
    root = small_pack(tmp_path / "pack", pack, 5)
    tfds_source(root, cache=tmp_path)
    folder = cache_folder(StampsPack(root).fingerprint, tmp_path)
    written = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    again = tfds_source(root, cache=tmp_path)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == written
    assert again[4]["image"] == pack.image_bytes(4)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]  # nothing half-written stays behind


def test_another_pack_has_another_folder(tmp_path, pack):
    sizes = [len(tfds_source(small_pack(tmp_path / f"pack{rows}", pack, rows), cache=tmp_path)) for rows in (3, 6)]
    assert sizes == [3, 6]


def test_default_cache_is_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder("0123456789abcdefff") == tmp_path / "xdg" / "mmjax" / "tfds" / "0123456789abcdef"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder("0123456789abcdefff") == tmp_path / ".cache" / "mmjax" / "tfds" / "0123456789abcdef"


def test_failure_while_preparing_leaves_nothing(tmp_path, pack):
    root = small_pack(tmp_path / "pack", pack, 5)
    images = (root / "images.zip").read_bytes()
    (root / "images.zip").unlink()
    with pytest.raises(DataError, match=r"images\.zip is missing"):
        tfds_source(root, cache=tmp_path)
    assert list(cache_folder("x", tmp_path).parent.iterdir()) == []
    (root / "images.zip").write_bytes(images)
    assert len(tfds_source(root, cache=tmp_path)) == 5


def test_emptied_folder_is_prepared_again(tmp_path, pack):
    root = small_pack(tmp_path / "pack", pack, 5)
    cache_folder(StampsPack(root).fingerprint, tmp_path).mkdir(parents=True)
    assert tfds_source(root, cache=tmp_path)[4]["image"] == pack.image_bytes(4)


def test_killed_while_preparing(tmp_path, pack):
    """kill -9 as soon as something is written: the next call prepares anew and gives whole items."""
    code = "import sys; from mmjax.data.stamps.tfds import tfds_source; tfds_source(cache=sys.argv[1])"
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], env=environment, cwd=CHECKOUT,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    parent = cache_folder("x", tmp_path).parent
    deadline = time.monotonic() + 60
    while not list(parent.glob("*.partial-*/stamps/*")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list(parent.glob("*.partial-*")) and not cache_folder(pack.fingerprint, tmp_path).exists()
    source = tfds_source(cache=tmp_path)
    assert len(source) == len(pack) and source[900] == pack[900]
    abandoned = next(parent.glob("*.partial-*"))
    os.utime(abandoned, (0, 0))
    tfds_source(small_pack(tmp_path / "pack", pack, 3), cache=tmp_path)
    assert not abandoned.exists()  # a day later the remains go
