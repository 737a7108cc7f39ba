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


def test_an_index_is_saved_and_verified(tmp_path):
    gallery = Gallery(unit((60, 8)))
    query = unit((4, 8))
    index = Approximate.of(gallery)
    index.save(tmp_path / "i")
    loaded = Approximate.load(tmp_path / "i", Gallery(gallery.vectors.copy()))
    for one, other in zip(index.search(query, 5), loaded.search(query, 5)):
        np.testing.assert_array_equal(one, other)
    other = gallery.vectors.copy()
    other[59, 7] = np.nextafter(other[59, 7], 2)
    for changed in (other, gallery.vectors[:59], gallery.vectors[::-1].copy(), gallery.vectors.reshape(120, 4)):
        with pytest.raises(DataError, match=rf"i/index belongs to another gallery than the given one of {len(changed)} v"):
            Approximate.load(tmp_path / "i", Gallery(changed))
    written = (tmp_path / "i" / "index").read_bytes()
    flipped = bytes([*written[:100], written[100] ^ 1, *written[101:]])
    for damaged in (written[:-1], written + b"0", b"", flipped):
        (tmp_path / "i" / "index").write_bytes(damaged)
        with pytest.raises(DataError, match=r"i/index is missing or was changed after it was written; build the index again$"):
            Approximate.load(tmp_path / "i", gallery)
    for text in ("{}", "[]", "no json"):
        (tmp_path / "i" / "index.json").write_text(text)
        with pytest.raises(DataError, match=r"i/index\.json is damaged; it must have sha256 and gallery$"):
            Approximate.load(tmp_path / "i", gallery)
    (tmp_path / "i" / "index.json").unlink()
    with pytest.raises(DataError, match=r"i has no index\.json; it must be the folder of a complete index$"):
        Approximate.load(tmp_path / "i", gallery)


def test_an_interrupted_index_is_not_loaded(tmp_path, monkeypatch):
    import faiss

    gallery = Gallery(unit((20, 4)))
    index = Approximate.of(gallery)
    index.save(tmp_path)
    monkeypatch.setattr(faiss, "write_index", lambda *given: (_ for _ in ()).throw(OSError("no space")))
    with pytest.raises(OSError):
        index.save(tmp_path)
    with pytest.raises(DataError, match="complete index"):
        Approximate.load(tmp_path, gallery)


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
