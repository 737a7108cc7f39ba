"""Features of frozen encoders: they are what the encoder says, are computed once, and are never stale or damaged."""

import dataclasses
import hashlib
import shutil
import warnings
from dataclasses import replace

import jax
import numpy as np
import pytest

from mmjax.data import encoded
from mmjax.data.dataset import Column, Dataset, Rows, stack
from mmjax.data.decode import DataError
from mmjax.nn import masked_mean
from mmjax.pretrained import load
from mmjax.pretrained.cached_features import CachedFeatures, cache_folder
from tests.pretrained.tiny import bert_folder

TEXTS = ("a green frog", "two red cars", "the frog", "red", "two of the green cars", "a car")


@dataclasses.dataclass(frozen=True)
class Names:
    """A data set of a few texts, the first four for training."""

    texts: tuple[str, ...] = TEXTS
    first: int = 0

    def load(self) -> Dataset:
        identity = hashlib.sha256(repr(self.texts).encode()).hexdigest()
        order = np.roll(np.arange(len(self.texts)), self.first)
        parts = {"train": order[:4], "validation": order[4:5], "test": order[5:]}
        read = lambda number: np.zeros(1, np.float32)
        return Dataset(
            columns={"text": Column(len(self.texts), read, lambda x: x, self.texts.__getitem__, identity)},
            splits={
                name: Rows({"text": rows}, {"label": rows % 2}, np.ones(len(rows), np.float32)) for name, rows in parts.items()
            },
            classes={"label": ("no", "yes")},
            sizes={"text": {"width": 1}},
            about={},
            dropped={},
            fingerprint=f"{identity} {self.first}",
            media=lambda row: {},
            source="memory",
        )


NAMES = Names()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return bert_folder(tmp_path_factory.mktemp("weights") / "bert")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and how often something was computed."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    computed, compute = [], encoded._computed
    monkeypatch.setattr(encoded, "_computed", lambda modality, *rest: (computed.append(modality), compute(modality, *rest))[1])
    return computed


def vectors(data):
    column = data.load().columns["text"]
    return np.asarray(column.finish(np.stack([column.read(number) for number in range(column.count)])))


def test_features_are_the_encoders_z_scored_over_the_training_split(folder, cache):
    data = CachedFeatures(NAMES, (("text", str(folder)),)).load()
    column, plain = data.columns["text"], NAMES.load()
    assert data.sizes["text"] == {"width": 8}
    every = np.stack([column.read(number) for number in range(column.count)])
    module, variables, preprocessing = load(folder)
    names = [plain.columns["text"].raw(number) for number in range(5)]
    alone = jax.jit(lambda words: masked_mean(module.apply(variables, words)))(preprocessing.batch(names))
    np.testing.assert_allclose(every[:5], alone, rtol=1e-4, atol=1e-5)
    finished = np.asarray(column.finish(every))
    train = np.unique(data.splits["train"].pointer["text"])
    train = train[train >= 0]
    np.testing.assert_allclose(finished[train].mean(axis=0), 0, atol=5e-3)  # a float32 that hardly varies
    np.testing.assert_allclose(finished[train].std(axis=0), 1, atol=5e-3)
    assert data.fingerprint != plain.fingerprint


def test_directions_are_centred_unit_vectors_with_one_deviation(folder, cache):
    plain = CachedFeatures(NAMES, (("text", str(folder)),))
    data, scores = replace(plain, directions=True).load(), plain.load()
    column, train = data.columns["text"], np.unique(data.splits["train"].pointer["text"])
    train = train[train >= 0]
    every = np.stack([column.read(number) for number in range(column.count)]).astype(np.float64)
    unit = every / np.linalg.norm(every, axis=1, keepdims=True)
    centred = unit - unit[train].mean(axis=0)
    expected = centred / np.sqrt(np.square(centred[train]).mean())
    np.testing.assert_allclose(column.finish(np.float32(every)), expected, atol=5e-3)
    assert data.fingerprint != scores.fingerprint
    tokens = replace(plain, tokens=("text",), directions=True).load().columns["text"]
    finished = tokens.finish(stack([tokens.read(number) for number in range(4)]))
    assert np.isfinite(np.asarray(finished.x)).all()  # padding has no direction


