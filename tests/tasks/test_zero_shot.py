"""ZeroShot: class embeddings by hand, units, baseline and checks."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.tasks import Classify, Retrieve, ZeroShot
from mmjax.types import Batch, Task, Tokens
from tests.tasks.data import dataset

# Three images, a row without an image, and two prompts for each of two classes.
PROMPTS = np.array([-1, -1, -1, -1, 0, 0, 1, 1])
DATA = dataset(
    {"label": np.array([0, 1, 1, 1, -1, -1, -1, -1]), "prompt": PROMPTS},
    classes={"label": ("cat", "bus")},
    pointer={"image": [0, 1, 2, -1, -1, -1, -1, -1], "text": [0, 1, 2, 3, 4, 5, 6, 7]},
    weight=[1, 1, 2, 1, 0, 0, 0, 0],
)
TASK = ZeroShot("image.embedding", "text.embedding")


def shape(*dimensions):
    return jax.ShapeDtypeStruct(dimensions, jnp.float32)


SHAPES = {name: shape(2, 2) for name in ("image.embedding", "text.embedding", "embedding")}


def test_it_is_a_task_with_the_metrics_of_classification():
    assert isinstance(TASK, Task)
    assert TASK.metrics == Classify("label").metrics
    TASK.check(SHAPES, DATA)


def test_prompts_are_units_of_weight_zero():
    units = TASK.units(DATA, "test")
    assert units.row.tolist() == [0, 1, 2, 4, 5, 6, 7]
    assert units.weight.tolist() == [1, 1, 2, 0, 0, 0, 0]
    assert units.target["name"].tolist() == ["cat", "bus", "bus", "cat", "cat", "bus", "bus"]
    fused = ZeroShot("embedding", "text.embedding")
    assert fused.units(DATA, "test").row.tolist() == units.row.tolist()  # the fused tokens do not see the text


def predictions():
    """Prompts of class 0: (2, 0) and (0, 1), unit vectors (1, 0) and (0, 1), mean direction (1, 1). Class 1: (0, -1) twice."""
    query, prompt = np.zeros((2, 8, 2), np.float32)
    query[:3] = [[1, 0], [1, -3], [2, 2]]
    prompt[4:] = [[2, 0], [0, 1], [0, -1], [0, -5]]
    return {"query": query, "prompt": prompt}


def test_outcomes_by_hand():
    units = TASK.units(DATA, "test")
    found = replace(TASK, temperature=1.0).outcomes(predictions(), units)
    # Scores (class 0, class 1): image 0: (0.707, 0); image 1: (-1.414, 3); image 2: (2.828, -2), which is wrong.
    assert found["predicted"][:3].tolist() == [0, 1, 0]
    first = 1 / (1 + np.exp(-np.sqrt(0.5)))
    np.testing.assert_allclose(found["probability"][0], first, rtol=1e-6)
    np.testing.assert_allclose(TASK.metrics["accuracy"].value(found, jnp.asarray(units.weight)), 2 / 4)
    cold = TASK.outcomes(predictions(), units)
    assert cold["predicted"].tolist() == found["predicted"].tolist()  # the temperature changes the probabilities alone
    np.testing.assert_allclose(cold["probability"][0], 1, rtol=1e-6)


def test_languages_alone_and_their_ensemble_by_hand():
    """Two prompts of English and one of French for each class: French counts as much as English.

    Unit embeddings: English cat (1, 0), (1, 0) and bus (0, 1), (0, 1); French cat (0, 1) and bus (-1, 0). Ensemble: cat
    (1, 1) / sqrt 2, bus (-1, 1) / sqrt 2. A mean over all prompts would be cat (2, 1) / sqrt 5, bus (-1, 2) / sqrt 5.
    """
    prompts = np.array([-1, -1, -1, 0, 0, 0, 1, 1, 1])
    data = dataset(
        {"label": np.array([0, 1, 1, *[-1] * 6]), "prompt": prompts},
        classes={"label": ("cat", "bus")},
        pointer={"image": [0, 1, 2, *[-1] * 6], "text": np.arange(9)},
        weight=[1, 1, 2, *[0] * 6],
        prompt_language=np.array(["", "", "", *["en", "en", "fr"] * 2]),
    )
    units = TASK.units(data, "test")
    query, prompt = np.zeros((2, 9, 2), np.float32)
    query[:3] = [[1, 0.2], [0.2, 1], [-0.1, 1]]
    prompt[3:] = [[2, 0], [1, 0], [0, 3], [0, 1], [0, 1], [-5, 0]]
    found = replace(TASK, temperature=1.0).outcomes({"query": query, "prompt": prompt}, units)
    # Scores (cat, bus). Image 0: English (1, .2), French (.2, -1), ensemble (.85, -.57). Image 1: English (.2, 1), French
    # (1, -.2), ensemble (.85, .57); a mean over prompts would say bus (.63, .80). Image 2: (-.1, 1), (1, .1), (.64, .78).
    assert found["predicted"][:3].tolist() == [0, 0, 1]
    assert found["spoken"][:3].tolist() == [[0, 0], [1, 0], [1, 0]]
    np.testing.assert_allclose(found["probability"][1], 1 / (1 + np.exp(-0.4 / np.sqrt(2))), rtol=1e-5)
    weight, details = jnp.asarray(units.weight), TASK.details(units)
    scores = {name: float(details[name].value(found, weight)) for name in ("accuracy/en", "accuracy/fr")}
    assert scores == {"accuracy/en": 1.0, "accuracy/fr": 0.25}  # the third image has the weight 2
    np.testing.assert_allclose(TASK.metrics["accuracy"].value(found, weight), 3 / 4)
    assert "f1/cat" in details and "accuracy/en" not in TASK.details(TASK.units(DATA, "test"))


def test_the_baseline_predicts_the_majority():
    units = TASK.units(DATA, "test")
    found = TASK.outcomes(TASK.baselines(DATA)["majority"], units)
    assert found["predicted"][:3].tolist() == [1, 1, 1]


def test_details_panel_and_show():
    units = TASK.units(DATA, "test")
    assert list(TASK.details(units))[2::3] == ["f1/cat", "f1/bus"]
    outcomes = {name: values[None] for name, values in TASK.outcomes(predictions(), units).items()}
    (panel,) = TASK.panels(outcomes, units)
    assert panel["values"] == [[1, 0], [2, 1]]
    stacked = {name: np.stack([values] * 2) for name, values in predictions().items()}
    shown = replace(TASK, temperature=1.0).show(stacked, units, 2)
    assert (shown["target"], shown["predicted"], shown["correct"]) == ("bus", "cat", False)


def test_predict_embeds_both_sides_of_every_row():
    present = {"image": jnp.array([True, False]), "text": jnp.array([False, True])}
    tokens = {name: Tokens(jnp.ones((2, 1, 1)), here[:, None]) for name, here in present.items()}
    apply = lambda tokens, present: {f"{name}.embedding": jnp.full((2, 1), 3.0) for name in tokens}
    found = TASK.predict(apply, tokens, present, Batch({}, present, {}, jnp.ones(2)))
    assert found["query"].ravel().tolist() == [3, 0]
    assert found["prompt"].ravel().tolist() == [0, 3]


def test_other_tasks_do_not_see_the_prompts():
    assert Classify("label").units(DATA, "test").row.tolist() == [0, 1, 2, 3]
    assert Retrieve("image.embedding", "text.embedding").units(DATA, "test").row.tolist() == [0, 1, 2, 0, 1, 2, 3]


def test_subsets():
    assert TASK.subsets(("image", "text")) == (("image", "text"),)
    fused = ZeroShot("embedding", "text.embedding")
    assert fused.subsets(("image", "text", "audio")) == (("audio",), ("image",), ("audio", "image"))


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (replace(TASK, query="picture"), "ZeroShot.query: the model has no output 'picture'"),
        (replace(TASK, prompts="embedding"), "the prompts must be of one modality"),
        (replace(TASK, temperature=0.0), "temperature is 0.0; it must be above 0"),
        (replace(TASK, target="kind"), "ZeroShot.target: target 'kind' has no classes"),
    ],
)
def test_check_names_the_field(task, message):
    with pytest.raises(ValueError, match=message):
        task.check(SHAPES, DATA)


def test_check_of_the_prompts():
    without = dataset({"label": np.array([0, 1])}, classes={"label": ("cat", "bus")})
    with pytest.raises(ValueError, match="the data have no prompts; wrap them"):
        TASK.check(SHAPES, without)
    some = dataset({"label": np.array([0, -1]), "prompt": np.array([-1, 0])}, classes={"label": ("cat", "bus")})
    with pytest.raises(ValueError, match="some of the 2 classes of 'label' have no prompts"):
        TASK.check(SHAPES, some)
