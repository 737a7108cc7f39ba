"""Cached features equal the output of the encoder, are computed once, and are computed again if anything changes."""

import dataclasses
import hashlib
import shutil
import warnings
from dataclasses import replace

import jax
import numpy as np
import pytest

from mmjax.data.dataset import Column, Dataset, Rows, identity, stack
from mmjax.data.decode import DataError
from mmjax.data.scale import Unchanged, UnitDirections
from mmjax.data.splits import CrossValidated
from mmjax.nn import masked_mean
from mmjax.pretrained import cached_features, load, load_encoder
from mmjax.pretrained.cached_features import CachedFeatures
from mmjax.pretrained.feature_cache import features_folder, save_features
from tests.pretrained.tiny import bert_folder, speech_folder

TEXTS = ("a green frog", "two red cars", "the frog", "red", "two of the green cars", "a car")


@dataclasses.dataclass(frozen=True)
class Names:
    """A data set of a few texts; four of them are for training, from `fold` on."""

    texts: tuple[str, ...] = TEXTS
    fold: int = 0
    folds: int = 3

    def at_fold(self, fold: int) -> "Names":
        return replace(self, fold=fold)

    def load(self) -> Dataset:
        fingerprint = hashlib.sha256(repr(self.texts).encode()).hexdigest()
        order = np.roll(np.arange(len(self.texts)), self.fold)
        parts = {"train": order[:4], "validation": order[4:5], "test": order[5:]}
        read = lambda number: np.zeros(1, np.float32)
        return Dataset(
            columns={"text": Column(len(self.texts), read, identity, self.texts.__getitem__, fingerprint)},
            splits={
                name: Rows({"text": rows}, {"label": rows % 2}, np.ones(len(rows), np.float32)) for name, rows in parts.items()
            },
            metadata={},
            fingerprint=f"{fingerprint} {self.fold}",
            sizes={"text": {"width": 1}},
            classes={"label": ("no", "yes")},
        )


NAMES = Names()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return bert_folder(tmp_path_factory.mktemp("weights") / "bert")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache; returns the modalities of all computations."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    computed, compute = [], cached_features._computed
    counted = lambda modality, *rest: (computed.append(modality), compute(modality, *rest))[1]
    monkeypatch.setattr(cached_features, "_computed", counted)
    return computed


def vectors(data):
    column = data.load().columns["text"]
    return np.asarray(column.preprocess(np.stack([column.read(number) for number in range(column.count)])))


def test_features_are_z_scores_of_the_encoders_output(folder, cache):
    data = CachedFeatures(NAMES, (("text", str(folder)),)).load()
    column, plain = data.columns["text"], NAMES.load()
    assert data.sizes["text"] == {"width": 8}
    every = np.stack([column.read(number) for number in range(column.count)])
    module, variables, preprocessing = load(folder)
    names = [plain.columns["text"].original(number) for number in range(5)]
    expected = jax.jit(lambda tokens: masked_mean(module.apply(variables, tokens)))(preprocessing.batch(names))
    np.testing.assert_allclose(every[:5], expected, rtol=1e-4, atol=1e-5)
    z = np.asarray(column.preprocess(every))
    train = np.unique(data.splits["train"].pointer["text"])
    train = train[train >= 0]
    np.testing.assert_allclose(z[train].mean(axis=0), 0, atol=5e-3)  # float32 features that hardly vary
    np.testing.assert_allclose(z[train].std(axis=0), 1, atol=5e-3)
    assert data.fingerprint != plain.fingerprint


def test_texts_are_encoded_by_length_and_kept_in_order(folder, cache, monkeypatch):
    """Batches of two: the short texts have 8 positions, the long ones up to the longest; the shapes say so."""
    monkeypatch.setattr(cached_features, "CHUNK", 2)
    shapes, encoder = [], cached_features.FeatureInput.encoder
    seen = lambda run: lambda texts: (shapes.append(texts.x.shape), run(texts))[1]
    monkeypatch.setattr(cached_features.FeatureInput, "encoder", lambda *given: seen(encoder(*given)))
    texts = ("two red cars of the green frog a", "red", "a car", "the green cars of two red frog a", "the frog")
    column = CachedFeatures(Names(texts), (("text", str(folder)),)).load().columns["text"]
    module, variables, preprocessing = load(folder)
    batch = preprocessing.batch(texts)
    assert batch.x.shape == (5, 10) and shapes == [(2, 8), (2, 10), (2, 10)]
    expected = jax.jit(lambda tokens: masked_mean(module.apply(variables, tokens)))(batch)
    every = np.stack([column.read(number) for number in range(column.count)])
    np.testing.assert_allclose(every, expected, rtol=1e-4, atol=1e-5)


