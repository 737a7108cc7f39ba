"""Answers with several references of a question."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.data import from_arrays
from mmjax.data.custom import Captions, Images
from mmjax.data.text import Words
from mmjax.tasks import Answer

PEOPLE = [["red"] * 2 + ["blue"] * 8, ["2"] * 10, ["yes"]]


@pytest.fixture(scope="module")
def data():
    split = ["train", "validation", "test"] * 3
    kinds = {"image": Images(size=4), "reply": Captions(tokenizer=Words())}
    replies = ["blue"] * 3 + ["two"] * 3 + ["yes"] * 3
    loaded = from_arrays({"image": [np.zeros((4, 4, 3), np.uint8)] * 9}, {"reply": replies}, split=split, kinds=kinds).load()
    metadata = {name: {**of, "people": np.array([json.dumps(p) for p in PEOPLE])} for name, of in loaded.metadata.items()}
    return dataclasses.replace(loaded, metadata=metadata)


def test_an_answer_is_compared_with_those_of_all_people(data):
    task = Answer("reply", references="people", scores=("vqa", "exact_match"))
    units = task.units(data, "test")
    assert units.target["reference"].shape == (3, 10) and units.target["reference"][2].tolist() == ["yes", *[""] * 9]
    outcomes = task.outcomes(np.array(["red", "two", "no"]), units)
    np.testing.assert_allclose(outcomes["vqa"], [0.6, 1, 0], rtol=1e-6)  # (2 * 1/3 + 8 * 2/3) / 10
    assert float(task.metrics["vqa"].value(outcomes, jnp.ones(3))) == pytest.approx(1.6 / 3)
    shown = task.show(np.array([["red", "two", "no"]]), units, 0)
    assert shown["score"] == pytest.approx(0.6) and shown["predicted"] == "red"


def test_without_a_column_the_text_is_the_only_answer(data):
    task = Answer("reply", scores=("mme", "gqa"))
    outcomes = task.outcomes(np.array(["blue", "Two!", "Yes, it is"]), task.units(data, "test"))
    assert outcomes["gqa"].tolist() == [1, 1, 0] and outcomes["mme_right"].tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"references": "persons"}, "Answer.references: the validation split has no metadata column 'persons'; it has "),
        ({"references": "id"}, "Answer.references: row 0 of the validation split has '.*'; it must be a JSON list"),
        ({"scores": ("vqa2",)}, "Answer.scores: 'vqa2' is unknown; the metrics of texts are .*vqa, textvqa"),
        ({"references": "people", "per": ("image",)}, "Answer.per is .'image',.; it must be ()"),
    ],
)
def test_mistakes_give_one_line(data, changes, message):
    task = dataclasses.replace(Answer("reply"), **changes)
    with pytest.raises(ValueError, match=message) as refused:
        task.check({"reply": jnp.zeros((1, 2, 10))}, data)
        task.units(data, "test")
    assert "\n" not in str(refused.value)
