"""Wesnoth is read from a package in its format, split by lines of advancement, and tested; the complete set has its card's
counts."""

import io
import struct
import warnings
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from mmjax.data.check import check_dataset
from mmjax.data.decode import DataError
from mmjax.data.text_target import TextTarget
from mmjax.data.wesnoth.dataset import Wesnoth
from mmjax.data.wesnoth.files import INSIDE, find_package, read_units, video_of
from mmjax.data.wesnoth.scripts import frame_names, parse
from mmjax.data.wesnoth.tfds import build_tfds
from mmjax.data.wesnoth.units import RACES, Animation, units_of
from tests.data.debs import write_deb

LINES = 5  # of advancement, of two units each
SCRIPT = """#textdomain wesnoth-units
#define PATH
units/u{k}/#enddef
#define BODY NAME
    [broken]
#enddef
[unit_type]
    id=Unit {k}{level}
    name= _ "female^Unit {k}{level}"
    race={race}
    image="{{PATH}}{level}.png~RC(magenta>red)"
    advances_to={advances}
    description= _ "Unit {k}{level} is ""small"".

It lives [here]
    description=no." + _ " It # waits."   # not " a description
    [attack_anim]
        [frame]
            image="{{PATH}}{level}-[1~3,2].png:[50*3,80],{{PATH}}none.png:10"
        [/frame]
    [/attack_anim]
    [standing_anim]
        [frame]
            image="{{PATH}}{level}.png:50"
        [/frame]
    [/standing_anim]
    [female]
        image="{{PATH}}{level}+female.png"
        description= _ "Another one."
    [/female]
[/unit_type]
"""
NAMES = b"[units]\n[race]\nid=elf\n[/race]\n[race]\nid=orc\n[/race]\n[/units]\n"


def png(k: int, side: int = 20) -> bytes:
    Image.new("RGBA", (side, side), (20 * k, 0, 255 - 20 * k, 255)).save(buffer := io.BytesIO(), "PNG")
    return buffer.getvalue()


def mo(texts: dict[str, str]) -> bytes:
    pairs = sorted((a.encode(), b.encode()) for a, b in {"": "Content-Type: text/plain; charset=UTF-8\n", **texts}.items())
    tables, data, at = [], b"", 28 + 16 * len(pairs)
    for strings in zip(*pairs):
        for one in strings:
            tables.append(struct.pack("<II", len(one), at + len(data)))
            data += one + b"\0"
    return struct.pack("<7I", 0x950412DE, 0, len(pairs), 28, 28 + 8 * len(pairs), 0, 0) + b"".join(tables) + data


def english(k: int, level: str) -> str:
    return f'Unit {k}{level} is "small".\n\nIt lives [here]\n    description=no. It # waits.'


def package(folder, **changes):
    """The package. The last unit has neither sprite nor animation, and no German text."""
    files, texts = {RACES: NAMES}, {}
    for k in range(LINES):
        for level, advances in (("a", f"Unit {k}b,Other {k}"), ("b", "null")):
            race = ("elf", "orc")[k % 2]
            files[f"data/core/units/x/{k}{level}.cfg"] = SCRIPT.format(k=k, level=level, advances=advances, race=race).encode()
            if (k, level) == (LINES - 1, "b"):
                continue
            texts[english(k, level)] = f"Einheit {k}{level}\n\nist größer."
            number = 2 * k + (level == "b")
            files[f"data/core/images/units/u{k}/{level}.png"] = png(number)
            for frame in (1, 2, 3):
                files[f"data/core/images/units/u{k}/{level}-{frame}.png"] = png(number + frame, 19 + 2 * frame)
    for language, own in (("de", texts), ("fr", {text: text.replace("Unit", "Unité") for text in texts})):
        files[f"locale/{language}/LC_MESSAGES/wesnoth-units.mo"] = mo(own)
    folder.mkdir(exist_ok=True)
    write_deb(folder / "wesnoth-1.16-data_1_all.deb", {INSIDE + path: data for path, data in (files | changes).items()})
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return package(tmp_path_factory.mktemp("wesnoth"))


def test_names_of_frames_are_expanded():
    assert frame_names("a/b-[1~3,2].png:[50*3,80]") == ["a/b-1.png", "a/b-2.png", "a/b-3.png", "a/b-2.png"]
    assert frame_names("a[3~1].png~CS(-50,5,5):150,b.png:2") == ["a3.png", "a2.png", "a1.png", "b.png"]
    assert frame_names("a[09~11,n*2].png") == ["a09.png", "a10.png", "a11.png", "an.png", "an.png"]
    assert frame_names("a.png~RC(x>y)") == ["a.png"] and frame_names("a.png:[7,8]") == ["a.png"]


def test_a_unit_of_a_script():
    script = SCRIPT.format(k=1, level="a", advances="Unit 1b,Other", race="orc")
    names = [f"data/core/images/units/u1/{name}.png" for name in ("a", "a-1", "a-2", "a-3", "none")]
    (unit,) = units_of({RACES: NAMES, "data/core/units/x.cfg": script.encode(), names[0]: b""})
    attack = Animation("attack_anim", "", (names[1], names[2], names[3], names[2], names[4]))
    assert unit == (
        "Unit 1a", "Unit 1a", "orc", english(1, "a"), names[0], ("Unit 1b", "Other"),
        (attack, Animation("standing_anim", "", (names[0],))),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("script", "message"),
    [("[a]\n[/b]", r"x.cfg: \[/b\] closes \[a\]; blocks must be nested"), ("[a]\n", r"x.cfg: \[a\] is not closed")],
)
def test_blocks_must_be_nested(script, message):
    with pytest.raises(DataError, match=message):
        parse(script, "x.cfg")