def test_new_texts_need_the_same_weights(folder, cache):
    column = CachedFeatures(NAMES, (("text", str(folder)),)).load().columns["text"]
    name = NAMES.load().columns["text"].original(2)
    np.testing.assert_allclose(column.parse(name), column.read(2), rtol=1e-4, atol=1e-5)
    with pytest.raises(DataError, match="differ from those that computed the features"):
        replace(column.parse, digest="of other weights")("red")


def test_unit_directions(folder, cache):
    """Centred unit vectors over one deviation; the same cached features, with another fingerprint."""
    plain = CachedFeatures(NAMES, (("text", str(folder)),))
    data, scores = replace(plain, normalize=UnitDirections()).load(), plain.load()
    assert cache == ["text"]
    column, train = data.columns["text"], np.unique(data.splits["train"].pointer["text"])
    train = train[train >= 0]
    every = np.stack([column.read(number) for number in range(column.count)]).astype(np.float64)
    unit = every / np.linalg.norm(every, axis=1, keepdims=True)
    centred = unit - unit[train].mean(axis=0)
    expected = centred / np.sqrt(np.square(centred[train]).mean())
    np.testing.assert_allclose(column.preprocess(np.float32(every)), expected, atol=5e-3)
    assert data.fingerprint != scores.fingerprint
    tokens = replace(plain, tokens=("text",), normalize=UnitDirections()).load().columns["text"]
    x = tokens.preprocess(stack([tokens.read(number) for number in range(4)])).x
    assert np.isfinite(np.asarray(x)).all()  # padding is zero, which has no direction


def test_all_tokens_are_padded(folder, cache):
    data = CachedFeatures(NAMES, (("text", str(folder)),), tokens=("text",)).load()
    column = data.columns["text"]
    module, variables, preprocessing = load(folder)
    expected = jax.jit(module.apply)(variables, preprocessing.batch(TEXTS))
    for number, text in enumerate(TEXTS):
        item = column.read(number)
        assert item.length == expected.mask[number].sum() > len(text.split())  # special tokens count
        np.testing.assert_allclose(item.x[: item.length], expected.x[number][: item.length], rtol=1e-4, atol=1e-5)
        assert not item.x[item.length :].any()
    z = column.preprocess(stack([column.read(number) for number in range(4)]))
    np.testing.assert_allclose(np.asarray(z.x)[np.asarray(z.mask)].mean(axis=0), 0, atol=5e-3)


def test_prompts_give_the_mean_of_unit_vectors(folder, cache):
    texts = ("A green frog.", "two red cars", "the frog", "red", "an old car", "a car")
    prompts = ("{}", "{noun}", "two of the {phrase}")
    plain = CachedFeatures(Names(texts), (("text", str(folder)),))
    data = replace(plain, prompts=prompts).load()
    sentences = ("A green frog.", "green frog", "two of the a green frog"), ("an old car", "old car", "two of the an old car")
    module, variables, preprocessing = load(folder)
    mean = jax.jit(lambda tokens: masked_mean(module.apply(variables, tokens)))
    for number, three in zip((0, 4), sentences):
        x = mean(preprocessing.batch(three))
        unit = x / np.linalg.norm(x, axis=1, keepdims=True)
        np.testing.assert_allclose(data.columns["text"].read(number), unit.mean(axis=0), rtol=1e-4, atol=1e-5)
    fingerprints = {data.fingerprint, plain.load().fingerprint, replace(plain, prompts=prompts[:2]).load().fingerprint}
    assert len(fingerprints) == len(cache) == 3
    with pytest.raises(DataError, match=r"prompts needs one vector per text, but \.tokens keeps all tokens of 'text'"):
        replace(plain, prompts=prompts, tokens=("text",)).load()


def test_features_are_computed_once_for_all_folds(folder, cache):
    data = CachedFeatures(NAMES, (("text", str(folder)),))
    assert isinstance(data, CrossValidated) and data.folds == 3
    assert data.at_fold(2) == CachedFeatures(Names(fold=2), data.weights)
    prints = [data.load().fingerprint, data.load().fingerprint, data.at_fold(2).load().fingerprint]
    assert cache == ["text"] and prints[0] == prints[1] != prints[2]


