"""Image-text pairs on the real pack: without leaks, without accidental matches, balanced, and reproducible."""

import dataclasses
import re
import unicodedata

import numpy as np
import pytest

from mmjax.data.decode import DataError
from mmjax.data.splits import check_splits
from mmjax.data.stamps import dataset as stamps_dataset
from mmjax.data.stamps.dataset import Stamps
from mmjax.data.stamps.pairs import KINDS, StampsPairs
from mmjax.data.text import Words

pytest.importorskip("tokenizers")

TASK = StampsPairs(Stamps(image_size=12), negatives=3)
SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module", autouse=True)
def without_media(in_memory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stamps_dataset, "standardized", lambda column, *_: column)
        yield


@pytest.fixture(scope="module")
def dataset():
    return TASK.load()


@pytest.fixture(scope="module")
def stamps():
    return dataclasses.replace(TASK.stamps, speech_languages=()).load()


def words(name):
    return set(re.findall(r"\w+", unicodedata.normalize("NFKC", name).casefold()))


def test_true_pairs_are_true(dataset, records):
    for split in SPLITS:
        rows, metadata = dataset.splits[split], dataset.metadata[split]
        match = metadata["pair"] == "match"
        np.testing.assert_array_equal(rows.targets["match"], match)
        np.testing.assert_array_equal(metadata["id"] == metadata["named"], match)
        np.testing.assert_array_equal(rows.pointer["image"] == rows.pointer["text"], match)
        for name, named, text in zip(metadata["id"].tolist(), metadata["named"].tolist(), metadata["text"].tolist()):
            assert records[named]["texts"]["en"] == text and name in records
    assert dataset.classes == {"match": ("no", "yes")} and set(dataset.columns) == {"image", "text"}


def test_negatives_cannot_be_true(dataset, records, stamps):
    """They are of another group, neither name has all words of the other, and hard ones come from the same folder."""
    group = {i: int(g) for metadata in stamps.metadata.values() for i, g in zip(metadata["id"].tolist(), metadata["group"])}
    for split in SPLITS:
        metadata = dataset.metadata[split]
        assert metadata["group"].tolist() == [group[name] for name in metadata["id"].tolist()]
        for name, named, pair in zip(metadata["id"].tolist(), metadata["named"].tolist(), metadata["pair"].tolist()):
            if pair == "match":
                continue
            own, other = (words(records[i]["texts"]["en"]) for i in (name, named))
            assert group[name] != group[named] and not own <= other and not other <= own
            if pair == "hard":
                assert records[name]["folder"] == records[named]["folder"]
        random = metadata["pair"] == "random"
        ids = zip(metadata["id"][random], metadata["named"][random])
        # most are from another folder, since the largest of the nine has 29 % of the stamps
        assert 0.5 < np.mean([records[a]["folder"] != records[b]["folder"] for a, b in ids]) < 1


def test_no_pair_crosses_splits(dataset, stamps):
    """The splits are those of Stamps, for images and for names."""
    split_of = {i: split for split, metadata in stamps.metadata.items() for i in metadata["id"].tolist()}
    for split in SPLITS:
        metadata = dataset.metadata[split]
        assert {split_of[i] for i in metadata["id"].tolist() + metadata["named"].tolist()} == {split}
    ids = set.union(*(set(dataset.metadata[split]["id"].tolist()) for split in SPLITS))
    assert ids == set(split_of)  # every stamp has an English name


def test_balanced(dataset):
    """True pairs and negatives weigh the same, random and hard half of it each; training rows are equal."""
    for split in SPLITS:
        pair, weight = dataset.metadata[split]["pair"], dataset.splits[split].weight
        stamps = len(set(dataset.metadata[split]["id"].tolist()))
        np.testing.assert_allclose([weight[pair == kind].sum() for kind in KINDS], np.array([1, 0.5, 0.5]) * stamps, rtol=1e-5)
        count = [(pair == kind).sum() / stamps for kind in KINDS]
        assert count == ([6, 3, 3] if split == "train" else [1, 1, 1])
    np.testing.assert_allclose(dataset.splits["train"].weight, 1 / 6, rtol=1e-6)
    first = dataset.metadata["train"]["id"] == dataset.metadata["train"]["id"][0]
    wrong = dataset.metadata["train"]["named"][first & (dataset.metadata["train"]["pair"] == "hard")]
    assert len(set(wrong.tolist())) == 3


def test_columns_are_those_of_stamps(dataset, stamps):
    """The image and tokens of a row are those of Stamps for the same stamps; the caption is the name of the pair."""
    rows, metadata = dataset.splits["test"], dataset.metadata["test"]
    number = {i: int(p) for i, p in zip(stamps.metadata["test"]["id"].tolist(), stamps.splits["test"].pointer["image"])}
    for row in (0, 1, 2):
        name, named = str(metadata["id"][row]), str(metadata["named"][row])
        image, text = (dataset.columns[m].read(int(rows.pointer[m][row])) for m in ("image", "text"))
        np.testing.assert_array_equal(image, stamps.columns["image"].read(number[name]))
        assert text.x.tolist() == stamps.columns["text"].read(number[named]).x.tolist()
        media = dataset.media(row)
        assert (media["id"], media["caption"]) == (name, metadata["text"][row]) and media["image"].startswith(b"\x89PNG")
    assert dataset.sizes == {name: stamps.sizes[name] for name in ("image", "text")}


def test_loading_is_reproducible(dataset):
    again = TASK.load()
    assert again.fingerprint == dataset.fingerprint and len(again.fingerprint) == 64
    for split in SPLITS:
        for name, values in dataset.metadata[split].items():
            np.testing.assert_array_equal(again.metadata[split][name], values)


def test_fingerprint_changes_with_every_choice(dataset):
    choices = [{"split_seed": 1}, {"fold": 1}, {"image_size": 13}, {"tokenizer": Words()}, {"text_language": "fr"}]
    others = [dataclasses.replace(TASK, stamps=dataclasses.replace(TASK.stamps, **choice)) for choice in choices]
    others += [dataclasses.replace(TASK, negatives=2)]
    prints = {dataset.fingerprint} | {task.load().fingerprint for task in others}
    assert len(prints) == len(others) + 1
    assert StampsPairs() == StampsPairs() and hash(StampsPairs()) == hash(StampsPairs())


def test_negatives_change_with_the_seed(dataset):
    other = dataclasses.replace(TASK, stamps=dataclasses.replace(TASK.stamps, split_seed=1)).load()
    pairs = [
        {(a, b) for a, b in zip(d.metadata["train"]["id"].tolist(), d.metadata["train"]["named"].tolist()) if a != b}
        for d in (dataset, other)
    ]
    assert len(pairs[0] & pairs[1]) < 0.2 * len(pairs[0])


def test_folds_are_those_of_stamps(dataset, stamps):
    assert TASK.folds == 5
    other = TASK.at_fold(3).load()
    table = TASK.stamps.at_fold(3).table()
    assert set(other.metadata["test"]["id"]) == {table.records[item]["id"] for item in table.splits["test"]}
    assert not set(other.metadata["test"]["id"]) & set(dataset.metadata["test"]["id"])
    groups = lambda data: {(i, g) for columns in data.metadata.values() for i, g in zip(columns["id"], columns["group"])}
    assert groups(dataset) == groups(other)
    assert check_splits(dataset) and check_splits(other)


@pytest.mark.parametrize("count", [0, -3, 10**9])
def test_bad_numbers_of_negatives_are_refused(count):
    with pytest.raises(DataError, match=rf"StampsPairs\.negatives is {count}; it must be at least 1 and at most 100"):
        StampsPairs(negatives=count)
