"""The Stamps task on the real pack: splits without leaks, rows that match their stamps, z-scores of training items."""

import dataclasses
from collections import defaultdict

import jax
import numpy as np
import pytest

from mmjax.data.dataset import stack
from mmjax.data.decode import DataError, decode_audio, decode_image
from mmjax.data.image import on_white, resize
from mmjax.data.splits import check_splits
from mmjax.data.stamps import table as stamps_table
from mmjax.data.stamps.dataset import Stamps
from mmjax.data.text import Words

pytest.importorskip("tokenizers")
pytest.importorskip("soundfile")

TASK = Stamps(image_size=12, speech_languages=("nl", "fr"), seconds=0.5)
SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def loaded(in_memory):
    """The data set, and which items of each column `load` read."""
    read = {"_image": [], "_sound": []}
    with pytest.MonkeyPatch.context() as patch:
        for name, numbers in read.items():
            original = getattr(stamps_table, name)
            patch.setattr(stamps_table, name, lambda *a, f=original, to=numbers: to.append(a[-1]) or f(*a))
        return TASK.load(), {"image": list(read["_image"]), "audio": list(read["_sound"])}


@pytest.fixture(scope="module")
def dataset(loaded):
    return loaded[0]


def plain(name):
    return " ".join(name.casefold().split())


def test_splits_are_leak_free(dataset, records):
    """No stamp, group of the task or of the pack, or name is in two splits."""
    keys = {
        "id": lambda i: i,
        "group of the pack": lambda i: records[i]["group"],
        "name": lambda i: plain(records[i]["texts"].get("en", "")) or i,
    }
    for what, key in keys.items():
        sets = [{key(i) for i in dataset.metadata[split]["id"].tolist()} for split in SPLITS]
        assert len(set.union(*sets)) == sum(map(len, sets)), what
    groups = [set(dataset.metadata[split]["group"].tolist()) for split in SPLITS]
    assert len(set.union(*groups)) == sum(map(len, groups))
    assert check_splits(dataset)


def test_rows_of_a_stamp(dataset, records):
    """One row per clip, or one without audio; weights that add up to 1; one row per stamp in validation."""
    for split in SPLITS:
        rows, metadata = dataset.splits[split], dataset.metadata[split]
        weights, languages = defaultdict(float), defaultdict(list)
        for row, name in enumerate(metadata["id"].tolist()):
            weights[name] += rows.weight[row]
            languages[name].append(str(metadata["language"][row]))
        np.testing.assert_allclose(list(weights.values()), 1, rtol=1e-6)
        for name, found in languages.items():
            available = [language for language in ("nl", "fr") if language in records[name]["speech"]] or [""]
            assert found == available if split != "validation" else (len(found) == 1 and found[0] in available)
    validation = dataset.metadata["validation"]
    both = [{"nl", "fr"} <= set(records[name]["speech"]) for name in validation["id"].tolist()]
    assert set(validation["language"][both].tolist()) == {"nl", "fr"}  # the languages alternate
    assert max(np.unique(dataset.metadata["train"]["id"], return_counts=True)[1]) == 2


