"""Pictures and names that belong together or not, on the real pack: no leak, no accident, balanced, the same each time."""

import dataclasses
import re
import unicodedata

import numpy as np
import pytest

from mmjax.data.decode import DataError
from mmjax.data.stamps import dataset as stamps_dataset
from mmjax.data.stamps.dataset import Stamps
from mmjax.data.stamps.pack import StampsPack
from mmjax.data.stamps.pairs import KINDS, StampsPairs
from mmjax.data.text import Words

pytest.importorskip("tokenizers")

TASK = StampsPairs(Stamps(image_size=12), negatives=3)
SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module", autouse=True)
def cheap():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stamps_dataset, "open_source", lambda root: (StampsPack(root), "StampsPack"))
        patch.setattr(stamps_dataset, "standardised", lambda column, *_: column)  # reads no media
        yield


@pytest.fixture(scope="module")
def records():
    return {record["id"]: record for record in StampsPack().index}


@pytest.fixture(scope="module")
def dataset():
    return TASK.load()


@pytest.fixture(scope="module")
def stamps():
    return dataclasses.replace(TASK.stamps, speech_languages=()).load()


def words(name):
    return set(re.findall(r"\w+", unicodedata.normalize("NFKC", name).casefold()))


def test_true_pairs_are_true(dataset, records):
    for part in SPLITS:
        rows, about = dataset.splits[part], dataset.about[part]
        match = about["pair"] == "match"
        np.testing.assert_array_equal(rows.targets["match"], match)
        np.testing.assert_array_equal(about["id"] == about["named"], match)
        np.testing.assert_array_equal(rows.pointer["image"] == rows.pointer["text"], match)
        for name, named, text in zip(about["id"].tolist(), about["named"].tolist(), about["text"].tolist()):
            assert records[named]["texts"]["en"] == text and name in records
    assert dataset.classes == {"match": ("no", "yes")} and set(dataset.columns) == {"image", "text"}


def test_wrong_names_are_wrong(dataset, records, stamps):
    """Of another leak-free group, and neither has all words of the other; hard ones come from the same folder."""
    group = {i: int(g) for about in stamps.about.values() for i, g in zip(about["id"].tolist(), about["group"])}
    for part in SPLITS:
        about = dataset.about[part]
        assert about["group"].tolist() == [group[name] for name in about["id"].tolist()]
        for name, named, pair in zip(about["id"].tolist(), about["named"].tolist(), about["pair"].tolist()):
            if pair == "match":
                continue
            own, other = (words(records[i]["texts"]["en"]) for i in (name, named))
            assert group[name] != group[named] and not own <= other and not other <= own
            if pair == "hard":
                assert records[name]["folder"] == records[named]["folder"]
        kinds = about["pair"] == "random"
        folders = [records[a]["folder"] != records[b]["folder"] for a, b in zip(about["id"][kinds], about["named"][kinds])]
        assert 0.5 < np.mean(folders) < 1  # mostly, but not always, another one: nine folders, the biggest of 29 %


def test_no_pair_crosses_splits(dataset, stamps):
    """The splits are those of Stamps, for pictures and for names."""
    part_of = {i: part for part, about in stamps.about.items() for i in about["id"].tolist()}
    for part in SPLITS:
        about = dataset.about[part]
        assert {part_of[i] for i in about["id"].tolist() + about["named"].tolist()} == {part}
    ids = set.union(*(set(dataset.about[part]["id"].tolist()) for part in SPLITS))
    assert ids == set(part_of)  # all of them have a name in English


def test_balanced(dataset):
    """True and wrong weigh the same, random and hard half each; in training all rows weigh the same too."""
    for part in SPLITS:
        pair, weight = dataset.about[part]["pair"], dataset.splits[part].weight
        stamps = len(set(dataset.about[part]["id"].tolist()))
        np.testing.assert_allclose([weight[pair == kind].sum() for kind in KINDS], np.array([1, 0.5, 0.5]) * stamps, rtol=1e-5)
        count = [(pair == kind).sum() / stamps for kind in KINDS]
        assert count == ([6, 3, 3] if part == "train" else [1, 1, 1])
    np.testing.assert_allclose(dataset.splits["train"].weight, 1 / 6, rtol=1e-6)
    first = dataset.about["train"]["id"] == dataset.about["train"]["id"][0]
    wrong = dataset.about["train"]["named"][first & (dataset.about["train"]["pair"] == "hard")]
    assert len(set(wrong.tolist())) == 3


def test_columns_are_those_of_stamps(dataset, stamps):
    """A row's picture and words are what Stamps gives for the same stamps; a person is shown the name that was given."""
    rows, about = dataset.splits["test"], dataset.about["test"]
    number = {i: int(p) for i, p in zip(stamps.about["test"]["id"].tolist(), stamps.splits["test"].pointer["image"])}
    for row in (0, 1, 2):
        name, named = str(about["id"][row]), str(about["named"][row])
        image, text = (dataset.columns[m].read(int(rows.pointer[m][row])) for m in ("image", "text"))
        np.testing.assert_array_equal(image, stamps.columns["image"].read(number[name]))
        assert text.x.tolist() == stamps.columns["text"].read(number[named]).x.tolist()
        shown = dataset.media(row)
        assert (shown["id"], shown["caption"]) == (name, about["text"][row]) and shown["image"].startswith(b"\x89PNG")
    assert dataset.sizes == {name: stamps.sizes[name] for name in ("image", "text")}


def test_the_same_each_time(dataset):
    again = TASK.load()
    assert again.fingerprint == dataset.fingerprint and len(again.fingerprint) == 64
    for part in SPLITS:
        for name, values in dataset.about[part].items():
            np.testing.assert_array_equal(again.about[part][name], values)


def test_fingerprint(dataset):
    choices = [{"split_seed": 1}, {"fold": 1}, {"image_size": 13}, {"tokenizer": Words()}, {"text_language": "fr"}]
    others = [dataclasses.replace(TASK, stamps=dataclasses.replace(TASK.stamps, **choice)) for choice in choices]
    others += [dataclasses.replace(TASK, negatives=2)]
    prints = {dataset.fingerprint} | {task.load().fingerprint for task in others}
    assert len(prints) == len(others) + 1
    assert StampsPairs() == StampsPairs() and hash(StampsPairs()) == hash(StampsPairs())


def test_other_names_with_another_seed(dataset):
    """The same folds by chance or not: what is drawn follows the seed."""
    other = dataclasses.replace(TASK, stamps=dataclasses.replace(TASK.stamps, split_seed=1)).load()
    pairs = [
        {(a, b) for a, b in zip(d.about["train"]["id"].tolist(), d.about["train"]["named"].tolist()) if a != b}
        for d in (dataset, other)
    ]
    assert len(pairs[0] & pairs[1]) < 0.2 * len(pairs[0])


def test_no_negatives():
    with pytest.raises(DataError, match=r"StampsPairs\.negatives is 0; it must be at least 1"):
        StampsPairs(negatives=0)
