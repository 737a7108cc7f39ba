"""Damage of a pack is reported with the file and the remedy; checksums and fingerprint."""

import shutil
import zipfile

import pytest

from mmjax.data.decode import DataError
from mmjax.data.stamps import pack as pack_module
from mmjax.data.stamps.pack import INDEX, StampsPack, find_pack
from tests.data.stamps.packs import read_index, write_index, write_pack


@pytest.fixture
def damaged(pack, tmp_path):
    """A copy of the small files of the pack, with its index."""
    for name in (INDEX, "images.zip", "speech-ml.zip", "sha256sums.txt"):
        shutil.copy(pack.root / name, tmp_path / name)
    return tmp_path


def test_flipped_bit_in_an_archive(damaged):
    path = damaged / "images.zip"
    with zipfile.ZipFile(path) as archive:
        inside = archive.infolist()[100].header_offset + 200  # past the name, among the compressed pixels
    data = bytearray(path.read_bytes())
    data[inside] ^= 1
    path.write_bytes(data)
    broken = StampsPack(damaged)
    sums = (damaged / "sha256sums.txt").read_text().splitlines()
    (damaged / "sha256sums.txt").write_text("\n".join(line for line in sums if "images" in line or "jsonl" in line))
    with pytest.raises(DataError, match=r"images\.zip is damaged: its sha256 is not the one in sha256sums\.txt; restore it"):
        broken.verify()
    failures = []
    for i in range(len(broken)):
        try:
            broken.image_bytes(i)
        except DataError as error:
            failures.append(str(error))
    broken.close()
    assert len(failures) == 1 and "images.zip is damaged at" in failures[0]


def test_truncated_archive(damaged):
    path = damaged / "images.zip"
    path.write_bytes(path.read_bytes()[:1_000_000])
    with pytest.raises(DataError, match=r"images\.zip is damaged"):
        StampsPack(damaged).image_bytes(0)


def test_an_archive_that_would_fill_the_memory(damaged):
    """A member of 30 MB of zeros, which takes 30 kB in the archive; declared sizes are checked before it is unpacked."""
    path = damaged / "images.zip"
    with zipfile.ZipFile(path) as archive:
        first = StampsPack(damaged).index[0]["image"]
        assert max(member.file_size for member in archive.infolist()) < 1_000_000
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(first, bytes(30_000_000))
    with pytest.raises(DataError, match=r"images\.zip: .* has 30,000,000 bytes, and at most 20,000,000 are read; restore it"):
        StampsPack(damaged).image_bytes(0)


def test_missing_archive_and_member(damaged):
    broken = StampsPack(damaged)
    french = next(i for i, record in enumerate(broken.index) if "fr" in record["speech"])
    with pytest.raises(DataError, match=r"speech-fr\.zip is missing"):
        broken.speech_bytes(french, "fr")
    with zipfile.ZipFile(damaged / "speech-fr.zip", "w") as archive:
        archive.writestr("other.mp3", b"")
    with pytest.raises(DataError, match=r"speech-fr\.zip has no .*\.mp3"):
        broken.speech_bytes(french, "fr")
    broken.close()


def test_damaged_index(damaged):
    lines = read_index(damaged).splitlines()
    write_index(damaged, "\n".join([*lines[:2], lines[2][:50]]))
    with pytest.raises(DataError, match=r"stamps\.jsonl\.gz: line 3 is not JSON"):
        StampsPack(damaged)
    write_index(damaged, "\n".join(lines))
    whole = (damaged / INDEX).read_bytes()
    for data in (whole[:40], whole[:-4] + b"\0\0\0\0", b"{}\n"):
        (damaged / INDEX).write_bytes(data)
        with pytest.raises(DataError, match=r"stamps\.jsonl\.gz is damaged after line .* restore it with git"):
            StampsPack(damaged)
    write_index(damaged, "")
    with pytest.raises(DataError, match="is empty"):
        StampsPack(damaged)


def test_no_pack(tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"no Stamps pack.*nowhere.*build_stamps"):
        find_pack(tmp_path / "nowhere")
    (tmp_path / "data" / "stamps").mkdir(parents=True)
    write_index(tmp_path / "data" / "stamps", '{"folder": "x"}\n')
    monkeypatch.chdir(tmp_path)
    assert find_pack() == (tmp_path / "data" / "stamps").resolve()  # the current folder comes before the checkout


def test_files_are_verified_once_unless_they_change(pack, tmp_path, monkeypatch):
    """A process reads each version of a file once."""
    root = write_pack(tmp_path / "pack", pack, [0, 1])
    small, read = StampsPack(root), []
    original = pack_module._read_file
    monkeypatch.setattr(pack_module, "_read_file", lambda path: read.append(path.name) or original(path))
    small.verify()
    assert sorted(read) == ["images.zip", "sha256sums.txt", "speech-nl.zip", INDEX]
    read.clear()
    small.verify()
    assert read == ["sha256sums.txt"]
    (root / "speech-nl.zip").write_bytes(b"x" * (root / "speech-nl.zip").stat().st_size)
    with pytest.raises(DataError, match=r"speech-nl\.zip is damaged"):
        small.verify()
    (root / "speech-nl.zip").unlink()
    with pytest.raises(DataError, match=r"speech-nl\.zip is missing; restore it with git"):
        small.verify()


def test_fingerprint_covers_the_index(pack, tmp_path):
    root = write_pack(tmp_path / "pack", pack, [0, 1])
    first = StampsPack(root).fingerprint
    assert StampsPack(root).fingerprint == first and len(first) == 64
    write_index(root, read_index(root).replace('"A frog."', '"A toad."'))
    assert StampsPack(root).fingerprint != first


@pytest.mark.parametrize("text, message", [
    ("no checksum\n", r"sha256sums\.txt: line 1 is not a sha256 and a file name"),
    (f"{'0' * 64}  images.zip\n", r"sha256sums\.txt does not list stamps\.jsonl"),
])
def test_a_damaged_list_of_checksums(pack, tmp_path, text, message):
    root = write_pack(tmp_path / "pack", pack, [0])
    (root / "sha256sums.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        StampsPack(root).verify()
