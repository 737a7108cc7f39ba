"""Retrieve: items, units, outcomes by hand, subsets, and checks."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.tasks import Retrieve
from mmjax.types import Batch, Task, Tokens
from tests.tasks.data import dataset

# Three stamps. The first has two voices and so two rows of weight 1/2; the last has no text; row 4 is padding.
DATA = dataset(
    {"label": np.array([0, 0, 1, 0, 0])},
    pointer={"image": [0, 0, 1, 2, 1], "text": [0, 0, 1, -1, 1], "audio": [0, 1, -1, 2, -1]},
    weight=[0.5, 0.5, 1, 1, 0],
    id=["a", "a", "b", "c", "b"],
    group=[0, 0, 1, 2, 1],
    language=["el", "lt", "", "lt", ""],
    text=["cat", "cat", "bus", "", "bus"],
)
TASK = Retrieve("image.embedding", "text.embedding")
FUSED = Retrieve("embedding", "text.embedding")


def shape(*dimensions):
    return jax.ShapeDtypeStruct(dimensions, jnp.float32)


SHAPES = {name: shape(2, 3) for name in ("image.embedding", "text.embedding", "audio.embedding", "embedding", "other")}


def value(name, outcomes, units, task=TASK):
    return float(task.metrics[name].value(outcomes, jnp.asarray(units.weight)))


def test_it_is_a_task():
    assert isinstance(TASK, Task)
    assert list(TASK.metrics) == ["recall@1", "recall@5", "recall@10", "mrr", "map", "ndcg@10", "median_rank"]
    rank = TASK.metrics["median_rank"]
    assert (rank.higher_is_better, rank.smooth, rank.bounds) == (False, False, (1, None))
    assert TASK.metrics == TASK.metrics  # the same functions each time, so that they compile once


def test_units_are_the_distinct_items_of_both_sides():
    units = TASK.units(DATA, "test")
    assert units.metadata["id"].tolist() == ["a", "b", "c", "a", "b"]
    assert units.target["direction"].tolist() == [0, 0, 0, 1, 1]
    assert units.row.tolist() == units.entry.tolist() == [0, 2, 3, 0, 2]
    assert units.weight.tolist() == [1, 1, 0, 1, 1]  # "c" has no text, so its image is a candidate and no query
    assert units.group.tolist() == [0, 1, 2, 0, 1]
    assert units.metadata["language"].tolist() == ["", "", "lt", "", ""]  # the rows of "a" differ in it
    assert replace(TASK, both=False).units(DATA, "test").weight.tolist() == [1, 1, 0, 0, 0]


def test_items_of_one_voice_each_share_the_weight():
    units = Retrieve("image.embedding", "audio.embedding").units(DATA, "test")
    assert units.metadata["id"].tolist() == ["a", "b", "c", "a", "a", "c"]
    assert units.metadata["language"].tolist() == ["", "", "lt", "el", "lt", "lt"]
    assert units.weight.tolist() == [1, 0, 1, 0.5, 0.5, 1]


def test_a_fused_item_is_a_tuple_of_items():
    units = FUSED.units(DATA, "test")
    assert units.row.tolist() == [0, 1, 2, 3, 0, 2]  # (image 0, audio 0), (image 0, audio 1), (image 1, -), (image 2, audio 2)
    assert units.weight.tolist() == [0.5, 0.5, 1, 0, 1, 1]
    assert replace(FUSED, fused=("image",)).units(DATA, "test").row.tolist() == [0, 2, 3, 0, 2]


def test_outcomes_by_hand():
    units = TASK.units(DATA, "test")
    image, text = np.zeros((2, 5, 2), np.float32)
    image[[0, 2, 3]] = [[1, 0], [1, 1], [0, 2]]
    text[[0, 2]] = [[1, 0], [0, 1]]
    found = TASK.outcomes({"query": image, "gallery": text}, units)
    # Image a prefers text a (1 to 0). Image b ties (1, 1), so the wrong text comes first. Text a ties images a and b.
    # Text b: image c has 2, b has 1.
    assert found["rank"].tolist() == [1, 2, 3, 2, 2]
    np.testing.assert_allclose(value("recall@1", found, units), (1 / 2 + 0) / 2)
    np.testing.assert_allclose(value("mrr", found, units), ((1 + 1 / 2) / 2 + 1 / 2) / 2)
    np.testing.assert_allclose(value("median_rank", found, units), (1.5 + 2) / 2)
    details = TASK.details(units)
    np.testing.assert_allclose(details["recall@1/image -> text"].value(found, jnp.asarray(units.weight)), 1 / 2)
    np.testing.assert_allclose(details["recall@1/text -> image"].value(found, jnp.asarray(units.weight)), 0)


def test_several_positives_by_group_or_target():
    task = Retrieve("image.embedding", "audio.embedding", match="group")
    units = task.units(DATA, "test")
    embedding = np.array([[4, 0], [2, 0], [0, 0], [3, 0], [0, 0]], np.float32)
    found = task.outcomes({"query": np.ones((5, 2), np.float32), "gallery": embedding}, units)
    # Similarities of the voices: a 4 and 2, c 3. Image a: relevant at 1 and 3, so AP = (1 + 2/3) / 2. Image c: at 2.
    np.testing.assert_allclose(found["ap"][[0, 2]], [(1 + 2 / 3) / 2, 1 / 2], rtol=1e-6)
    by_label = replace(task, match="label").units(DATA, "test")
    assert by_label.target["match"].tolist() == [0, 1, 0, 0, 0, 0]


def test_one_and_four_devices_give_the_same_outcomes(monkeypatch):
    """Through the task: ranks, precisions, hubness and gap, bit by bit, with equal vectors on different devices."""
    monkeypatch.setattr("mmjax.metrics.ranking.QUERIES", 8)
    monkeypatch.setattr("mmjax.metrics.ranking.CANDIDATES", 16)
    random, devices = np.random.default_rng(0), jax.local_devices()
    assert len(devices) == 4
    data = dataset(
        {"label": np.zeros(70, int)}, pointer={"image": np.arange(70), "text": np.arange(70)}, kind=np.arange(70) % 30
    )
    task = replace(TASK, match="kind")
    units = task.units(data, "test")
    image, text = random.normal(size=(2, 70, 5)).astype(np.float32)
    text[40:] = text[:30]
    found = []
    for count in (1, 4):
        monkeypatch.setattr(jax, "local_devices", lambda count=count: devices[:count])
        found.append(task.outcomes({"query": image, "gallery": text}, units))
    assert set(found[0]) >= {"rank", "ap", "ndcg", "occurrence", "along_gap"}
    jax.tree.map(np.testing.assert_array_equal, *found)


def test_predict_masks_the_other_modality_and_absent_rows():
    present = {"image": jnp.array([True, True, False]), "text": jnp.array([True, False, True])}
    tokens = {name: Tokens(jnp.ones((3, 1, 1)), here[:, None]) for name, here in present.items()}
    batch = Batch({}, present, {}, jnp.ones(3))

    def apply(tokens, present):
        """1 for each modality that is present, and 10 in addition for every output."""
        count = sum(here.astype(jnp.float32) for here in present.values())
        unimodal = {f"{name}.embedding": 10 + here[:, None].astype(jnp.float32) for name, here in present.items()}
        return {"embedding": 10 + count[:, None]} | unimodal

    found = FUSED.predict(apply, tokens, present, batch)
    assert found["query"].ravel().tolist() == [11, 11, 0]  # never 12: the text is hidden from the fused tokens
    assert found["gallery"].ravel().tolist() == [11, 0, 11]
    none = {name: jnp.zeros(3, bool) for name in present}
    found = FUSED.predict(apply, tokens, none, batch)
    assert found["query"].ravel().tolist() == [0, 0, 0]
    assert found["gallery"].ravel().tolist() == [11, 0, 11]  # from the data's own presence


def test_subsets_are_those_of_the_fused_tokens():
    assert FUSED.subsets(("image", "text", "audio")) == (("audio",), ("image",), ("audio", "image"))
    assert Retrieve("text.embedding", "embedding").subsets(("image", "text")) == (("image",),)
    assert TASK.subsets(("text", "image", "audio")) == (("audio", "image", "text"),)


def test_chance_is_near_the_expected_rank():
    rows = 200
    data = dataset({"label": np.zeros(rows, int)}, pointer=dict.fromkeys(("image", "text"), np.arange(rows)))
    units = TASK.units(data, "test")
    found = TASK.outcomes(TASK.baselines(data)["chance"], units)
    # The mean rank of 400 uniform ranks in 1..200 is 100.5 with a standard deviation of 57.7 / 20 = 2.9.
    assert abs(found["rank"].mean() - 100.5) < 4 * 2.9


def test_panels_and_show():
    units = TASK.units(DATA, "test")
    image, text = np.zeros((2, 2, 5, 2), np.float32)
    image[:, [0, 2, 3]] = [[1, 0], [1, 0], [0, 2]]
    text[:, [0, 2]] = [[1, 0], [0, 1]]
    predicted = {"query": image, "gallery": text}
    shown = TASK.show(predicted, units, 1)
    assert shown == {"target": "bus", "predicted": "cat", "correct": False, "score": 1.0}
    assert TASK.show(predicted, units, 0)["correct"]
    outcomes = TASK.outcomes({name: values[0] for name, values in predicted.items()}, units)
    first, second = TASK.panels({name: values[None] for name, values in outcomes.items()}, units)
    assert first["title"] == "Ranks, image -> text"
    assert (first["edges"], first["counts"]) == ([1, 2, 3], [1, 1])  # of two texts
    assert (second["edges"], second["counts"]) == ([1, 2, 3, 4], [0, 1, 1])  # of three images
    assert len(replace(TASK, both=False).panels({name: values[None] for name, values in outcomes.items()}, units)) == 1


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (Retrieve("picture.embedding", "text.embedding"), "Retrieve.query: the model has no output 'picture.embedding'"),
        (Retrieve("embedding", "other"), "one must be of a single modality"),
        (Retrieve("text.embedding", "text.embedding"), "they must differ"),
        (replace(TASK, k=()), "at least one number"),
        (replace(TASK, match="title"), "no metadata column or target 'title'; they have group, id, label, language, text"),
        (replace(TASK, match="language"), "rows of one item differ in 'language': el and lt .row 1 of the validation split"),
        (Retrieve("image.embedding", "audio.embedding", match="text"), None),
    ],
)
def test_check_names_the_field(task, message):
    if message is None:
        return task.check(SHAPES, DATA)
    with pytest.raises(ValueError, match=message):
        task.check(SHAPES, DATA)


def test_check_of_shapes_and_of_queries_without_candidates():
    with pytest.raises(ValueError, match=r"'text.embedding' \[2, 4\]; both must be \[b, d\]"):
        TASK.check(SHAPES | {"text.embedding": shape(2, 4)}, DATA)
    alone = dataset({"label": np.array([0, 1])}, pointer={"image": [0, -1], "text": [-1, 0]})
    with pytest.raises(ValueError, match="no query of the validation split has a relevant candidate with the same 'id'"):
        TASK.check(SHAPES, alone)
    with pytest.raises(ValueError, match="the data have no modality 'audio'; they have image, text"):
        replace(FUSED, fused=("audio",)).check(SHAPES, alone)
