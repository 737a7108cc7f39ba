"""Fillets is read from packages in their format, split by level, and tested; the complete set has its card's counts."""

import io
import warnings
from collections import Counter

import numpy as np
import pytest
import soundfile
from PIL import Image

from mmjax.data.check import check_dataset
from mmjax.data.decode import DataError, decode_image
from mmjax.data.fillets.dataset import Fillets
from mmjax.data.fillets.files import Line, background, find_packages, lines_of, read_lines
from mmjax.data.fillets.tfds import build_tfds
from mmjax.data.text_target import TextTarget
from tests.data.debs import write_deb

GAME = "usr/share/games/fillets-ng/"
LEVELS = 6
SCRIPT = '''
dialogId("a-m-0", "font_small", "Line \\"{k}\\" of us.")
dialogStr("{own} {k}.")

dialogId("a-v-1", "font_big", "Who is
there at {k}?")
dialogStr("{own} {k}, kdo?")

dialogId("a-v-2", "font_big", "Never spoken.")
dialogStr("{own}")
dialogId("b-noise", "", "")
dialogStr("")
'''


def ogg(k: int, seconds: float = 0.3) -> bytes:
    wave = 0.3 * np.sin(2 * np.pi * (200 + 30 * k) * np.arange(int(22050 * seconds)) / 22050)
    soundfile.write(buffer := io.BytesIO(), wave, 22050, format="OGG", subtype="VORBIS")
    return buffer.getvalue()


def png(k: int) -> bytes:
    Image.new("RGB", (30, 20), (40 * k, 0, 255 - 40 * k)).save(buffer := io.BytesIO(), "PNG")
    return buffer.getvalue()


def packages(folder, **changes):
    """The three packages. Levels 0 and 1 have the same image."""
    folder.mkdir(exist_ok=True)
    game, sounds = {}, {"cs": {}, "nl": {}}
    for k in range(LEVELS):
        game[f"script/l{k}/models.lua"] = b'createRoom(45, 27, "images/"..codename.."/sea-p.png")\n'
        game[f"images/l{k}/sea-p.png"] = png(max(k, 1))
        for n, (language, own) in enumerate((("cs", "Žluťoučký"), ("nl", "Één"))):
            game[f"script/l{k}/dialogs_{language}.lua"] = SCRIPT.format(k=k, own=own).encode()
            for m, name in enumerate(("a-m-0", "a-v-1", "b-noise")):
                sounds[language][f"sound/l{k}/{language}/{name}.ogg"] = ogg(6 * k + 3 * n + m)
    sounds["cs"]["sound/share/cs/a-m-0.ogg"] = ogg(99)  # the folder of remarks for all levels has no image
    sounds["nl"]["sound/l0/nl/a-v-2.ogg"] = ogg(0, 0)  # without samples
    for name, files in {"fillets-ng-data": game | changes, **{f"fillets-ng-data-{x}": y for x, y in sounds.items()}}.items():
        write_deb(folder / f"{name}_1.0.1-1.1_all.deb", {GAME + path: data for path, data in files.items()})
    return folder


def test_lines_and_images_of_a_script():
    script = SCRIPT.format(k=3, own="Ahoj").replace("'", '"').encode()
    assert lines_of(script, "x") == {
        "a-m-0": Line("small", 'Line "3" of us.', "Ahoj 3."),
        "a-v-1": Line("big", "Who is there at 3?", "Ahoj 3, kdo?"),
        "a-v-2": Line("big", "Never spoken.", "Ahoj"),
    }
    assert background(b'createRoom(x, 2, "images/"..codename.."/a.png")', "x") == "a.png"
    with pytest.raises(DataError, match=r"models\.lua: there is no createRoom with an image"):
        background(b"nothing", "models.lua")


