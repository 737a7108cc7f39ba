"""The Stamps task on the real pack: leak-free splits, rows that match their stamps, z-scores of training items."""

import dataclasses
import json
import sys
import zipfile
from collections import defaultdict

import jax
import numpy as np
import pytest

from mmjax.data.dataset import Column, stack
from mmjax.data.decode import DataError, decode_audio, decode_image
from mmjax.data.image import on_white, resize
from mmjax.data.scale import standardised
from mmjax.data.stamps import dataset as stamps_dataset
from mmjax.data.stamps import table as stamps_table
from mmjax.data.stamps.dataset import Stamps
from mmjax.data.stamps.pack import StampsPack
from mmjax.data.text import BPE, STOP_WORDS, Characters, WordPiece, Words
from mmjax.nn.mel import LogMel
from mmjax.types import Padded

pytest.importorskip("tokenizers")
pytest.importorskip("soundfile")

TASK = Stamps(image_size=12, speech_languages=("nl", "fr"), seconds=0.5)
SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module", autouse=True)
def cheap():
    """From memory, since the reader's cache is none of our business, and few items are read for the z-scores."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stamps_dataset, "open_source", lambda root: (StampsPack(root), "StampsPack"))
        patch.setattr(stamps_dataset, "FITTED_ON", 24)
        yield


@pytest.fixture(scope="module")
def pack():
    with_archives = StampsPack()
    yield with_archives
    with_archives.close()


@pytest.fixture(scope="module")
def records(pack):
    return {record["id"]: record for record in pack.index}


@pytest.fixture(scope="module")
def loaded():
    """The task, and which items of each column `load` read."""
    read = {"_read_image": [], "_read_audio": []}
    with pytest.MonkeyPatch.context() as patch:
        for name, numbers in read.items():
            original = getattr(stamps_table, name)
            patch.setattr(stamps_table, name, lambda *a, f=original, to=numbers: to.append(a[-1]) or f(*a))
        return TASK.load(), {"image": list(read["_read_image"]), "audio": list(read["_read_audio"])}


@pytest.fixture(scope="module")
def dataset(loaded):
    return loaded[0]


@pytest.fixture
def unread(monkeypatch):
    """Loading reads no media at all: for tests that look at rows only."""
    monkeypatch.setattr(stamps_dataset, "standardised", lambda column, *_: column)


def words(name):
    return " ".join(name.casefold().split())


def test_labels(dataset, pack):
    """Folders with 40 stamps or more: nine. Every one of their stamps is in a split, and no other."""
    count = defaultdict(int)
    for record in pack.index:
        count[record["folder"]] += 1
    big = sorted(folder for folder, n in count.items() if n >= 40)
    assert list(dataset.classes["label"]) == big and len(big) == 9
    ids = {i for part in SPLITS for i in dataset.about[part]["id"].tolist()}
    assert ids == {record["id"] for record in pack.index if record["folder"] in big}
    assert dataset.dropped["stamps in folders with fewer than 40"] == len(pack.index) - len(ids)
    for part in SPLITS:
        assert set(dataset.splits[part].targets["label"].tolist()) == set(range(9))


def test_nothing_in_two_splits(dataset, records):
    """Neither a stamp, nor a group of the task or of the pack, nor a name."""
    keys = {
        "id": lambda i: i,
        "pack's group": lambda i: records[i]["group"],
        "name": lambda i: words(records[i]["texts"].get("en", "")) or i,
    }
    for what, key in keys.items():
        sets = [{key(i) for i in dataset.about[part]["id"].tolist()} for part in SPLITS]
        assert len(set.union(*sets)) == sum(map(len, sets)), what
    groups = [set(dataset.about[part]["group"].tolist()) for part in SPLITS]
    assert len(set.union(*groups)) == sum(map(len, groups))


def test_rows_of_a_stamp(dataset, records):
    """A row for each voice, one without where nobody speaks, weights that add up to 1; one row each in validation."""
    for part in SPLITS:
        rows, about = dataset.splits[part], dataset.about[part]
        weights, voices = defaultdict(float), defaultdict(list)
        for row, name in enumerate(about["id"].tolist()):
            weights[name] += rows.weight[row]
            voices[name].append(str(about["language"][row]))
        np.testing.assert_allclose(list(weights.values()), 1, rtol=1e-6)
        for name, got in voices.items():
            there = [language for language in ("nl", "fr") if language in records[name]["speech"]] or [""]
            assert got == there if part != "validation" else (len(got) == 1 and got[0] in there)
    once = dataset.about["validation"]
    both = [{"nl", "fr"} <= set(records[name]["speech"]) for name in once["id"].tolist()]
    assert set(once["language"][both].tolist()) == {"nl", "fr"}  # each voice gets its turn
    assert max(np.unique(dataset.about["train"]["id"], return_counts=True)[1]) == 2


def test_about_belongs_to_the_rows(dataset, pack, records):
    """Each row's facts and pointers are those of its stamp: folder, name, picture and voice."""
    number = {record["id"]: i for i, record in enumerate(pack.index)}
    finish = {name: column.read for name, column in dataset.columns.items()}
    for part in SPLITS:
        rows, about = dataset.splits[part], dataset.about[part]
        assert {len(rows)} == {len(column) for column in about.values()} == {len(p) for p in rows.pointer.values()}
        for row, name in enumerate(about["id"].tolist()):
            record = records[name]
            assert dataset.classes["label"][rows.targets["label"][row]] == record["folder"]
            assert about["subfolder"][row] == record["subfolder"]
            assert about["text"][row] == record["texts"].get("en", "")
            assert (rows.pointer["text"][row] >= 0) == bool(record["texts"].get("en", ""))
            assert (rows.pointer["audio"][row] >= 0) == (about["language"][row] != "")
        spoken = np.flatnonzero(rows.pointer["audio"] >= 0)
        for row in spoken[:: len(spoken) // 4]:
            name, language = str(about["id"][row]), str(about["language"][row])
            i = number[name]
            wave = decode_audio(pack.speech_bytes(i, language), name)[:8000]
            sound = finish["audio"](int(rows.pointer["audio"][row]))
            assert sound.length == len(wave) and sound.x.dtype == np.int16 and not sound.x[len(wave) :].any()
            assert np.abs(sound.x[: len(wave)] - wave * 32767).max() <= 0.51
            picture = resize(on_white(decode_image(pack.image_bytes(i), name)), 12)
            np.testing.assert_array_equal(finish["image"](int(rows.pointer["image"][row])), picture)


def test_language_of_the_voice(dataset):
    """Which language the clip of a row is in, -1 where there is none; the classes are in alphabetical order."""
    assert dataset.classes["language"] == ("fr", "nl") and TASK.speech_languages == ("nl", "fr")
    for part in SPLITS:
        number, spoken = dataset.splits[part].targets["language"], dataset.about[part]["language"].tolist()
        assert number.dtype == np.int32 and number.tolist() == [{"fr": 0, "nl": 1, "": -1}[code] for code in spoken]
        np.testing.assert_array_equal(number >= 0, dataset.splits[part].pointer["audio"] >= 0)


def test_names_of_stop_words_alone_are_no_text(unread):
    """Here "seven" is one: a name whose every token is left out is absent, and counted."""
    given = Words(stop_words=("seven", "."))
    dataset = dataclasses.replace(TASK, speech_languages=(), tokenizer=given).load()
    names = {part: about["text"] for part, about in dataset.about.items()}
    empty = [
        (name, int(pointer))
        for part in SPLITS
        for name, pointer in zip(names[part].tolist(), dataset.splits[part].pointer["text"])
        if words(name) in ("seven", "seven.")
    ]
    assert empty and all(pointer == -1 for _, pointer in empty)
    assert dataset.dropped["stamps without a name in en"] == len(empty)


def test_media_of_a_test_row(dataset, pack, records):
    about = dataset.about["test"]
    number = {record["id"]: i for i, record in enumerate(pack.index)}
    for row in (int(np.flatnonzero(about["language"] == language)[0]) for language in ("nl", "fr", "")):
        shown, i, language = dataset.media(row), number[str(about["id"][row])], str(about["language"][row])
        assert (shown["id"], shown["language"], shown["caption"]) == (about["id"][row], language, about["text"][row])
        assert shown["image"] == pack.image_bytes(i)
        assert shown["sound"] == (pack.speech_bytes(i, language) if language else None)


def test_names_of_another_language_join_groups(unread, records):
    """A stamp of another group with an equal German name is in the same split in every fold, though not in English."""
    by_name = defaultdict(list)
    german = [dataclasses.replace(TASK, text_language="de", fold=fold).load() for fold in range(5)]
    where = [{i: part for part in SPLITS for i in d.about[part]["id"].tolist()} for d in german]
    group = {i: int(g) for part in SPLITS for i, g in zip(german[0].about[part]["id"], german[0].about[part]["group"])}
    for i in where[0]:
        by_name[words(records[i]["texts"].get("de", ""))].append(i)
    by_name.pop("", None)
    joined = [same for same in by_name.values() if len({records[i]["group"] for i in same}) > 1]
    assert joined  # else the pack has no such pair, and this test tests nothing
    for same in joined:
        assert len({group[i] for i in same}) == 1
        assert all(len({parts[i] for i in same}) == 1 for parts in where)
    english = TASK.load()
    group = {i: int(g) for part in SPLITS for i, g in zip(english.about[part]["id"], english.about[part]["group"])}
    assert any(len({group[i] for i in same}) > 1 for same in joined)


def test_each_fold_is_the_test_split_once(unread):
    tests = [set(dataclasses.replace(TASK, fold=fold).load().about["test"]["id"].tolist()) for fold in range(5)]
    assert len(set.union(*tests)) == sum(map(len, tests)) == 847  # 950 less 103 in small folders: data/stamps/README.md


def test_names_of_the_test_split_in_a_language_that_training_never_saw(records):
    data = dataclasses.replace(TASK, test_text_language="fr").load()
    for split, language in (("train", "en"), ("validation", "en"), ("test", "fr")):
        about = data.about[split]
        assert all(text == records[name]["texts"].get(language, "") for name, text in zip(about["id"], about["text"]))
    assert len(set(data.about["test"]["text"])) > 50


@pytest.mark.parametrize(
    ("field", "value"), [("text_language", "xx"), ("test_text_language", "xx"), ("speech_languages", ("fr", "xx"))]
)
def test_unknown_language(field, value):
    with pytest.raises(DataError, match=rf"Stamps\.{field}: unknown language 'xx'; the pack has .*fr.*"):
        dataclasses.replace(TASK, **{field: value}).load()


def test_no_voices(unread):
    """Without speech there is one row a stamp, and no audio anywhere."""
    silent = dataclasses.replace(TASK, speech_languages=()).load()
    assert silent.classes["language"] == () and "audio" not in silent.columns
    for part in SPLITS:
        assert (silent.splits[part].pointer["audio"] == -1).all() and (silent.splits[part].weight == 1).all()
        assert len(set(silent.about[part]["id"].tolist())) == len(silent.splits[part])


def test_z_scores_see_training_items_alone(loaded):
    """Of all media only training items are read while loading; over them mean and deviation are 0 and 1."""
    dataset, read = loaded
    for name in ("image", "audio"):
        train = set(dataset.splits["train"].pointer[name].tolist()) - {-1}
        used = sorted(set(read[name]))
        assert len(used) == 24 and set(used) <= train
        column = dataset.columns[name]
        seen = jax.jit(column.finish)(stack([column.read(i) for i in used]))
        if name == "audio":
            values = np.asarray(seen.x)[np.asarray(seen.mask)]
            assert not np.asarray(seen.mask).all()  # some clip is shorter than half a second
        else:
            values = np.asarray(seen).reshape(-1, 4)
        np.testing.assert_allclose(values.mean(axis=0), 0, atol=1e-3)
        np.testing.assert_allclose(values.std(axis=0), 1, atol=1e-3)


def test_a_part_of_validation_alone(unread):
    whole, half = (dataclasses.replace(TASK, validation_parts=parts).table() for parts in (1, 2))
    np.testing.assert_array_equal(half.split.test, whole.split.test)
    moved = np.setdiff1d(half.split.train, whole.split.train)
    np.testing.assert_array_equal(np.sort(np.concatenate([moved, half.split.validation])), whole.split.validation)
    assert 0.4 < len(moved) / len(whole.split.validation) < 0.6
    assert not set(half.group[half.split.train]) & set(half.group[half.split.validation])


@pytest.mark.parametrize(("parts", "message"), [(0, "must be at least 1"), (5000, "too many: groups has")])
def test_a_number_of_validation_parts_that_cannot_be(unread, parts, message):
    with pytest.raises(DataError, match=rf"Stamps\.validation_parts is {parts}.*{message}"):
        dataclasses.replace(TASK, validation_parts=parts).table()


def test_z_scores_change_with_the_fold(dataset):
    other = dataclasses.replace(TASK, fold=2).load()
    raw = stack([dataset.columns["image"].read(0)])
    ours, theirs = (np.asarray(d.columns["image"].finish(raw)) for d in (dataset, other))
    assert np.abs(ours - theirs).max() > 1e-3
    assert dataset.fingerprint != other.fingerprint


def test_standardised_by_hand():
    """Items 0, 1 and 3 are trained on: values 1, 3 and 5 have mean 3 and variance 8/3. Item 2 is far off and unseen."""
    values = np.array([1, 3, 1000, 5], np.float32)
    flat = Column(4, lambda i: np.full((2, 2), values[i]), lambda x: x)
    z = standardised(flat, np.array([0, 1, -1, 3, 3, 3]))  # an item counts once, however many rows have it
    items = stack([flat.read(i) for i in range(4)])
    np.testing.assert_allclose(np.asarray(z.finish(items))[:, 0, 0], (values - 3) / np.sqrt(8 / 3), rtol=1e-5)


def test_standardised_leaves_out_padding():
    """Steps 2 and 4 of one clip and 6 of another: mean 4; what lies beyond the length is 1e6 and does not count."""
    steps = np.array([[[2], [4], [1e6]], [[6], [1e6], [1e6]]], np.float32)
    clips = Column(2, lambda i: Padded(steps[i], np.int32(2 - i)), lambda x: x)
    z = standardised(clips, np.array([0, 1])).finish(Padded(steps, np.array([2, 1])))
    np.testing.assert_allclose(
        np.asarray(z.x)[[0, 0, 1], [0, 1, 0], 0], np.array([-2, 0, 2]) / np.sqrt(8 / 3), atol=1e-6
    )


def test_constant_values_stay_finite():
    """A channel that never changes, such as alpha of opaque pictures, becomes 0, not 0 / 0."""
    z = standardised(Column(3, lambda i: np.ones((2, 1), np.float32), lambda x: x), np.arange(3))
    assert not np.asarray(z.finish(np.ones((1, 2, 1), np.float32))).any()


def test_fingerprint(unread):
    """The same twice; another one for each choice that changes an example."""
    first = TASK.load().fingerprint
    assert TASK.load().fingerprint == first and len(first) == 64
    changes = {
        "image_size": 13, "fold": 1, "split_seed": 1, "seconds": 0.75, "mel": LogMel(bands=20), "text_language": "fr",
        "test_text_language": "de",
        "speech_languages": ("fr",), "tokenizer": BPE(500), "max_tokens": 9, "folds": 4, "validation_parts": 2,
    }  # fmt: skip
    assert set(changes) | {"root"} == {field.name for field in dataclasses.fields(Stamps)}
    others = {name: dataclasses.replace(TASK, **{name: value}).load().fingerprint for name, value in changes.items()}
    assert len({first, *others.values()}) == len(changes) + 1
    silent = dataclasses.replace(TASK, speech_languages=())
    kinds = [BPE(), WordPiece(), Words(), Words(stop_words=STOP_WORDS), Characters()]
    assert len({dataclasses.replace(silent, tokenizer=kind).load().fingerprint for kind in kinds}) == 5


def small_pack(folder, pack, damage=None):
    """Animals and clothes, at least 40 of each, the first six Dutch voices; the picture `damage` is cut in half."""
    animals = [i for i, record in enumerate(pack.index) if record["folder"] == "animals"][:45]
    clothes = [i for i, record in enumerate(pack.index) if record["folder"] == "clothes"]
    folder.mkdir()
    records, voices = [], 0
    with (
        zipfile.ZipFile(folder / "images.zip", "w") as images,
        zipfile.ZipFile(folder / "speech-nl.zip", "w") as speech,
    ):
        for i in animals + clothes:
            record = {**pack.index[i], "speech": {}, "sound": None, "spoken": {}}
            if "nl" in pack.index[i]["speech"] and voices < 6:
                record["speech"], voices = {"nl": f"{i}.mp3"}, voices + 1
                speech.writestr(f"{i}.mp3", pack.speech_bytes(i, "nl"))
            data = pack.image_bytes(i)
            images.writestr(record["image"], data[: len(data) // 2] if record["id"] == damage else data)
            records.append(record)
    assert voices == 6
    (folder / "stamps.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    (folder / "sha256sums.txt").write_text(f"a part of the pack, damaged: {damage}\n")
    return folder


def small(root):
    return dataclasses.replace(TASK, speech_languages=("nl",), root=root)


def test_memory_and_tfds_give_equal_columns(tmp_path, pack, monkeypatch):
    tfds = pytest.importorskip("mmjax.data.stamps.tfds", exc_type=ImportError)
    root = small_pack(tmp_path / "pack", pack)
    memory = small(root).load()
    monkeypatch.setattr(stamps_dataset, "open_source", lambda root: (tfds.tfds_source(root, tmp_path / "cache"), "TFDS"))
    through = small(root).load()
    assert (memory.source, through.source) == ("StampsPack", "TFDS") and memory.fingerprint == through.fingerprint
    for part in SPLITS:
        jax.tree.map(np.testing.assert_array_equal, memory.splits[part], through.splits[part])
    for name, column in memory.columns.items():
        ours = stack([column.read(i) for i in range(column.count)])
        theirs = stack([through.columns[name].read(i) for i in range(through.columns[name].count)])
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)
        finished = jax.jit(column.finish)(ours), jax.jit(through.columns[name].finish)(theirs)
        jax.tree.map(np.testing.assert_array_equal, *finished)
    assert memory.media(0) == through.media(0)


def test_truncated_image_is_named(tmp_path, pack, monkeypatch):
    """While loading, if it is a training item that z-scores are fitted on; else when it is read."""
    monkeypatch.setattr(stamps_dataset, "FITTED_ON", 400)  # all of them
    whole = small(small_pack(tmp_path / "whole", pack)).load()
    for part in ("train", "test"):
        name, number = str(whole.about[part]["id"][0]), int(whole.splits[part].pointer["image"][0])
        task = small(small_pack(tmp_path / part, pack, damage=name))
        with pytest.raises(DataError, match=f"image of {name}: the image is truncated or damaged"):
            task.load().columns["image"].read(0 if part == "train" else number)


def test_source_without_tfds(monkeypatch):
    """Where TFDS is missing, the pack from memory, and the reader is told so."""
    monkeypatch.setitem(sys.modules, "mmjax.data.stamps.tfds", None)
    source, kind = OPEN_SOURCE(None)
    assert isinstance(source, StampsPack) and kind == "StampsPack (tensorflow-datasets is not installed)"


OPEN_SOURCE = stamps_dataset.open_source  # before `cheap` replaces it
