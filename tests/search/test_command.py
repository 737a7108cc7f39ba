"""`python -m mmjax.search` prepares galleries of folders and of the run's data, keeps them, and reports errors in one line."""

import argparse
import os
import re
import shutil
import socket
from pathlib import Path
from unittest import mock

import pytest
from PIL import Image
from rich.console import Console

import mmjax
from mmjax.data.decode import DataError
from mmjax.search import Approximate, open_gallery
from mmjax.search import __main__ as command
from mmjax.search.collection import of_folder
from mmjax.search.embed import Embedder, space_of
from mmjax.search.searcher import embedded, indexed
from tests.search.colours import picture, tone
from tests.search.test_server import wav


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder with six images, one of them damaged, in two subfolders."""
    folder = tmp_path_factory.mktemp("pictures")
    for i in range(6):
        file = folder / ("a" if i < 3 else "b") / f"{i}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(picture(i)).save(file)
    (folder / "b" / "4.png").write_bytes(b"damaged")
    (folder / "README.md").write_text("not an item")
    return folder


@pytest.fixture(scope="module")
def searchable(run):
    """(cell's model, its embedder of images)."""
    model = mmjax.load_run(run)["fused"].models[0]
    return model, Embedder(model, space_of(model.tasks, "image", tuple(model.readers)))


def test_a_folder_is_embedded_once(pictures, searchable, tmp_path, monkeypatch):
    model, embedder = searchable
    collection = of_folder(pictures, model.readers, {"image": "image", "voice": "sound"})
    assert collection.ids == ("a/0.png", "a/1.png", "a/2.png", "b/3.png", "b/4.png", "b/5.png")
    done = []
    gallery, rows, skipped = embedded(collection, embedder, tmp_path / "kept", done.append)
    assert rows.tolist() == [0, 1, 2, 3, 5] and sum(done) == 6
    assert list(skipped) == [4] and "4.png: the format is not known" in skipped[4]
    data, media_type = collection.media(0)["image"]()
    assert media_type == "image/png" and data == (pictures / "a" / "0.png").read_bytes()
    # again: from the files, and no image is read
    unread = of_folder(pictures, {}, {"image": "image"})
    again, same_rows, same_skipped = embedded(unread, embedder, tmp_path / "kept", done.append)
    assert (again.vectors == gallery.vectors).all() and (same_rows == rows).all() and same_skipped == skipped
    # its approximate index is kept with it, and built again if it is damaged
    monkeypatch.setattr(Approximate, "of", counted := mock.Mock(side_effect=Approximate.of))
    found = [indexed(gallery, tmp_path / "kept") for _ in range(2)]
    (tmp_path / "kept" / "index").write_bytes(b"damaged")
    found.append(indexed(gallery, tmp_path / "kept"))
    assert counted.call_count == 2 and all(one.index.ntotal == 5 for one in found)
    # an interrupted or damaged one is written again
    (tmp_path / "kept" / "vectors").write_bytes(b"")
    third, _, _ = embedded(collection, embedder, tmp_path / "kept", done.append)
    assert (third.vectors == gallery.vectors).all()
    assert len(open_gallery(tmp_path / "kept")) == 5


def test_a_changed_file_changes_the_fingerprint(pictures, searchable, tmp_path):
    model, _ = searchable
    shutil.copytree(pictures, tmp_path / "copy")
    of = lambda: of_folder(tmp_path / "copy", model.readers, {"image": "image"}).fingerprint
    first = of()
    assert of() == first
    Image.fromarray(picture(9)).resize((20, 20)).save(tmp_path / "copy" / "a" / "0.png")
    assert of() != first


def test_folders_need_one_kind_of_files(searchable, tmp_path):
    model, embedder = searchable
    kinds = {"image": "image", "text": "text", "voice": "sound"}
    with pytest.raises(DataError, match=r"has no file; it must have files of one modality, image \(.png, .jpg"):
        of_folder(tmp_path, model.readers, kinds)
    (tmp_path / "a.wav").write_bytes(wav(0))
    (tmp_path / "b.txt").write_text("\ufeffa red square, " * 40, encoding="utf-8")
    with pytest.raises(DataError, match="has 1 of text, 1 of voice; it must have files of one modality"):
        of_folder(tmp_path, model.readers, kinds)
    texts = of_folder(tmp_path, model.readers, {"text": "text"})
    assert texts.ids == ("b.txt",) and texts.captions[0].startswith("a red square, ") and len(texts.captions[0]) == 404
    assert texts.parsed(0).length == 4
    (tmp_path / "b.txt").unlink()
    with pytest.raises(DataError, match=r"b\.txt: No such file or directory; it must be a file that can be read"):
        texts.parsed(0)
    sounds = of_folder(tmp_path, model.readers, {"voice": "sound"})
    assert sounds.media(0)["sound"]()[1] == "audio/wav" and sounds.parsed(0).length == len(tone(0)[0])
    (tmp_path / "a.wav").write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"no item can be read; the first: .*a.wav: the audio"):
        embedded(sounds, embedder, tmp_path / "kept", lambda n: None)


def test_names_of_files_need_not_be_utf8(searchable, tmp_path):
    model, _ = searchable
    for name in (b"\xff.txt", b"\xfe.txt"):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_text("a red square" if b"\xff" in name else " ")
    texts = of_folder(tmp_path, model.readers, {"text": "text"})
    assert texts.ids == ("?.txt", "?.txt") and texts.fingerprint.isalnum() and texts.captions[1] == "a red square"


def test_galleries_of_texts_by_a_cell_without_fusion(run, tmp_path):
    where = {"host": "127.0.0.1", "upload": 20.0, "cache": tmp_path, "approximate": True}
    given = argparse.Namespace(run=run, cell="summed", gallery="all", modality="text", **where)
    application = command._application(given, Console(quiet=True))
    assert callable(application)
    (folder,) = tmp_path.iterdir()
    gallery = open_gallery(folder)
    assert len(gallery) == 72  # of all splits
    assert Approximate.load(folder, gallery).index.ntotal == 72


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone"], "error: there is no cell 'gone' in .*; the cells are fused, summed"),
        (["fused", "--gallery", "nowhere"], "error: --gallery nowhere: no such folder; it must be a folder, or train, "),
        (["fused", "--modality", "voice"], "error: --modality is voice; cell fused searches in image, text"),
        (["fused", "--upload", "0"], r"error: --upload is 0 MB and --port 0; they must be in \(0, 1000\]"),
        (["fused", "--host", "203.0.113.1"], "error: --host 203.0.113.1 --port 0: .*; choose another port"),
    ],
)
def test_errors_are_one_line(run, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        command.main([str(run), *arguments, *([] if "--port" in arguments else ["--port", "0"])])
    assert re.match(message, str(stopped.value)) and "\n" not in str(stopped.value)


def test_a_port_in_use_is_reported_before_any_work(run):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        with pytest.raises(SystemExit, match=f"error: --host 127.0.0.1 --port {port}: Address already in use; choose another"):
            command.main([str(run), "fused", "--port", port])
