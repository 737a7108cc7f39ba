"""The popular order and TF-IDF of words, by hand and against scikit-learn's cosine."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from mmjax.data.dataset import Column, Rows, identity
from mmjax.tasks import Retrieve
from mmjax.tasks.retrieval_baselines import popularity, tfidf_vectors
from mmjax.types import Padded
from tests.tasks.data import dataset

ITEMS = 6
VECTORS = np.array([[3, 0], [3, 1], [3, -1], [1, 0], [0, 1], [-1, 0]], np.float32)
IDS = [[1, 2], [1, 3], [1, 2], [1], [3], [5]]
TEXT = ["red car", "red bus", "car", "red", "bus", "tree"]
WORDS = ["car vehicle red", "bus vehicle red", "car", "red colour", "bus", "plant"]


def data():
    pointer = {"image": np.arange(ITEMS), "text": np.arange(ITEMS)}
    made = dataset({"label": np.zeros(ITEMS, int)}, pointer=pointer, text=TEXT, keywords=WORDS)
    padded = lambda i: Padded(np.array((IDS[i] + [0, 0])[:2], np.int32), np.int32(len(IDS[i])))
    columns = {"image": Column(ITEMS, lambda i: VECTORS[i], identity), "text": Column(ITEMS, padded, identity)}
    train, test = (np.array([0, 1, 2], np.int32), np.array([3, 4, 5], np.int32))
    rows = lambda at: Rows({name: at for name in pointer}, {"label": np.zeros(3, int)}, np.ones(3, np.float32))
    metadata = {split: {name: values[at] for name, values in made.metadata["test"].items()}
                for split, at in (("train", train), ("validation", train), ("test", test))}  # fmt: skip
    return replace(
        made, columns=columns, metadata=metadata, splits={"train": rows(train), "validation": rows(train), "test": rows(test)}
    )


def test_popularity_of_vectors_and_tokens():
    """The training mean is (3, 0) after division by the deviations: cosines 1, 0 and -1. Tokens 1, 2, 3 occur 3, 2, 1 times."""
    np.testing.assert_allclose(popularity(data(), "image"), [1, 0, -1], atol=1e-3)
    np.testing.assert_allclose(popularity(data(), "text"), np.log1p([3, 1, 0]), rtol=1e-6)
    assert not popularity(data(), None).any()


def test_the_popular_order_is_the_same_for_every_query():
    task = Retrieve("image.embedding", "text.embedding")
    units, found = task.units(data(), "test"), task.baselines(data())["popular"]
    outcomes = task.outcomes(found, units)
    assert outcomes["rank"].tolist() == [1, 2, 3, 1, 2, 3]  # both sides have the same order here


def test_tfidf_is_that_of_scikit_learn():
    task = Retrieve("text.embedding", "image.embedding", words=("text", "keywords"))
    found = task.baselines(data())["tfidf"]
    vectorizer = TfidfVectorizer(sublinear_tf=True).fit(WORDS[3:])
    expected = vectorizer.transform(TEXT[3:]) @ vectorizer.transform(WORDS[3:]).T
    np.testing.assert_allclose(found["query"] @ found["gallery"].T, expected.toarray(), atol=1e-6)
    assert not (found["query"] @ found["gallery"].T)[2].any()  # "tree" is no keyword
    none = np.array([""] * 3)
    empty = replace(data(), metadata={split: {**of, "keywords": none} for split, of in data().metadata.items()})
    assert not any(x.any() for x in tfidf_vectors(empty, "text", "keywords").values())


def test_a_column_that_is_missing_is_named():
    task = Retrieve("text.embedding", "image.embedding", words=("text", "tags"))
    shapes = dict.fromkeys(("text.embedding", "image.embedding"), np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"Retrieve.words: the data have no metadata column of texts 'tags'"):
        task.check(shapes, data())
