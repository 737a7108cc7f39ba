"""Units, outcomes and references of Generate by hand, the nearest example, and wrong pairs."""


import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.data.dataset import Dataset, Rows
from mmjax.data.text import Words
from mmjax.robust.wrong_pairs import WrongPairs
from mmjax.tasks import Generate
from mmjax.tasks.text_baselines import nearest
from mmjax.types import Batch

TEXTS = ["a red dog", "a red dog", "two cats", "two cats sleep"]


def tokenizer():
    return Words().train([*TEXTS, *TEXTS])


def units_of(per=(), pointer=(0, 0, 1, 2), texts=TEXTS):
    rows = Rows({"image": np.array(pointer)}, {"caption": np.zeros((4, 1), np.int32)}, np.float32([1, 1, 1, 2]))
    metadata = {"id": np.array(list("abcd")), "group": np.arange(4), "caption": np.array(texts)}
    splits = dict.fromkeys(("train", "validation", "test"), rows)
    data = Dataset({}, splits, dict.fromkeys(splits, metadata), "", tokenizers={"caption": tokenizer()})
    return Generate("caption", per=per).units(data, "test")


def test_units_are_rows_or_items():
    units = units_of()
    assert units.target["reference"].tolist() == [[text] for text in TEXTS] and units.weight.tolist() == [1, 1, 1, 2]
    units = units_of(per=("image",), texts=["a red dog", "one dog", "two cats", ""])
    assert units.target["reference"].tolist() == [["a red dog", "one dog"], ["two cats", ""], ["", ""]]
    assert units.weight.tolist() == [2, 1, 0] and units.row.tolist() == [0, 2, 3]


def test_outcomes_of_ids_and_of_texts():
    units, words = units_of(), tokenizer()
    task = Generate("caption", scores=("exact_match_lower", "wer"))
    texts = ["a red dog", "a dog", "", "two cats"]
    ids = np.full((4, 5), -1)
    for row, text in enumerate(texts):
        found = words.ids(text)
        ids[row, : len(found)] = found
    by_ids, by_text = task.outcomes(ids, units), task.outcomes(np.array(texts), units)
    weight = jnp.asarray(units.weight)
    for outcomes in (by_ids, by_text):
        outcomes = jax.tree.map(jnp.asarray, dict(outcomes))
        scores = {name: float(metric.value(outcomes, weight)) for name, metric in task.metrics.items()}
        # errors 0, 1, 2 and 1 (of weight 2); words 3, 3, 2 and 3 (of weight 2)
        assert scores == pytest.approx({"exact_match_lower": 1 / 5, "wer": (0 + 1 + 2 + 2) / (3 + 3 + 2 + 6)})
    assert task.show(ids[None], units, 1) == {"target": "a red dog", "predicted": "a dog", "correct": False, "score": 0.0}
    three = np.stack([ids, ids, np.full_like(ids, -1)])
    assert task.answers(three, {"caption": words})["predicted"].tolist() == texts


def test_the_nearest_example_ignores_scale_and_constant_features():
    known = np.float32([[1, 0, 7], [0, 1, 7], [-1, -1, 7]])
    asked = np.float32([[5, 0, 7], [-3, -2, 9], [0, 9, 0]])
    assert nearest(known, asked).tolist() == [0, 2, 1]


def test_wrong_pairs_move_only_present_inputs():
    unused = lambda batch: batch.weight
    x = jnp.arange(6.0)[:, None]
    present = {"image": jnp.array([True, True, False, True, True, True]), "text": jnp.ones(6, bool)}
    batch = Batch({"image": x, "text": x}, present, {}, jnp.float32([1, 1, 1, 1, 0, 1]))
    for shift in (1, 2, 17):
        moved = WrongPairs(("image",), shift)(unused, batch, jax.random.key(0))
        found = np.asarray(moved.inputs["image"][:, 0])
        live = [0, 1, 3, 5]
        assert sorted(found[live]) == live and (found[live] != live).all()
        assert found[2] == 2 and found[4] == 4
        np.testing.assert_array_equal(moved.inputs["text"], x)
    with pytest.raises(ValueError, match=r"WrongPairs.modalities is .'sound'.; the modalities are image, text"):
        WrongPairs(("sound",))(unused, batch, jax.random.key(0))


def test_the_seeds_that_wrote_the_shown_text():
    """Two of three seeds write "two cats" for the first unit; all write "a red dog" for the second one."""
    words, units = tokenizer(), units_of(texts=TEXTS)
    texts = [["two cats", "a red dog"], ["a dog", "a red dog"], ["two cats", "a red dog"]]
    predicted = np.full((3, 4, 4), -1)
    for seed, of in enumerate(texts):
        for row, text in zip((0, 2), of):
            predicted[seed, row, : len(words.ids(text))] = words.ids(text)
    ids, by = Generate("caption").written(predicted, units, [0, 2])
    assert by.T.tolist() == [[True, False, True], [True, True, True]]
    assert [words.text(of) for of in ids] == ["two cats", "a red dog"]


def test_references_have_the_form_that_the_tokenizer_writes():
    """A perfect model has a perfect score with capitals, full-width letters and several spaces in the reference."""
    texts = ["A Red  Dog", "A Red  Dog", "Two \uff23ats", "Two cats sleep"]
    units, words = units_of(texts=texts), tokenizer()
    assert units.target["reference"][:, 0].tolist() == ["a red dog", "a red dog", "two cats", "two cats sleep"]
    task = Generate("caption", scores=("exact_match", "wer"))
    ids = np.full((4, 5), -1)
    for row, text in enumerate(texts):
        ids[row, : len(words.ids(text))] = words.ids(text)
    for predicted in (ids, np.array(texts)):
        outcomes = jax.tree.map(jnp.asarray, dict(task.outcomes(predicted, units)))
        scores = {name: float(metric.value(outcomes, jnp.ones(4))) for name, metric in task.metrics.items()}
        assert scores == {"exact_match": 1.0, "wer": 0.0}
