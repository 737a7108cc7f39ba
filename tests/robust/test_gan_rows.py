"""Generated rows: where they are, what they weigh, what determines them, and what a collapsed generator prints."""

import dataclasses
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from mmjax.data.dataset import Column, Dataset, Rows, identity
from mmjax.data.decode import DataError
from mmjax.data.few import Few, few_groups
from mmjax.data.splits import CrossValidated, check_splits
from mmjax.robust.gan import ConditionalGAN
from mmjax.robust.gan_rows import GeneratedRows

TINY = ConditionalGAN(noise=2, hidden=(4,), steps=2, batch=4)
COUNT = 40


@dataclasses.dataclass(frozen=True)
class Toy:
    """Forty training rows in groups of two, with two classes; "b" is missing in every fourth row. `fold` moves all features."""

    fold: int = 0
    folds: int = 3
    test: float = 0.0

    def at_fold(self, fold):
        return replace(self, fold=fold)

    def load(self):
        random = np.random.default_rng(self.fold)
        a, b = (random.normal(size=(COUNT + 4, d)).astype(np.float32) for d in (3, 2))
        a[COUNT:] += self.test  # items of the test split alone
        number = np.arange(COUNT + 4)
        targets = {"label": (number % 4 // 2).astype(np.int32), "value": number.astype(np.float32)}
        rows = lambda at: Rows(
            {"a": number[at], "b": np.where(number[at] % 4 == 3, -1, number[at])},
            {name: leaf[at] for name, leaf in targets.items()},
            np.full(len(number[at]), 0.5, np.float32),
        )
        name = number.astype(str)
        metadata = lambda at: {"id": name[at], "group": number[at] // 2, "text": name[at]}
        parts = {"train": slice(0, COUNT), "test": slice(COUNT, None)}
        return Dataset(
            columns={"a": Column(COUNT + 4, lambda i: a[i], identity), "b": Column(COUNT + 4, lambda i: b[i], identity)},
            splits={name: rows(at) for name, at in parts.items()},
            metadata={name: metadata(at) for name, at in parts.items()},
            fingerprint=f"toy {self.fold}",
            classes={"label": ("x", "y")},
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Given:
    """A data set that exists already."""

    data: Dataset

    def load(self):
        return self.data


def shift(x):
    return x + 100.0


@cache
def made():
    return GeneratedRows(Toy(), TINY, ratio=0.5).load()


def generated_of(data):
    return np.stack([data.columns["a"].read(COUNT + 4 + i) for i in range(COUNT // 2)])


def test_rows_are_added_to_the_training_split_alone():
    plain, data = Toy().load(), made()
    rows = data.splits["train"]
    assert len(rows) == COUNT + COUNT // 2
    for name in ("a", "b"):
        np.testing.assert_array_equal(rows.pointer[name][:COUNT], plain.splits["train"].pointer[name])
        np.testing.assert_array_equal(rows.pointer[name][COUNT:], COUNT + 4 + np.arange(COUNT // 2))
        np.testing.assert_array_equal(data.columns[name].read(7), plain.columns[name].read(7))
        assert data.columns[name].count == COUNT + 4 + COUNT // 2
    assert set(rows.targets["label"][COUNT:]) == {0, 1} and np.isnan(rows.targets["value"][COUNT:]).all()
    assert np.isfinite(generated_of(data)).all() and generated_of(data).std() > 0
    np.testing.assert_array_equal(rows.weight[COUNT:], 0)  # baselines do not use them
    np.testing.assert_array_equal(data.training_rows.weight, 0.5)  # the loss does
    assert data.splits["test"] is not None and len(data.splits["test"]) == 4
    assert check_splits(data)
    assert data.metadata["train"]["id"][COUNT] == "generated 0" and data.metadata["train"]["text"][COUNT] == ""
    assert "20 generated rows (a: coverage" in data.source


def test_generated_rows_are_determined_by_the_training_split():
    again = GeneratedRows(Toy(test=100.0), TINY, ratio=0.5).load()
    np.testing.assert_array_equal(generated_of(made()), generated_of(again))  # other test items, equal GANs
    other = GeneratedRows(Toy(), TINY, ratio=0.5, gan_seed=1)
    assert np.abs(generated_of(made()) - generated_of(other.load())).max() > 1e-3
    fields = {}, {"gan_seed": 1}, {"ratio": 0.25}, {"gan": replace(TINY, r1=1.0)}
    prints = {GeneratedRows(Toy(), **{"gan": TINY, **change}).fingerprint("toy 0") for change in fields}
    assert len(prints) == 4 and made().fingerprint == GeneratedRows(Toy(), TINY, ratio=0.5).fingerprint("toy 0")


def test_the_gan_learns_preprocessed_features():
    shifted = Toy().load()
    column = replace(shifted.columns["a"], preprocess=shift, parse=np.asarray)
    shifted = replace(shifted, columns={**shifted.columns, "a": column})
    data = GeneratedRows(Given(shifted), TINY, ratio=0.5).load()
    column, raw = data.columns["a"], Toy().load().columns["a"]
    read = lambda i: column.preprocess(column.read(i)[None])[0]
    np.testing.assert_allclose(read(7), raw.read(7) + 100, rtol=1e-6)
    np.testing.assert_allclose(column.parse(raw.read(7)), raw.read(7) + 100, rtol=1e-6)  # a new input
    assert all(80 < read(COUNT + 4 + i).mean() < 120 for i in range(COUNT // 2))


def test_modalities_of_a_generated_row_are_independent():
    wide = Toy().load()
    rng = np.random.default_rng(5)
    features = {name: rng.normal(size=(COUNT + 4, 3)).astype(np.float32) for name in "ab"}
    columns = {name: Column(COUNT + 4, x.__getitem__, identity) for name, x in features.items()}
    data = GeneratedRows(Given(replace(wide, columns=columns)), replace(TINY, noise=3, steps=20), ratio=20.0).load()
    a, b = (np.stack([data.columns[name].read(COUNT + 4 + i) for i in range(20 * COUNT)]) for name in "ab")
    label = data.splits["train"].targets["label"][COUNT:]
    for value in (0, 1):
        correlation = np.corrcoef(a[label == value].T, b[label == value].T)[:3, 3:]
        assert np.abs(correlation).max() < 5 / np.sqrt((label == value).sum())  # five standard errors


def test_ratio_zero_is_the_data():
    data, plain = GeneratedRows(Toy(), TINY, ratio=0.0).load(), Toy().load()
    assert data.fingerprint == plain.fingerprint and len(data.splits["train"]) == COUNT and data.training_weight is None


def test_folds_have_gans_of_their_own():
    data = GeneratedRows(Toy(), TINY)
    assert isinstance(data, CrossValidated) and data.folds == 3 and data.at_fold(2) == GeneratedRows(Toy(fold=2), TINY)


def test_a_collapsed_generator_prints_one_warning(capsys):
    """Two steps from initial weights of zero noise: an untrained generator whose samples hardly vary."""
    GeneratedRows(Toy(), replace(TINY, steps=1, lr=1e-9, hidden=(1,)), modalities=("a",)).load()
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("warning: the generator of 'a' may have collapsed") for line in lines) == 1
    assert sum(line.startswith("generated rows: a: coverage") for line in lines) == 1


@pytest.mark.parametrize(
    "change, message",
    [
        ({"ratio": -1.0}, "GeneratedRows.ratio is -1.0; it must be finite and at least 0"),
        ({"held_out": 1.0}, "GeneratedRows.held_out is 1.0"),
        ({"modalities": ("c",)}, r"GeneratedRows.modalities names \['c'\]; the data have \['a', 'b'\]"),
        ({"condition": "value"}, "GeneratedRows.condition is 'value'"),
    ],
)
def test_wrong_fields_are_named(change, message):
    with pytest.raises(DataError, match=message):
        GeneratedRows(Toy(), TINY, **change).load()


def test_few_keeps_whole_groups_of_every_class():
    data = Few(Toy(), share=0.2).load()
    groups, counts = np.unique(data.metadata["train"]["group"], return_counts=True)
    assert len(groups) == 4 and (counts == 2).all()  # 20 groups, 10 of each class
    np.testing.assert_array_equal(np.bincount(data.splits["train"].targets["label"]), [4, 4])
    assert len(data.splits["test"]) == 4 and data.fingerprint != Toy().load().fingerprint
    assert Few(Toy(), share=1.0).load().fingerprint == Toy().load().fingerprint
    assert Few(Toy()).at_fold(1) == Few(Toy(fold=1))


def test_few_groups_by_hand():
    group, label = np.array([5, 5, 6, 7, 8, 9]), np.array([0, 1, 0, 1, 1, -1])  # group 5 has the class of its first row
    chosen = few_groups(group, label, 0.5, seed=0)
    assert len(chosen) == 2 and chosen[0] in (5, 6) and chosen[1] in (7, 8)


def test_wrong_fields_of_few_are_named():
    with pytest.raises(DataError, match=r"Few\.share is 0.0"):
        Few(Toy(), share=0.0)
    with pytest.raises(DataError, match=r"Few\.stratify is 'mood'"):
        Few(Toy(), stratify="mood").load()