def test_rows_match_their_stamps(dataset, pack, records):
    """The metadata and pointers of each row are those of its stamp: folder, name, image and clip."""
    number = {record["id"]: i for i, record in enumerate(pack.index)}
    read = {name: column.read for name, column in dataset.columns.items()}
    for split in SPLITS:
        rows, metadata = dataset.splits[split], dataset.metadata[split]
        assert {len(rows)} == {len(column) for column in metadata.values()} == {len(p) for p in rows.pointer.values()}
        for row, name in enumerate(metadata["id"].tolist()):
            record = records[name]
            assert metadata["subfolder"][row] == record["subfolder"]
            assert metadata["text"][row] == record["texts"].get("en", "")
            assert (rows.pointer["text"][row] >= 0) == bool(record["texts"].get("en", ""))
            assert (rows.pointer["audio"][row] >= 0) == (metadata["language"][row] != "")
        spoken = np.flatnonzero(rows.pointer["audio"] >= 0)
        for row in spoken[:: len(spoken) // 4]:
            name, language = str(metadata["id"][row]), str(metadata["language"][row])
            i = number[name]
            wave = decode_audio(pack.speech_bytes(i, language), name)[:8000]
            sound = read["audio"](int(rows.pointer["audio"][row]))
            assert sound.length == len(wave) and sound.x.dtype == np.int16 and not sound.x[len(wave) :].any()
            assert np.abs(sound.x[: len(wave)] - wave * 32767).max() <= 0.51
            image = resize(on_white(decode_image(pack.image_bytes(i), name)), 12)
            np.testing.assert_array_equal(read["image"](int(rows.pointer["image"][row])), image)


def test_media_of_a_test_row(dataset, pack):
    metadata = dataset.metadata["test"]
    number = {record["id"]: i for i, record in enumerate(pack.index)}
    for row in (int(np.flatnonzero(metadata["language"] == language)[0]) for language in ("nl", "fr", "")):
        media, i, language = dataset.media(row), number[str(metadata["id"][row])], str(metadata["language"][row])
        assert (media["id"], media["language"]) == (metadata["id"][row], language)
        assert media["caption"] == metadata["text"][row] and media["image"] == pack.image_bytes(i)
        assert media["sound"] == (pack.speech_bytes(i, language) if language else None)


def test_equal_names_in_another_language_join_groups(no_media, records):
    """Stamps with equal German names share a group and a split in every fold, though not in English."""
    by_name = defaultdict(list)
    german = [dataclasses.replace(TASK, text_language="de").at_fold(fold).load() for fold in range(5)]
    split_of = [{i: split for split in SPLITS for i in d.metadata[split]["id"].tolist()} for d in german]
    group = groups_of(german[0])
    for i in split_of[0]:
        by_name[plain(records[i]["texts"].get("de", ""))].append(i)
    by_name.pop("", None)
    joined = [same for same in by_name.values() if len({records[i]["group"] for i in same}) > 1]
    assert joined  # without such a pair in the pack, the test would be empty
    for same in joined:
        assert len({group[i] for i in same}) == 1
        assert all(len({splits[i] for i in same}) == 1 for splits in split_of)
    group = groups_of(TASK.load())
    assert any(len({group[i] for i in same}) > 1 for same in joined)


def groups_of(dataset):
    """{id: group}."""
    return {i: int(g) for columns in dataset.metadata.values() for i, g in zip(columns["id"].tolist(), columns["group"])}


def test_every_stamp_is_a_test_stamp_in_one_fold(no_media):
    """Ids and groups are the same in all folds, so that the test predictions of the folds can be joined."""
    assert TASK.folds == 5
    folds = [TASK.at_fold(fold).load() for fold in range(TASK.folds)]
    tests = [set(data.metadata["test"]["id"].tolist()) for data in folds]
    assert len(set.union(*tests)) == sum(map(len, tests)) == 847  # 950 less 103 in small folders: data/stamps/README.md
    for data in folds[1:]:
        assert groups_of(data) == groups_of(folds[0]) and data.classes == folds[0].classes
    assert len({data.fingerprint for data in folds}) == 5
    with pytest.raises(DataError, match=r"Stamps\.fold is 5 of 5 folds"):
        TASK.at_fold(5)


def test_test_names_in_another_language(in_memory, records):
    data = dataclasses.replace(TASK, test_text_language="fr").load()
    for split, language in (("train", "en"), ("validation", "en"), ("test", "fr")):
        metadata = data.metadata[split]
        assert all(text == records[name]["texts"].get(language, "") for name, text in zip(metadata["id"], metadata["text"]))
    assert len(set(data.metadata["test"]["text"])) > 50


def test_names_of_stop_words_alone_are_absent(no_media):
    """With the stop word "seven", the name "Seven." has no tokens: the text is absent, and counted."""
    data = dataclasses.replace(TASK, speech_languages=(), tokenizer=Words(stop_words=("seven", "."))).load()
    empty = [
        (name, int(pointer))
        for split in SPLITS
        for name, pointer in zip(data.metadata[split]["text"].tolist(), data.splits[split].pointer["text"])
        if plain(name) in ("seven", "seven.")
    ]
    assert empty and all(pointer == -1 for _, pointer in empty)
    assert data.dropped["stamps without a name in en"] == len(empty)


def test_without_speech_each_stamp_has_one_row(no_media):
    silent = dataclasses.replace(TASK, speech_languages=()).load()
    assert silent.classes["language"] == () and "audio" not in silent.columns
    for split in SPLITS:
        assert "audio" not in silent.splits[split].pointer and (silent.splits[split].weight == 1).all()
        assert len(set(silent.metadata[split]["id"].tolist())) == len(silent.splits[split])


def test_z_scores_use_training_items_alone(loaded):
    """Of all media, loading reads only training items; over them, mean and deviation are 0 and 1."""
    dataset, read = loaded
    for name in ("image", "audio"):
        train = set(dataset.splits["train"].pointer[name].tolist()) - {-1}
        used = sorted(set(read[name]))
        assert len(used) == 24 and set(used) <= train
        column = dataset.columns[name]
        items = jax.jit(column.preprocess)(stack([column.read(i) for i in used]))
        if name == "audio":
            values = np.asarray(items.x)[np.asarray(items.mask)]
            assert not np.asarray(items.mask).all()  # some clip is shorter than half a second
        else:
            values = np.asarray(items).reshape(-1, 4)
        np.testing.assert_allclose(values.mean(axis=0), 0, atol=1e-3)
        np.testing.assert_allclose(values.std(axis=0), 1, atol=1e-3)


def test_z_scores_change_with_the_fold(dataset):
    other = TASK.at_fold(2).load()
    items = stack([dataset.columns["image"].read(0)])
    first, second = (np.asarray(d.columns["image"].preprocess(items)) for d in (dataset, other))
    assert np.abs(first - second).max() > 1e-3


def test_a_part_of_the_validation_fold(no_media):
    whole, half = (dataclasses.replace(TASK, validation_parts=parts).table() for parts in (1, 2))
    np.testing.assert_array_equal(half.splits["test"], whole.splits["test"])
    moved = np.setdiff1d(half.splits["train"], whole.splits["train"])
    joined = np.sort(np.concatenate([moved, half.splits["validation"]]))
    np.testing.assert_array_equal(joined, whole.splits["validation"])
    assert 0.4 < len(moved) / len(whole.splits["validation"]) < 0.6
    assert not set(half.group[half.splits["train"]]) & set(half.group[half.splits["validation"]])
