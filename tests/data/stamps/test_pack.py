"""The committed pack has the properties that its card states."""

import gzip
import json
import pickle
import re
import zipfile
from collections import Counter, defaultdict

import numpy as np
import pytest

from mmjax.data.decode import DataError, decode_audio, decode_image
from mmjax.data.groups import near_duplicates, same_drawings
from mmjax.data.splits import grouped_folds, train_validation_test


@pytest.fixture(scope="module")
def task(pack):
    """Rows of the label task, their folders, groups and folds."""
    labels = pack.labels()
    rows = [i for i, record in enumerate(pack.index) if record["folder"] in labels]
    folders = np.array([pack.index[i]["folder"] for i in rows])
    groups = np.array([pack.index[i]["group"] for i in rows])
    return rows, folders, groups, grouped_folds(groups, folders, folds=5, seed=0)


@pytest.fixture(scope="module")
def images(pack):
    return [decode_image(pack.image_bytes(i), record["id"]) for i, record in enumerate(pack.index)]


def card_table(pack, heading: str) -> dict[str, str]:
    """The card's table whose head begins with `heading`, first column to second."""
    card = (pack.root / "README.md").read_text()
    lines = card[card.index(f"| {heading} |"):].split("\n\n")[0].splitlines()[2:]
    return dict(re.fullmatch(r"\| (.+?) \| (.+?) \|", line).groups() for line in lines)


def test_checksums_of_all_files(pack):
    pack.verify()
    listed = {line.split("  ")[1] for line in (pack.root / "sha256sums.txt").read_text().splitlines()}
    assert {path.name for path in pack.root.iterdir()} == listed | {"sha256sums.txt"}
    assert sum(path.stat().st_size for path in pack.root.iterdir()) <= 60e6


def test_counts_are_the_cards(pack):
    counts = card_table(pack, "item")
    assert len(pack) == int(counts["stamps"]) == 950  # the issue counted the source: 702 PNG, 248 SVG
    speech = Counter(language for record in pack.index for language in record["speech"])
    assert {k: int(v) for k, v in card_table(pack, "speech language").items()} == speech
    assert speech.total() == int(counts["speech clips"]) == 7390
    texts = Counter(language for record in pack.index for language in record["texts"])
    assert {k: int(v) for k, v in card_table(pack, "text language").items()} == texts
    assert texts.total() == int(counts["texts"]) == 62_340
    assert sum(record["sound"] is not None for record in pack.index) == int(counts["with a sound effect"])
    groups = Counter(record["group"] for record in pack.index)
    assert len(groups) == int(counts["groups"])
    assert max(groups.values()) == int(counts["largest group"]) < 0.06 * len(pack)
    folders = Counter(record["folder"] for record in pack.index)
    assert {k: int(v) for k, v in card_table(pack, "folder").items()} == folders
    members = {}
    for name in card_table(pack, "archive"):
        with zipfile.ZipFile(pack.root / name) as archive:
            members[name] = len(archive.namelist())
    assert {k: int(v) for k, v in card_table(pack, "archive").items()} == members


def test_cleaning_report_is_the_cards(pack):
    """Each row of the card's table is as long as the list of items in cleaning.json.gz, and none is left out."""
    report = json.loads(gzip.decompress((pack.root / "cleaning.json.gz").read_bytes()))
    listed = {(action, reason): len(items) for action in ("dropped", "repaired", "noted")
              for reason, items in report[action].items()}
    card = (pack.root / "README.md").read_text()
    rows = re.findall(r"^\| (dropped|repaired|noted) \| (.+?) \| (\d+) \|", card, re.MULTILINE)
    assert {(action, reason): int(number) for action, reason, number in rows} == listed


def test_every_source_file_is_packed_or_reported(pack):
    """10,397 files: those dropped, and one image, one text file and the recordings of each stamp that stayed."""
    report = json.loads(gzip.decompress((pack.root / "cleaning.json.gz").read_bytes()))
    dropped = sum(map(len, report["dropped"].values()))
    used = sum(1 + bool(r["texts"]) + len(r["speech"]) + len(r["spoken"]) + bool(r["sound"]) for r in pack.index)
    assert dropped + used == report["source"]["files"]


def test_records_are_consistent(pack):
    ids = [record["id"] for record in pack.index]
    assert ids == sorted(set(ids))
    for record in pack.index:
        parts = record["id"].split("/")
        assert record["folder"] == parts[0]
        assert record["subfolder"] == ("/".join(parts[:2]) if len(parts) > 2 else parts[0])
        assert all(text.strip() for text in record["texts"].values())


def test_labels(pack):
    assert pack.labels() == (
        "animals", "clothes", "food", "household", "plants", "seasonal", "symbols", "town", "vehicles")
    assert pack.labels(min_count=100) == ("animals", "symbols")  # 154 and 249; the next has 80


