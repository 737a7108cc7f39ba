"""Personal data is found, counted and removed; pixels, samples and other words do not change."""

import io
import struct

import mutagen.apev2
import mutagen.flac
import mutagen.id3
import mutagen.mp3
import mutagen.oggvorbis
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from mmjax.data.build.deidentify import LIMITS, deidentify
from mmjax.data.build.items import Item, Part
from mmjax.data.build.personal_audio import audio_tags, without_tags
from mmjax.data.build.personal_image import image_metadata, without_metadata
from mmjax.data.build.personal_text import EMAIL, without_personal_data
from mmjax.data.build.write import rows_of, write_media
from mmjax.data.decode import decode_audio, decode_image
from tests.at_once import at_once
from tests.data.build.files import drawing, encoded, item, melody, sound


@pytest.mark.parametrize(("text", "clean", "counts"), [
    ("Write to ann.lee+x@mail.example.org.", "Write to [EMAIL].", {"e-mail address": 1}),
    ("Call +33 1 42 68 53 00 or +1 (202) 456-1111!", "Call [PHONE] or [PHONE]!", {"phone number": 2}),
    ("ann@müller.de, ann@почта.рф, jörg@example.com", "[EMAIL], [EMAIL], [EMAIL]", {"e-mail address": 3}),
    ("<анна.иванова@xn--80a1acny.xn--p1ai>", "<[EMAIL]>", {"e-mail address": 1}),
    ("mu\u0308ller@u\u0308ni.de; सेवा@उदाहरण.भारत", "[EMAIL]; [EMAIL]", {"e-mail address": 2}),  # combining marks
    ("2 pears @ 3 and 5@1.20, v@2.0", "2 pears @ 3 and 5@1.20, v@2.0", {}),
    ("ann at example dot org, ann@localhost", "ann at example dot org, ann@localhost", {}),  # limits that the card states
    ("Thanks @ann_lee and @Ünal", "Thanks [HANDLE] and [HANDLE]", {"handle": 2}),
    ("Dr. Ann Lee and Mrs Jones met.", "Dr. [NAME] and Mrs [NAME] met.", {"name": 2}),
    ("Hello, my name is Ann.", "Hello, my name is [NAME].", {"name": 1}),
    ("In 2026, 3.14 of 12 frogs @ home", "In 2026, 3.14 of 12 frogs @ home", {}),
    ("Ann Lee was here", "Ann Lee was here", {}),  # the limit that the card states
])  # fmt: skip
def test_texts(text, clean, counts):
    assert without_personal_data(text) == (clean, counts)


@pytest.mark.parametrize("text", ["a" * 200_000, "a.-" * 70_000, "@a" * 100_000, "a@" + "b" * 200_000, "a@" + "b.1" * 70_000])
def test_long_words_take_linear_time(text):
    """About 20 ms each. With a quadratic pattern, the first takes minutes."""
    with at_once(2):
        EMAIL.sub("", text)


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


def ape_tagged(data: bytes) -> bytes:
    buffer = io.BytesIO(data)
    tag = mutagen.apev2.APEv2()
    tag["Artist"] = "Ann Lee"
    tag.save(buffer)
    return buffer.getvalue()


MP3 = sound(melody(0), "MP3")
TAGGED = {
    "ape": ape_tagged(MP3), "ape and id3": ape_tagged(tagged("MP3")), "mp3": tagged("MP3"), "flac": tagged("FLAC"),
    "ogg": tagged("OGG"), "wav": tagged_wav(),
}  # fmt: skip


@pytest.mark.parametrize("data", TAGGED.values(), ids=TAGGED)
def test_recordings(data):
    assert audio_tags(data) >= 1 and b"Ann Lee" in data
    cleaned = without_tags(data)
    assert audio_tags(cleaned) == 0 and b"Ann Lee" not in cleaned
    np.testing.assert_array_equal(decode_audio(cleaned, "", 8000), decode_audio(data, "", 8000))


def test_untagged_recordings_do_not_change():
    assert without_tags(sound(melody(0))) == sound(melody(0))


def test_only_the_tag_of_an_mp3_is_removed():
    assert without_tags(ape_tagged(MP3)) == MP3 == without_tags(MP3)
    broken = ape_tagged(MP3).replace(b"Artist\0", b"\xffrtist\0")  # no key in ASCII
    assert audio_tags(broken) == 1 and without_tags(broken) == MP3


def test_a_gif_that_becomes_a_png_is_stored_as_one(tmp_path):
    gifs = [encoded(drawing(k), "GIF", **({"comment": b"of Ann"} if k == 0 else {})) for k in range(2)]
    parts = [Part("image", "folder/x.gif", gif) for gif in gifs]
    items = deidentify([Item(str(k), {"image": part}) for k, part in enumerate(parts)]).items
    assert [one.parts["image"].name for one in items] == ["folder/x.png", "folder/x.gif"]
    write_media(tmp_path, items, ["train"] * 2)
    for row, pixels, form in zip(rows_of(items, ["train"] * 2, np.arange(2)), gifs, ("PNG", "GIF"), strict=True):
        with Image.open(tmp_path / row["image"]) as image:
            assert image.format == form and row["image"].endswith(f".{form.lower()}")
        np.testing.assert_array_equal(decode_image((tmp_path / row["image"]).read_bytes(), ""), decode_image(pixels, ""))


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