def test_tokens_are_sequences(folder, cache):
    data = CachedFeatures(NAMES, (("text", str(folder)),), tokens=("text",)).load()
    column = data.columns["text"]
    module, variables, preprocessing = load(folder)
    expected = jax.jit(module.apply)(variables, preprocessing.batch(TEXTS))
    for number, text in enumerate(TEXTS):
        item = column.read(number)
        assert item.length == expected.mask[number].sum() > len(text.split())  # special tokens count
        np.testing.assert_allclose(item.x[: item.length], expected.x[number][: item.length], rtol=1e-4, atol=1e-5)
        assert not item.x[item.length :].any()
    finished = column.finish(stack([column.read(number) for number in range(4)]))
    real = np.asarray(finished.x)[np.asarray(finished.mask)]
    np.testing.assert_allclose(real.mean(axis=0), 0, atol=5e-3)


def test_prompts_give_the_mean_of_unit_vectors(folder, cache):
    texts = ("A green frog.", "two red cars", "the frog", "red", "an old car", "a car")
    prompts = ("{}", "{noun}", "two of the {phrase}")
    plain = CachedFeatures(Names(texts), (("text", str(folder)),))
    data = replace(plain, prompts=prompts).load()
    sentences = ("A green frog.", "green frog", "two of the a green frog"), ("an old car", "old car", "two of the an old car")
    module, variables, preprocessing = load(folder)
    for number, three in zip((0, 4), sentences):
        x = jax.jit(lambda words: masked_mean(module.apply(variables, words)))(preprocessing.batch(three))
        unit = x / np.linalg.norm(x, axis=1, keepdims=True)
        np.testing.assert_allclose(data.columns["text"].read(number), unit.mean(axis=0), rtol=1e-4, atol=1e-5)
    fingerprints = {data.fingerprint, plain.load().fingerprint, replace(plain, prompts=prompts[:2]).load().fingerprint}
    assert len(fingerprints) == len(cache) == 3
    with pytest.raises(DataError, match="several sentences have no mean"):
        replace(plain, prompts=prompts, tokens=("text",)).load()


def test_computed_once_for_all_folds(folder, cache):
    data = CachedFeatures(NAMES, (("text", str(folder)),))
    data.load(), data.load(), replace(data, data=replace(NAMES, first=2)).load()
    assert cache == ["text"]


def test_other_weights_texts_or_tokenisers_are_other_features(folder, cache, tmp_path):
    other = bert_folder(tmp_path / "other", seed=1)
    same = shutil.copytree(folder, tmp_path / "same")
    words = shutil.copytree(folder, tmp_path / "words")
    tokeniser = words / "tokenizer.json"
    tokeniser.write_text(tokeniser.read_text().replace('"frog"', '"toad"'))
    for source, texts, computations in (
        (folder, TEXTS, 1),
        (same, TEXTS, 1),  # the same content at another place
        (other, TEXTS, 2),
        (words, TEXTS, 3),
        (folder, TEXTS[::-1], 4),
        (folder, TEXTS, 4),
    ):
        CachedFeatures(Names(texts), (("text", str(source)),)).load()
        assert len(cache) == computations, source


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-40], lambda data: data[:300] + b"\xff\x00" + data[302:], lambda data: b""]
)
def test_a_damaged_file_is_noticed_and_made_again(folder, cache, damage):
    data = CachedFeatures(NAMES, (("text", str(folder)),))
    whole = vectors(data)
    (file,) = cache_folder().iterdir()
    file.write_bytes(damage(file.read_bytes()))
    with pytest.warns(UserWarning, match="computed again"):
        np.testing.assert_array_equal(vectors(data), whole)
    assert len(cache) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vectors(data)
    assert len(cache) == 2


def test_what_cannot_be_encoded(folder, cache, tmp_path):
    with pytest.raises(DataError, match=r"no raw 'video' with an identity to encode; they have text"):
        CachedFeatures(NAMES, (("video", str(folder)),)).load()
    bare = shutil.copytree(folder, tmp_path / "bare")
    (bare / "tokenizer.json").unlink()
    with pytest.raises(DataError, match="without a preprocessing"):
        CachedFeatures(NAMES, (("text", str(bare)),)).load()