def test_images_have_alpha_and_size(images):
    for image in images:
        assert image.shape == (128, 128, 4)
        assert image[..., 3].max() > 0
    assert np.mean([(image[..., 3] == 0).any() for image in images]) > 0.95  # a canvas around the drawing


def test_no_recording_caption_or_look_crosses_groups(pack, images):
    """Straight from the definition, without union-find: whatever two stamps share, they share the group too."""
    holders = defaultdict(set)
    counted = {"en"} | {language for record in pack.index for language in record["speech"]}
    for record in pack.index:
        for language, text in record["texts"].items():
            if language not in counted:  # see the card: who trains on such a language joins groups further
                continue
            holders["text", language, " ".join(text.casefold().split())].add(record["group"])
        for language, member in record["speech"].items():
            holders["speech", language, member].add(record["group"])
        for member in [record["sound"], *record["spoken"].values()]:
            holders["sound", member].add(record["group"])
    del holders["sound", None]
    assert max(map(len, holders.values())) == 1
    group_of = [record["group"] for record in pack.index]
    for pairs in (near_duplicates(images)[0], same_drawings(images)):
        assert len(pairs) > 10
        assert [(i, j) for i, j in pairs.tolist() if group_of[i] != group_of[j]] == []


def test_no_group_crosses_a_split(task):
    _, _, groups, folds = task
    for fold in range(5):
        parts = [set(groups[split].tolist()) for split in train_validation_test(folds, fold).values()]
        assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])


def test_no_near_duplicate_crosses_a_fold(task, images):
    """By another measure than the one that made the groups: mean difference of 16x16 px over white, both ways round.

    Pairs within 0.05 are mirrored signs, dreidels, traffic lights, two jeans; the next pair is at 0.065.
    """
    rows, _, _, folds = task
    small = []
    for i in rows:
        colour, alpha = images[i][..., :3].astype(float), images[i][..., 3:] / 255.0
        over_white = colour * alpha + 255 * (1 - alpha)
        small.append(255 - over_white.reshape(16, 8, 16, 8, 3).mean(axis=(1, 3)))
    plain = np.stack(small)
    mirrored = plain[:, :, ::-1].reshape(len(rows), -1).astype(np.float32)
    plain = plain.reshape(len(rows), -1).astype(np.float32)
    ink = plain.mean(axis=1)
    pairs = []
    for i in range(len(rows)):
        distance = np.minimum(*(np.abs(other[i:] - plain[i]).mean(axis=1) for other in (plain, mirrored)))
        pairs += [(i, i + j) for j in np.flatnonzero(distance < 0.05 * (ink[i] + ink[i:])) if j]
    assert len(pairs) > 10
    assert [(rows[i], rows[j]) for i, j in pairs if folds[i] != folds[j]] == []


def test_folds_are_stratified(task):
    """A fold holds a fifth of every folder, give or take one group of that folder, which cannot be split."""
    _, folders, groups, folds = task
    for folder in set(folders.tolist()):
        here = folders == folder
        counts = np.bincount(folds[here], minlength=5)
        largest_group = np.bincount(groups[here]).max()
        assert np.abs(counts - counts.mean()).max() <= max(2, largest_group), (folder, counts)


def test_speech_decodes(pack):
    """Sixteen clips of each language: between a tenth of a second and twenty seconds long, and audible."""
    for language in sorted({language for record in pack.index for language in record["speech"]}):
        rows = [i for i, record in enumerate(pack.index) if language in record["speech"]]
        for i in rows[:: max(1, len(rows) // 16)]:
            wave = decode_audio(pack.speech_bytes(i, language), pack.index[i]["id"])
            assert 0.1 < len(wave) / 16_000 < 20
            assert np.abs(wave).max() > 0.03


def test_item_holds_every_medium(pack):
    item = pack[[record["id"] for record in pack.index].index("animals/amphibians/frog")]
    assert item["texts"]["en"] == "A frog." and item["texts"]["zh_CN"] == "青蛙。"
    assert {"fr", "en", "el"} <= set(item["speech"])
    assert item["image"].startswith(b"\x89PNG") and len(decode_audio(item["sound"], "frog")) > 1000
    assert item["spoken"] == {} and item["folder"] == "animals" and item["subfolder"] == "animals/amphibians"


def test_digits_are_spoken(pack):
    item = pack[[record["id"] for record in pack.index].index("symbols/math/3")]
    assert {"fr", "ja", "zh_TW"} <= set(item["spoken"])


def test_absent_media(pack):
    silent = next(i for i, record in enumerate(pack.index) if not record["speech"] and not record["sound"])
    assert pack[silent]["speech"] == {} and pack[silent]["sound"] == b""
    with pytest.raises(DataError, match="unknown language 'fr'"):
        pack.speech_bytes(silent, "fr")
    with pytest.raises(IndexError):
        pack[len(pack)]


def test_pickles_after_use(pack):
    first = pack[0]
    copy = pickle.loads(pickle.dumps(pack))
    assert copy[0] == first and copy.fingerprint == pack.fingerprint
    copy.close()
