"""Features of frozen encoders: they are what the encoder says, are computed once, and are never stale or damaged."""

import shutil
import warnings
from dataclasses import replace

import jax
import numpy as np
import pytest

from mmjax.data import encoded
from mmjax.data.decode import DataError
from mmjax.data.encoded import Encoded, cache_folder
from mmjax.data.stamps_task import Stamps
from mmjax.nn import masked_mean
from mmjax.pretrained import load
from tests.pretrained.tiny import bert_folder

STAMPS = Stamps(image_size=8, speech_languages=())


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
    return np.stack([np.asarray(column.finish(column.read(number)[None]))[0] for number in range(40)])


def test_features_are_the_encoders_z_scored_over_the_training_split(folder, cache):
    data = Encoded(STAMPS, (("text", str(folder)),)).load()
    column, plain = data.columns["text"], STAMPS.load()
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


def test_computed_once_for_all_folds(folder, cache):
    data = Encoded(STAMPS, (("text", str(folder)),))
    data.load(), data.load(), replace(data, data=replace(STAMPS, fold=1)).load()
    assert cache == ["text"]


def test_other_weights_texts_or_tokenisers_are_other_features(folder, cache, tmp_path):
    other = bert_folder(tmp_path / "other", seed=1)
    same = shutil.copytree(folder, tmp_path / "same")
    words = shutil.copytree(folder, tmp_path / "words")
    tokeniser = words / "tokenizer.json"
    tokeniser.write_text(tokeniser.read_text().replace('"frog"', '"toad"'))
    for source, language, computations in (
        (folder, "en", 1),
        (same, "en", 1),  # the same content at another place
        (other, "en", 2),
        (words, "en", 3),
        (folder, "fr", 4),
        (folder, "en", 4),
    ):
        Encoded(replace(STAMPS, text_language=language), (("text", str(source)),)).load()
        assert len(cache) == computations, source


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-40], lambda data: data[:3000] + b"\xff\x00" + data[3002:], lambda data: b""]
)
def test_a_damaged_file_is_noticed_and_made_again(folder, cache, damage):
    data = Encoded(STAMPS, (("text", str(folder)),))
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
    with pytest.raises(DataError, match=r"no raw 'video' to encode; they have image, text"):
        Encoded(STAMPS, (("video", str(folder)),)).load()
    bare = shutil.copytree(folder, tmp_path / "bare")
    (bare / "tokenizer.json").unlink()
    with pytest.raises(DataError, match="without a preprocessing"):
        Encoded(STAMPS, (("text", str(bare)),)).load()