def test_other_weights_texts_or_tokenizers_are_other_features(folder, cache, tmp_path):
    other = bert_folder(tmp_path / "other", seed=1)
    same = shutil.copytree(folder, tmp_path / "same")
    words = shutil.copytree(folder, tmp_path / "words")
    tokenizer = words / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace('"frog"', '"toad"'))
    for source, texts, computations in (
        (folder, TEXTS, 1),
        (same, TEXTS, 1),  # the same content in another folder
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
def test_a_damaged_file_is_reported_and_computed_again(folder, cache, damage):
    data = CachedFeatures(NAMES, (("text", str(folder)),))
    whole = vectors(data)
    (file,) = features_folder().iterdir()
    file.write_bytes(damage(file.read_bytes()))
    with pytest.warns(UserWarning, match=rf"{file.name} is damaged .*; its features are computed again"):
        np.testing.assert_array_equal(vectors(data), whole)
    assert len(cache) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vectors(data)
    assert len(cache) == 2


def test_a_cache_that_cannot_be_written_is_reported(folder, cache, monkeypatch, tmp_path):
    """The features are returned; the next run computes them again."""
    data = CachedFeatures(NAMES, (("text", str(folder)),))
    whole = vectors(data)
    (tmp_path / "occupied").write_text("a file where the cache folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "occupied"))
    with pytest.warns(UserWarning, match=r"\.npz cannot be written .*; the next run computes its features again"):
        np.testing.assert_array_equal(vectors(data), whole)
    assert len(cache) == 2


def test_a_full_disk_leaves_no_incomplete_file(tmp_path, monkeypatch):
    def full(file, **arrays):
        file.write_bytes(b"incomplete")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.warns(UserWarning, match="No space left on device"):
        save_features(tmp_path / "features" / "key.npz", {"x": np.zeros(3)})
    assert list((tmp_path / "features").iterdir()) == []


def test_data_that_cannot_be_encoded(folder, cache, tmp_path):
    with pytest.raises(DataError, match=r"no originals of 'video' with a fingerprint; they have text"):
        CachedFeatures(NAMES, (("video", str(folder)),)).load()
    bare = shutil.copytree(folder, tmp_path / "bare")
    (bare / "tokenizer.json").unlink()
    with pytest.raises(DataError, match="the weights come without a preprocessing"):
        CachedFeatures(NAMES, (("text", str(bare)),)).load()
    with pytest.raises(DataError, match=r"CachedFeatures\.sound_seconds is nan; it must be above 0 and at most 60"):
        CachedFeatures(NAMES, sound_seconds=float("nan"))


@dataclasses.dataclass(frozen=True)
class Sounds:
    """Four recordings of 0.25 s at 16 kHz, all for training."""

    def load(self) -> Dataset:
        wave = np.random.default_rng(0).normal(size=(4, 4000)).astype(np.float32) / 10
        column = Column(4, lambda number: wave[number], identity, lambda number: (wave[number], 16_000), "sounds")
        rows = Rows({"audio": np.arange(4)}, {}, np.ones(4, np.float32))
        return Dataset({"audio": column}, dict.fromkeys(("train", "validation", "test"), rows), {}, "sounds")


def test_padded_sounds_count_their_silence(cache, tmp_path):
    """0.25 s in a window of 0.5 s: 13 tokens of the recording alone; 25 tokens as Whisper has them, unchanged."""
    folder = speech_folder(tmp_path / "speech")
    alone = CachedFeatures(Sounds(), (("audio", f"{folder}#encoder"),), 0.5, tokens=("audio",), normalize=Unchanged())
    padded = replace(alone, pad_sounds=True)
    found = {data.pad_sounds: data.load().columns["audio"] for data in (alone, padded)}
    items = {silence: column.preprocess(stack([column.read(0), column.read(1)])) for silence, column in found.items()}
    assert items[False].length.tolist() == [13, 13] and items[True].length.tolist() == [25, 25]
    weights = load_encoder(f"{folder}#encoder")
    original = replace(weights.preprocessing, seconds=0.5)
    sounds = Sounds().load().columns["audio"]
    tokens = jax.jit(weights.module.apply)(weights.variables, original.batch([sounds.original(0), sounds.original(1)]))
    np.testing.assert_allclose(items[True].x, tokens.x, rtol=1e-4, atol=1e-5)
    assert np.abs(np.asarray(items[False].x[:, :13] - items[True].x[:, :13])).max() > 0.01
    new = found[True].parse(sounds.original(1))
    assert new.length == 25
    np.testing.assert_allclose(new.x, items[True].x[1], rtol=1e-4, atol=1e-5)
