"""The approximate index finds nearly what the exact search finds."""

import builtins

import numpy as np
import pytest

from mmjax.data.decode import DataError
from mmjax.search import Approximate, Gallery, search

RNG = np.random.default_rng(0)


def unit(shape):
    vectors = RNG.normal(size=shape).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def test_recall_against_exact_search_on_2000_vectors():
    gallery = Gallery(unit((2000, 32)))
    query = unit((50, 32))
    index = Approximate.of(gallery)
    expected, found = search(query, gallery, 10), index.search(query, 10)
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found.row, expected.row)])
    assert recall >= 0.98
    assert not found.exact.any() and found.row.shape == (50, 10)
    # similarities are of the vectors, not of their codes, and the best is first
    products = np.einsum("qd,qkd->qk", query, gallery.vectors[found.row])
    np.testing.assert_allclose(found.similarity, products, atol=1e-6)
    assert (np.diff(found.similarity, axis=1) <= 0).all()


def test_a_gallery_with_fewer_than_k():
    gallery = Gallery(unit((5, 8)))
    found = Approximate.of(gallery).search(unit((3, 8)), 10)
    assert found.row.shape == (3, 5)
    np.testing.assert_array_equal(np.sort(found.row, axis=1), np.tile(np.arange(5), (3, 1)))


def test_errors_are_one_line(monkeypatch):
    gallery = Gallery(unit((5, 8)))
    with pytest.raises(DataError, match=r"links is 1 and effort is 200; links must be at least 2"):
        Approximate.of(gallery, links=1)
    with pytest.raises(DataError, match=r"the queries have the shape \[2, 7\]; it must be \[q, 8\]"):
        Approximate.of(gallery).search(unit((2, 7)))
    known = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "faiss":
            raise ImportError(name)
        return known(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"approximate search needs faiss: pip install 'mmjax\[search\]'"):
        Approximate.of(gallery)