def test_frames_of_different_sizes_share_a_middle():
    video = video_of([np.full((2, 2, 3), 7, np.uint8), np.full((4, 2, 4), 9, np.uint8)])
    assert video.shape == (2, 4, 2, 4) and (video[1] == 9).all()
    assert video[0, :, 0].tolist() == [[0] * 4, [7, 7, 7, 255], [7, 7, 7, 255], [0] * 4]


def test_a_row_is_a_unit_in_a_language_and_a_line_is_in_one_split(root):
    data = Wesnoth(("en", "de"), image_size=8, race_units=2, root=root).load()
    check_dataset(data)
    assert sum(map(len, data.splits.values())) == 2 * 2 * LINES - 1
    groups = {split: set(of["group"].tolist()) for split, of in data.metadata.items()}
    assert sum(map(len, groups.values())) == len(set().union(*groups.values())) == LINES
    assert data.classes == {"race": ("elf", "orc"), "language": ("de", "en")}
    for split, of in data.metadata.items():
        frames, image = (data.splits[split].pointer[name] for name in ("frames", "image"))
        for row, unit in enumerate(of["unit"].tolist()):
            k, level = unit[5:]
            assert of["english"][row] == " ".join(english(int(k), level).split())
            assert of["text"][row] == (of["english"][row] if of["language"][row] == "en" else f"Einheit {k}{level} ist größer.")
            assert (frames[row] < 0) == (image[row] < 0) == (unit == f"Unit {LINES - 1}b")
    assert set(data.metadata["test"]["length"].tolist()) == {"up to 60 words"}
    video = data.columns["frames"].read(0)
    assert int(video.length) == 4 and (video.x[3] == video.x[1]).all() and (video.x[2] != video.x[1]).any()


def test_english_texts_are_a_text_target(root):
    data = TextTarget(
        Wesnoth(("de", "fr"), image_size=8, race_units=2, root=root), column="english", target="translation"
    ).load()
    ids, tokenizer = data.splits["test"].targets["translation"][0], data.tokenizers["translation"]
    assert ids[: int((ids > 0).sum())].tolist() == tokenizer.ids(data.metadata["test"]["english"][0])


def test_tfds_has_the_same_rows(root, tmp_path):
    import tensorflow_datasets as tfds

    folder = build_tfds(tmp_path / "set", Wesnoth(("de", "fr"), image_size=8, race_units=2, root=root))
    builder = tfds.builder_from_directory(folder)
    rows = [row for split in ("train", "validation", "test") for row in builder.as_data_source(split)]
    cells = read_units(find_package(root), ("de", "fr")).cells
    expected = {name: (cells["text"][k], cells["image"][k], cells["frames"][k]) for k, name in enumerate(cells["id"])}
    assert len(rows) == len(expected) == 2 * (2 * LINES - 1)
    for row in rows:
        text, image, frames = expected[row["id"].decode()]
        assert (row["text"].decode(), row["image"]) == (text, image)
        np.testing.assert_array_equal(np.load(io.BytesIO(row["frames"])), frames)


def test_wrong_files_and_fields_give_one_line(tmp_path):
    bad = package(tmp_path, **{"locale/de/LC_MESSAGES/wesnoth-units.mo": b"no translations"})
    with pytest.raises(DataError, match=r"locale/de/LC_MESSAGES/wesnoth-units.mo: the translations cannot be read"):
        read_units(find_package(bad), ("de",))
    with pytest.raises(DataError, match=r"there is no locale/es/LC_MESSAGES/wesnoth-units.mo, which has the texts in 'es'"):
        read_units(find_package(bad), ("es",))
    with pytest.raises(DataError, match=r"Wesnoth.languages: unknown language 'xx'"):
        read_units(find_package(bad), ("xx",))
    with pytest.raises(DataError, match=r"Wesnoth.languages is \('de', 'de'\)"):
        Wesnoth(("de", "de"))
    with pytest.raises(DataError, match=r"has 0 files wesnoth-1.16-data_\*.deb; it must have one"):
        Wesnoth(root=tmp_path / "none").load()


@pytest.mark.slow
def test_the_complete_set_has_the_counts_of_its_card():
    """Fetches the package."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    from mmjax.data.wesnoth.files import LANGUAGES

    cells = read_units(find_package(None), LANGUAGES).cells
    assert Counter(cells["language"]) == {**dict.fromkeys(LANGUAGES, 277), "bg": 276, "ru": 276, "fi": 233}
    here = [row for row, language in enumerate(cells["language"]) if language == "en"]
    own = {name: [of[row] for row in here] for name, of in cells.items()}
    assert len(set(own["group"])) == 101 and sum(image is None for image in own["image"]) == 3
    words = [len(text.split()) for text in own["english"]]
    expected = {"up to 60 words": sum(n < 61 for n in words), "over 90 words": sum(n > 90 for n in words)}
    assert Counter(own["length"]) == {**expected, "61 to 90 words": 277 - sum(expected.values())}
    assert min(Counter(own["length"]).values()) > 70
    videos = [video for video in own["frames"] if video is not None]
    assert len(videos) == 211 and sum(map(len, videos)) == 1968
    texts = TfidfVectorizer(sublinear_tf=True, analyzer="char_wb", ngram_range=(3, 5)).fit_transform(own["english"])
    pairs = np.argwhere(np.triu((texts @ texts.T).toarray(), 1) > 0.4)
    assert all(own["group"][i] == own["group"][j] for i, j in pairs)
    data = Wesnoth().load()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_dataset(data)
    assert {split: len(rows) for split, rows in data.splits.items()} == {"train": 656, "validation": 228, "test": 224}