def test_a_row_is_a_spoken_line_and_a_level_is_in_one_split(tmp_path):
    data = Fillets(voice_lines=2, root=packages(tmp_path)).load()
    check_dataset(data)
    assert sum(map(len, data.splits.values())) == LEVELS * 4
    groups = {split: set(of["group"].tolist()) for split, of in data.metadata.items()}
    assert sum(map(len, groups.values())) == len(set().union(*groups.values())) == LEVELS - 1
    levels = {level: group for of in data.metadata.values() for level, group in zip(of["level"].tolist(), of["group"].tolist())}
    assert levels["l0"] == levels["l1"] != levels["l2"]
    assert data.classes == {"voice": ("big", "small"), "language": ("cs", "nl")}
    test = data.metadata["test"]
    assert all(("Žluťoučký" in text) == (language == "cs") for text, language in zip(test["text"], test["language"]))
    assert all("there at" in english or english.startswith('Line "') for english in test["english"])
    wave = data.columns["speech"].read(int(data.splits["test"].pointer["speech"][0]))
    assert wave.length == pytest.approx(0.3 * 16000, abs=2) and np.abs(wave.x).max() > 3000


def test_english_lines_are_a_text_target(tmp_path):
    data = TextTarget(Fillets(voice_lines=1, root=packages(tmp_path)), column="english", target="translation").load()
    tokens, tokenizer = data.splits["test"].targets["translation"][0], data.tokenizers["translation"]
    english = data.metadata["test"]["english"][0]
    assert tokens[: int((tokens > 0).sum())].tolist() == tokenizer.ids(english)
    assert " of us." in tokenizer.text(tokens) or "there at" in tokenizer.text(tokens)


def test_tfds_has_the_same_lines(tmp_path):
    import tensorflow_datasets as tfds

    folder = build_tfds(tmp_path / "set", Fillets(voice_lines=1, root=packages(tmp_path)))
    builder = tfds.builder_from_directory(folder)
    rows = [row for split in ("train", "validation", "test") for row in builder.as_data_source(split)]
    cells = read_lines(find_packages(tmp_path, ("cs", "nl"))).cells
    expected = dict(zip(cells["id"], zip(cells["text"], cells["english"], cells["speech"], cells["image"])))
    read = {row["id"].decode(): (row["text"].decode(), row["english"].decode(), row["speech"], row["image"]) for row in rows}
    assert read == expected and len(read) == LEVELS * 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"script/l2/dialogs_cs.lua": b"\xff\xfe"}, r"script/l2/dialogs_cs.lua: byte 0 is 0xff, which is not UTF-8"),
        ({"script/l2/models.lua": b"-- nothing"}, r"script/l2/models.lua: there is no createRoom with an image"),
        ({"script/l2/models.lua": b'createRoom(1, 2, "images/"..codename.."/x.png")'}, "there is no images/l2/x.png"),
    ],
)
def test_wrong_files_give_one_line(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        Fillets(root=packages(tmp_path, **changes)).load()


def test_wrong_fields_are_named(tmp_path):
    with pytest.raises(DataError, match=r"Fillets.languages is \('cs', 'cs'\)"):
        Fillets(languages=("cs", "cs"))
    with pytest.raises(DataError, match=r"Fillets.languages: unknown language 'fr'"):
        Fillets(languages=("fr",)).load()
    with pytest.raises(DataError, match=r"has 0 files fillets-ng-data_\*.deb; it must have one"):
        Fillets(root=tmp_path).load()


@pytest.mark.slow
def test_the_complete_set_has_the_counts_of_its_card():
    """Fetches the packages. Of the Czech recordings, 54 more have an empty transcript (sound effects)."""
    table = read_lines(find_packages(None, ("cs", "nl")))
    assert Counter(table.cells["language"]) == {"cs": 1725, "nl": 1526}
    assert [len(set(table.cells[name])) for name in ("level", "group", "image")] == [80, 76, 77]
    assert all(table.cells["english"]) and all(table.cells["text"])
    data = Fillets().load()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_dataset(data)
    # Three levels have a plain background, and a few short lines, such as "Thanks.", are in several levels; see the card.
    image = dict(zip(table.cells["level"], table.cells["image"]))
    assert all(len(np.unique(decode_image(image[level], level))) == 1 for level in ("emulator", "nowall", "tetris"))
    equal = [str(one.message) for one in caught]
    counts = {name: max((int(text.split()[0]) for text in equal if f"'{name}'" in text), default=0) for name in data.columns}
    assert counts["text"] <= 12 and counts["image"] <= 80 and counts["speech"] == 0
    groups = [set(of["group"].tolist()) for of in data.metadata.values()]
    assert sum(map(len, groups)) == len(set().union(*groups)) == 76
    assert sum(map(len, data.splits.values())) == 3251
