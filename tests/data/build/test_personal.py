"""Personal data is found, counted and removed; pixels, samples and other words do not change."""

import io
import struct

import mutagen.flac
import mutagen.id3
import mutagen.mp3
import mutagen.oggvorbis
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from mmjax.data.build.deidentify import LIMITS, deidentify
from mmjax.data.build.personal_audio import audio_tags, without_tags
from mmjax.data.build.personal_image import image_metadata, without_metadata
from mmjax.data.build.personal_text import without_personal_data
from mmjax.data.decode import decode_audio, decode_image
from tests.data.build.files import drawing, encoded, item, melody, sound


@pytest.mark.parametrize(("text", "clean", "counts"), [
    ("Write to ann.lee+x@mail.example.org.", "Write to [EMAIL].", {"e-mail address": 1}),
    ("Call +33 1 42 68 53 00 or +1 (202) 456-1111!", "Call [PHONE] or [PHONE]!", {"phone number": 2}),
    ("Thanks @ann_lee", "Thanks [HANDLE]", {"handle": 1}),
    ("Dr. Ann Lee and Mrs Jones met.", "Dr. [NAME] and Mrs [NAME] met.", {"name": 2}),
    ("Hello, my name is Ann.", "Hello, my name is [NAME].", {"name": 1}),
    ("In 2026, 3.14 of 12 frogs @ home", "In 2026, 3.14 of 12 frogs @ home", {}),
    ("Ann Lee was here", "Ann Lee was here", {}),  # the limit that the card states
])  # fmt: skip
def test_texts(text, clean, counts):
    assert without_personal_data(text) == (clean, counts)


def test_region_and_names():
    assert without_personal_data("Rufen Sie 030 123456 an", "DE") == ("Rufen Sie [PHONE] an", {"phone number": 1})
    assert without_personal_data("Rufen Sie 030 123456 an")[1] == {}
    assert without_personal_data("ANN LEE, Ann and Annabel", names=["Ann", "Ann Lee", " "]) == (
        "[NAME], [NAME] and Annabel", {"name": 2}
    )  # fmt: skip


def exif(orientation: int | None = None) -> bytes:
    made = Image.Exif()
    made[0x010F] = "Camera maker"
    made[0x8825] = {1: "N", 2: (48.0, 51.0, 29.0)}  # GPS
    if orientation:
        made[0x0112] = orientation
    return made.tobytes()


def png_text() -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text("Author", "Ann Lee")
    return info


@pytest.mark.parametrize(("data", "expected"), [
    (encoded(drawing(0), "JPEG", exif=exif(), comment=b"of Ann"), {"GPS position": 1, "EXIF field": 1, "text or comment": 1}),
    (encoded(drawing(0), "PNG", exif=exif(), pnginfo=png_text()), {"GPS position": 1, "EXIF field": 1, "text or comment": 1}),
    (encoded(drawing(0), "WEBP", lossless=True, exif=exif(), xmp=b"<x/>"),
     {"GPS position": 1, "EXIF field": 1, "XMP or IPTC block": 1}),
    (encoded(drawing(0), "GIF", comment=b"of Ann"), {"text or comment": 1}),
    (encoded(drawing(0), "JPEG", dpi=(72, 72), icc_profile=b"p" * 200), {}),
    (encoded(drawing(0), "PNG"), {}),
])  # fmt: skip
def test_images(data, expected):
    assert image_metadata(data) == expected
    cleaned = without_metadata(data)
    assert image_metadata(cleaned) == {}
    assert b"Camera maker" not in cleaned and b"Ann" not in cleaned
    np.testing.assert_array_equal(decode_image(cleaned, ""), decode_image(data, ""))
    assert without_metadata(cleaned) == cleaned


def test_what_decoding_needs_is_kept():
    profile = b"p" * 200
    image = Image.open(io.BytesIO(without_metadata(encoded(drawing(0), "JPEG", exif=exif(6), icc_profile=profile))))
    assert dict(image.getexif()) == {0x0112: 6} and image.info["icc_profile"] == profile


def test_bytes_after_the_end_of_a_jpeg_are_removed():
    assert without_metadata(encoded(drawing(0), "JPEG") + b"a hidden second file") == encoded(drawing(0), "JPEG")


def tagged(form: str) -> bytes:
    buffer = io.BytesIO(sound(melody(0), form))
    if form == "MP3":
        file = mutagen.mp3.MP3(buffer)
        file.add_tags()
        file.tags.add(mutagen.id3.TPE1(encoding=3, text="Ann Lee"))
    else:
        file = (mutagen.flac.FLAC if form == "FLAC" else mutagen.oggvorbis.OggVorbis)(buffer)
        file["artist"] = "Ann Lee"
    buffer.seek(0)
    file.save(buffer)
    return buffer.getvalue()


def tagged_wav() -> bytes:
    """With the list of information that mutagen does not read."""
    body = b"INFOIART" + struct.pack("<I", 8) + b"Ann Lee\0"
    data = sound(melody(0)) + b"LIST" + struct.pack("<I", len(body)) + body
    return data[:4] + struct.pack("<I", len(data) - 8) + data[8:]


TAGGED = {"mp3": tagged("MP3"), "flac": tagged("FLAC"), "ogg": tagged("OGG"), "wav": tagged_wav()}


@pytest.mark.parametrize("data", TAGGED.values(), ids=TAGGED)
def test_recordings(data):
    assert audio_tags(data) >= 1 and b"Ann Lee" in data
    cleaned = without_tags(data)
    assert audio_tags(cleaned) == 0 and b"Ann Lee" not in cleaned
    np.testing.assert_array_equal(decode_audio(cleaned, "", 8000), decode_audio(data, "", 8000))


def test_untagged_recordings_do_not_change():
    assert without_tags(sound(melody(0))) == sound(melody(0))


def test_items_are_counted_and_listed():
    photo = encoded(drawing(0), "JPEG", exif=exif())
    items = [item("a", text="ann@example.org, ben@example.org", image=photo), item("b", text="nothing", audio=tagged_wav())]
    done = deidentify(items)
    assert done.counts == {"EXIF field": 1, "GPS position": 1, "e-mail address": 2, "tag of a recording": 1}
    assert [(f.item, f.modality, f.action) for f in done.findings] == [
        ("a", "text", "repaired"), ("a", "image", "repaired"), ("b", "audio", "repaired")
    ]  # fmt: skip
    assert done.items[0].parts["text"].text() == "[EMAIL], [EMAIL]" and done.items[1].parts["text"] == items[1].parts["text"]
    assert any("Faces" in limit for limit in LIMITS) and any("Voices" in limit for limit in LIMITS)
