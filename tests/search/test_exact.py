"""Exact search equals a sort by NumPy, with ties, in any number of blocks, on any number of devices, from memory or a file."""

import jax
import numpy as np
import pytest

from mmjax.data.decode import DataError
from mmjax.search import Gallery, Resident, exact, open_gallery, search, write_gallery

RNG = np.random.default_rng(0)
VECTORS = RNG.integers(-3, 4, size=(250, 6)).astype(np.float32)  # whole numbers: products are exact, and many are equal
QUERY = RNG.integers(-3, 4, size=(5, 6)).astype(np.float32)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(exact, "BLOCK", 64)
    monkeypatch.setattr(exact, "QUERIES", 4)


def expected(k, vectors=VECTORS, query=QUERY):
    similarity = query @ vectors.T
    row = np.argsort(-similarity, axis=1, kind="stable")[:, :k]  # equal ones in the order of the gallery
    return np.take_along_axis(similarity, row, axis=1), row


def test_equals_a_stable_sort_with_ties_over_blocks():
    similarity, row = expected(20)
    assert len(np.unique(similarity[0])) < 15  # there are ties
    found = search(QUERY, Gallery(VECTORS), 20)
    np.testing.assert_array_equal(found.similarity, similarity)
    np.testing.assert_array_equal(found.row, row)
    assert found.exact.all()


@pytest.mark.parametrize("codes", [False, True])
@pytest.mark.parametrize("resident", [False, True])
def test_one_and_four_devices_find_the_same(resident, codes, monkeypatch):
    devices = jax.local_devices()
    assert len(devices) >= 4
    vectors, query = RNG.normal(size=(250, 6)).astype(np.float32), RNG.normal(size=(5, 6)).astype(np.float32)
    vectors[200:] = vectors[:50]  # equal vectors on different devices
    gallery = Gallery(vectors).with_codes() if codes else Gallery(vectors)
    found = []
    for count in (1, 4):
        monkeypatch.setattr(jax, "local_devices", lambda count=count: devices[:count])
        found.append(search(query, Resident.of(gallery) if resident else gallery, 30))
    for one, four in zip(*found):
        np.testing.assert_array_equal(one, four)


def test_a_gallery_in_a_file_gives_the_same(tmp_path):
    gallery = write_gallery(tmp_path / "g", (VECTORS[at : at + 70] for at in range(0, 250, 70)), codes=False)
    assert isinstance(gallery.vectors, np.memmap) and len(gallery) == 250
    np.testing.assert_array_equal(search(QUERY, gallery, 20).row, expected(20)[1])


@pytest.mark.parametrize("codes", [False, True])
def test_memory_does_not_grow_with_the_gallery(codes, tmp_path, monkeypatch):
    """The bytes of all arrays on the devices, whenever a block is compared: of 12 blocks and of 60, from a file."""
    compare, live = exact._best_of_block, []

    def counted(*given):
        live[-1] = max(live[-1], sum(array.nbytes for array in jax.live_arrays()))
        return compare(*given)

    monkeypatch.setattr(exact, "_best_of_block", counted)
    for blocks in (12, 60):
        chunks = (RNG.normal(size=(64, 6)).astype(np.float32) for _ in range(blocks))
        gallery = write_gallery(tmp_path / str(blocks), chunks, codes=codes)
        live.append(0)
        search(QUERY[:4], gallery, 5)
    assert 0 < live[1] < 2 * live[0]  # of two threads; it would be five times as much


def test_codes_are_ranked_again_by_vectors(tmp_path):
    """A code is at most half a scale from its number. `exact` is never wrong, and is True for most queries here."""
    vectors = RNG.normal(size=(250, 32)).astype(np.float32)
    query = RNG.normal(size=(9, 32)).astype(np.float32)
    vectors[7] = 0
    gallery = write_gallery(tmp_path / "g", [vectors])
    assert np.abs(gallery.codes * gallery.scales[:, None] - vectors).max() <= gallery.scales.max() / 2 * 1.001
    assert gallery.scales[7] == 0 and not gallery.codes[7].any()
    found, (similarity, row) = search(query, gallery, 10), expected(10, vectors, query)
    assert found.exact.mean() > 0.5
    np.testing.assert_array_equal(found.row[found.exact], row[found.exact])
    np.testing.assert_allclose(found.similarity[found.exact], similarity[found.exact], rtol=1e-5)
    both = search(query, Gallery(vectors).with_codes(), 10)
    np.testing.assert_array_equal(both.row, found.row)


def test_exact_is_false_where_codes_cannot_tell():
    """One large number makes the codes of all others 0, so their order cannot be known."""
    vectors = np.zeros((100, 2), np.float32)
    vectors[:, 0], vectors[:, 1] = 1000, np.linspace(0, 1, 100)
    found = search(np.array([[0, 1]], np.float32), Gallery(vectors).with_codes(), 3)
    assert not found.exact.any()


def test_a_small_gallery_gives_all_of_it():
    found = search(QUERY, Gallery(VECTORS[:3]).with_codes(), 10)
    assert found.row.shape == (5, 3) and found.exact.all()
    np.testing.assert_array_equal(found.row, expected(3, VECTORS[:3])[1])
    assert search(QUERY[:0], Gallery(VECTORS), 10).row.shape == (0, 10)


def test_bad_input_gives_one_line(tmp_path):
    gallery = Gallery(VECTORS)
    for query, k, message in [
        (QUERY[:, :4], 3, r"the queries have the shape \[5, 4\]; it must be \[q, 6\]"),
        (QUERY * np.nan, 3, "all numbers of the queries must be finite"),
        (QUERY, 0, "k is 0 and must be at least 1"),
    ]:
        with pytest.raises(DataError, match=message):
            search(query, gallery, k)
    for chunks, message in [
        ([VECTORS, VECTORS[:, :2]], r"vectors after row 250 have the shape \[250, 2\]; it must be \[m, 6\]"),
        ([np.full((2, 3), np.inf)], "vector 0 has NaN or infinite numbers"),
        ([], "there are no vectors"),
        ([VECTORS[:, :0]], r"vectors after row 0 have the shape \[250, 0\]; it must be \[m, d\]"),
    ]:
        with pytest.raises(DataError, match=message):
            write_gallery(tmp_path / "bad", chunks)
        with pytest.raises(DataError, match=r"has no gallery\.json"):
            open_gallery(tmp_path / "bad")
    write_gallery(tmp_path / "g", [VECTORS])
    (tmp_path / "g" / "codes").write_bytes(b"short")
    with pytest.raises(DataError, match="codes should have 1,500 bytes for 250 vectors"):
        open_gallery(tmp_path / "g")
    for damaged in ("[]", '{"count": 0, "width": 6, "codes": true}'):
        (tmp_path / "g" / "gallery.json").write_text(damaged)
        with pytest.raises(DataError, match=r"gallery.json is damaged"):
            open_gallery(tmp_path / "g")
    with pytest.raises(DataError, match=r"Gallery.vectors is float32\[250, 0\]; .* with n and d above 0"):
        Gallery(VECTORS[:, :0])
    with pytest.raises(DataError, match="vector 200 has NaN or infinite numbers"):
        Gallery(np.where(np.arange(250)[:, None] == 200, np.nan, VECTORS).astype(np.float32))
    with pytest.raises(DataError, match=r"Gallery.vectors is float64\[2, 2\]"):
        Gallery(np.zeros((2, 2)))
