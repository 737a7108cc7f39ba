"""Embeddings, compositions and contributions equal what is computed by hand from the outputs of the cells."""

import itertools

import numpy as np
import pytest

import mmjax
from mmjax.data.decode import DataError
from mmjax.search.embed import Embedder, galleries_of, shapley_values, space_of
from mmjax.tasks import Classify, Retrieve
from tests.search.colours import MODALITIES, phrase, picture, tone

QUERY = {"image": picture(2), "text": phrase(0), "voice": tone(0)}


def test_contributions_of_two_and_three_modalities_by_hand():
    # Scores 0, a 2, b 3, both 10: a gains 2 alone and 7 after b, b gains 3 alone and 8 after a.
    np.testing.assert_allclose(shapley_values(np.float32([[0], [2], [3], [10]])), [[4.5], [5.5]])
    values = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    values[0] = 0
    expected = np.zeros((3, 4))
    for order in itertools.permutations(range(3)):  # the definition: the mean over all orders
        row = 0
        for i in order:
            expected[i] += (values[row | 1 << i] - values[row]) / 6
            row |= 1 << i
    found = shapley_values(values)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=0), values[7], atol=1e-6)
    np.testing.assert_array_equal(shapley_values(np.float32([[0, 0], [3, -1]])), [[3, -1]])


def test_the_space_follows_the_retrieval_tasks():
    three = {f"to_{name}": Retrieve("embedding", f"{name}.embedding") for name in MODALITIES}
    assert galleries_of(three) == MODALITIES
    fused = space_of(three, "image", MODALITIES)
    assert fused == ("image", "image.embedding", "embedding", dict.fromkeys(MODALITIES, "embedding"))
    one = space_of({"x": three["to_image"], "y": Classify("kind")}, "image", MODALITIES)
    assert list(one.queries) == ["text", "voice"]  # the fused tokens have never seen the image beside them
    named = space_of({"x": Retrieve("embedding", "image.embedding", fused=("text",))}, "image", MODALITIES)
    assert list(named.queries) == ["text"]
    pair = {"x": Retrieve("image.embedding", "text.code"), "y": Retrieve("voice.embedding", "image.embedding")}
    summed = space_of(pair, "image", MODALITIES)
    assert summed.fused is None
    assert summed.queries == {"image": "image.embedding", "text": "text.code", "voice": "voice.embedding"}
    with pytest.raises(DataError, match="no retrieval task of the cell has an output of 'image'; galleries can be of none"):
        space_of({"y": Classify("kind")}, "image", MODALITIES)


@pytest.fixture(scope="module")
def cells(run):
    return mmjax.load_run(run)


def embedder(cell, modality="image"):
    model = cell.models[0]
    return Embedder(model, space_of(model.tasks, modality, tuple(model.readers)))


def test_fused_queries_equal_the_predictions_of_the_cell(cells):
    """`to_image` embeds text and voice by the fusion, and the image as a gallery; two seeds are concatenated."""
    query = {name: QUERY[name] for name in ("text", "voice")}
    found = embedder(cells["fused"]).query(query)
    assert found.given == ("text", "voice")
    np.testing.assert_array_equal(found.embedding[0], 0)
    for row, part in ((1, ("text",)), (2, ("voice",)), (3, ("text", "voice"))):
        answers = cells["fused"].predict({name: [query[name]] for name in part}, each_seed=True)["to_image"]
        expected = np.concatenate([answer["query"].reshape(-1) for answer in answers]) / np.sqrt(2)
        np.testing.assert_allclose(found.embedding[row], expected, atol=2e-6)
    items = [cells["fused"].models[0].readers["image"].parse(picture(i)) for i in range(3)]
    answers = cells["fused"].predict({"image": [picture(i) for i in range(3)]}, each_seed=True)["to_image"]
    expected = np.concatenate([answer["gallery"].reshape(3, -1) for answer in answers], axis=1) / np.sqrt(2)
    np.testing.assert_allclose(embedder(cells["fused"]).gallery(items), expected, atol=2e-6)


def test_without_a_fusion_the_unit_embeddings_are_summed(cells):
    found = embedder(cells["summed"]).query({name: QUERY[name] for name in ("image", "text")})
    answers = cells["summed"].predict({name: [QUERY[name]] for name in ("image", "text")}, each_seed=True)["image_text"]
    expected = []
    for answer in answers:
        image, text = answer["query"].reshape(-1), answer["gallery"].reshape(-1)
        np.testing.assert_allclose(np.linalg.norm(image), 1, atol=1e-5)
        expected.append((image + text) / np.linalg.norm(image + text))
    np.testing.assert_allclose(found.embedding[3], np.concatenate(expected) / np.sqrt(2), atol=2e-6)
    assert found.embedding.shape == (4, expected[0].size * 2)


def test_bad_queries_name_the_modality(cells):
    one = embedder(cells["fused"])
    with pytest.raises(DataError, match="the query is empty; give at least one of image, text, voice"):
        one.query({"text": None})
    with pytest.raises(DataError, match="'smell' is not a modality of a query"):
        one.query({"smell": "rose", "text": "a"})
    with pytest.raises(DataError, match=r"^image: the format is not known"):
        one.query({"image": b"no image"})
    with pytest.raises(DataError, match=r"^voice: recording: the audio"):
        one.query({"voice": b"no sound"})
