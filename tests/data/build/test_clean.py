"""Every kind of damage is found in a file that has it and in no other, and is listed with its reason."""

import struct

import numpy as np
import pytest

from mmjax.data.build.check_audio import check_audio, longest_run
from mmjax.data.build.check_image import check_image
from mmjax.data.build.check_text import check_text, decoded_once
from mmjax.data.build.clean import clean, counts
from mmjax.data.build.items import Item, Part
from mmjax.data.decode import DataError
from tests.data.build.files import RATE, drawing, encoded, item, melody, sound

PNG, JPEG = encoded(drawing(0)), encoded(drawing(0), "JPEG")
WAV, FLAC, OGG = (sound(melody(0), form) for form in ("WAV", "FLAC", "OGG"))
LOUD = np.clip(20 * melody(0), -1, 1)


@pytest.mark.parametrize(("data", "name", "kept", "findings"), [
    (PNG, "a.png", "a.png", []),
    (JPEG, "a.JPEG", "a.JPEG", []),
    (b"", "a.png", None, [("dropped", "unreadable image")]),
    (b"GIF8 nonsense;", "a.gif", None, [("dropped", "unreadable image")]),
    (PNG[:-40], "a.png", None, [("dropped", "truncated image")]),
    (JPEG[:-40], "a.jpg", None, [("dropped", "truncated image")]),
    (encoded(np.full((40, 40, 3), 7, np.uint8)), "a.png", None, [("dropped", "blank image")]),
    (encoded(np.zeros((40, 40, 4), np.uint8)), "a.png", None, [("dropped", "blank image")]),
    (encoded(drawing(0, 7)), "a.png", None, [("dropped", "tiny image")]),
    (encoded(drawing(0, 31)), "a.png", "a.png", [("noted", "small image")]),
    (JPEG, "a.png", "a.jpg", [("repaired", "wrong extension")]),
    (PNG, "a", "a.png", [("repaired", "wrong extension")]),
])  # fmt: skip
def test_images(data, name, kept, findings):
    """kept: the name of the image, None if it is dropped."""
    checked = check_image(data, name)
    assert [found[:2] for found in checked.findings] == findings
    assert (None if checked.data is None else checked.name) == kept


@pytest.mark.parametrize(("data", "name", "findings"), [
    (WAV, "a.wav", []),
    (FLAC, "a.flac", []),
    (OGG, "a.ogg", []),
    (sound(melody(0), "MP3"), "a.mp3", []),
    (b"", "a.wav", [("dropped", "unreadable recording")]),
    (b"not audio at all", "a.wav", [("dropped", "unreadable recording")]),
    (WAV[:-100], "a.wav", [("dropped", "truncated recording")]),
    (OGG[:-100], "a.ogg", [("dropped", "truncated recording")]),
    (sound(np.full(RATE, 5e-4)), "a.wav", [("dropped", "silent recording")]),
    (sound(np.full(RATE, 0.25)), "a.wav", [("dropped", "silent recording")]),  # an offset is no sound
    (sound(melody(0)[:300]), "a.wav", [("dropped", "very short recording")]),
    (sound(LOUD), "a.wav", [("noted", "clipped recording")]),
    (FLAC, "a.wav", [("repaired", "wrong extension")]),
])  # fmt: skip
def test_recordings(data, name, findings):
    assert [found[:2] for found in check_audio(data, name).findings] == findings


def test_the_reason_of_a_damaged_recording_is_the_same_in_each_build():
    """The error of libsndfile names the buffer by its address."""
    (_, reason, detail), = check_audio(b"RIFF nonsense", "a.wav").findings
    assert reason == "unreadable recording" and "cannot be decoded" in detail and "0x" not in detail


def test_a_truncated_flac_is_dropped():
    assert check_audio(FLAC[: len(FLAC) // 2], "a.flac").data is None


def test_longest_run():
    assert longest_run(np.array([0, 1, 1, 0, 1, 1, 1], bool)) == 3 and longest_run(np.zeros(4, bool)) == 0


@pytest.mark.parametrize(("data", "text", "findings"), [
    ("Grüße".encode(), "Grüße", []),
    (b"\xef\xbb\xbfhello", "hello", []),  # a byte-order mark
    ("Grüße".encode("cp1252"), "Grüße", [("repaired", "text not in UTF-8")]),
    ("Grüße".encode().decode("cp1252").encode(), "Grüße", [("repaired", "text encoded twice")]),
    (b"\x81\x8d", None, [("dropped", "undecodable text")]),
    (b" \n\t ", None, [("dropped", "empty text")]),
    (b"", None, [("dropped", "empty text")]),
    (b" a\x00b\n", "ab", [("repaired", "control characters"), ("repaired", "surrounding spaces")]),
    ("e\u0301".encode(), "\u00e9", [("repaired", "Unicode composition")]),
    ("lost \ufffd".encode(), "lost \ufffd", [("noted", "replacement character")]),
])  # fmt: skip
def test_texts(data, text, findings):
    checked = check_text(data, "row 1")
    assert [found[:2] for found in checked.findings] == findings
    assert checked.data == (None if text is None else text.encode())


@pytest.mark.parametrize("text", ["café", "naïve Ångström", "日本語", "©", "plain"])
def test_correct_texts_are_not_decoded_again(text):
    assert decoded_once(text) == text


def test_every_dropped_part_and_item_is_listed(tmp_path):
    items = [
        item("good", {"label": "x"}, image=PNG, text="a frog"),
        item("half", {"label": "x"}, image=PNG[:-40], text="a frog"),
        item("nothing", {"label": "x"}, image=PNG[:-40], text=" "),
        item("unlabelled", {"label": " "}, text="a toad"),
        Item("missing", {"image": Part("image", "gone.png", tmp_path / "gone.png")}, {"label": "x"}),
    ]
    cleaned = clean(items, "label")
    assert [(own.id, sorted(own.parts)) for own in cleaned.items] == [("good", ["image", "text"]), ("half", ["text"])]
    assert [(f.item, f.modality, f.action, f.reason) for f in cleaned.findings] == [
        ("half", "image", "dropped", "truncated image"),
        ("nothing", "image", "dropped", "truncated image"),
        ("nothing", "text", "dropped", "empty text"),
        ("nothing", "", "dropped", "no usable modality"),
        ("unlabelled", "", "dropped", "no label"),
        ("missing", "image", "dropped", "missing or unreadable file"),
        ("missing", "", "dropped", "no usable modality"),
        ("half", "text", "noted", "repeated text"),
    ]
    assert all(str(tmp_path) not in f.detail for f in cleaned.findings)  # no paths of the machine
    assert counts(cleaned.findings)["dropped"] == {
        "empty text": 1, "missing or unreadable file": 1, "no label": 1, "no usable modality": 2, "truncated image": 2
    }  # fmt: skip


def test_findings_have_no_texts_and_no_file_names():
    """They are published, and texts are cleaned before they are de-identified."""
    photo = Part("image", "ann@example.org.png", PNG[:-40])
    text = "café of ann@example.org".encode().decode("cp1252") + " \x07"
    findings = clean([Item("a", {"photo": photo, "text": Part("text", "ann@example.org, row 1", text.encode())})]).findings
    assert [f.reason for f in findings] == [
        "truncated image", "text encoded twice", "control characters", "surrounding spaces"
    ]  # fmt: skip
    assert "example" not in repr(findings) and findings[1].detail == "26 characters became 25"


def test_a_file_name_with_a_zero_byte_is_a_missing_file(tmp_path):
    named = Item("a", {"image": Part("image", "a", tmp_path / "a\0.png"), "text": Part("text", "b", b"b")})
    assert clean([named]).findings[0].reason == "missing or unreadable file"


def test_mixed_sample_rates_and_repeated_files():
    rates = [8000, 16000, 16000]
    items = [item(str(k), audio=sound(melody(k), rate=rate)) for k, rate in enumerate(rates)]
    items.append(item("copy", audio=items[1].parts["audio"].read()))
    found = clean(items).findings
    assert [(f.item, f.reason, f.detail) for f in found] == [
        ("0", "other sample rate", "8000 Hz; most have 16000 Hz"), ("copy", "repeated file", "equals 1")
    ]  # fmt: skip


def test_a_set_that_cannot_be_used_is_one_line():
    with pytest.raises(DataError, match=r"no item can be used .*1 x empty text"):
        clean([item("a", text="")])
    with pytest.raises(DataError, match="the id 'a' occurs twice"):
        clean([item("a", text="x"), item("a", text="y")])


def test_a_wav_of_declared_but_absent_samples():
    """The header declares twice the samples that follow."""
    size = len(WAV) - 44
    assert WAV[36:40] == b"data"
    longer = WAV[:4] + struct.pack("<I", len(WAV) - 8 + size) + WAV[8:40] + struct.pack("<I", 2 * size) + WAV[44:]
    assert [found[:2] for found in check_audio(longer, "a.wav").findings] == [("dropped", "truncated recording")]
