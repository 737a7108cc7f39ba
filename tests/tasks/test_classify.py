"""Classify: units, outcomes, baselines, details, panel and checks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.tasks import Classify
from mmjax.types import Batch, Task
from tests.tasks.data import dataset

CLASSES = {"label": ("animal", "vehicle", "plant")}
ROWS = dataset({"label": np.array([2, -1, 0])}, classes=CLASSES, weight=[1, 1, 0.5], group=[7, 8, 9])
STEPS = dataset(
    {"label": np.array([[1, 0, -1], [-1, -1, -1], [1, -1, -1]])},
    classes=CLASSES,
    weight=[2, 0, 1],
    id=["a0", "a1", "c0"],
    group=[0, 0, 2],
)
TASK = Classify("label")


def shape(*dimensions):
    return jax.ShapeDtypeStruct(dimensions, jnp.float32)


def test_it_is_a_task():
    assert isinstance(TASK, Task)
    assert next(iter(TASK.metrics)) == "accuracy"
    assert [name for name, metric in TASK.metrics.items() if not metric.higher_is_better] == ["ece"]


def test_rows_without_a_class_are_no_units():
    units = TASK.units(ROWS, "test")
    assert units.target["label"].tolist() == [2, 0]
    assert units.target["name"].tolist() == ["plant", "animal"]
    assert units.weight.tolist() == [1, 0.5]
    assert units.group.tolist() == [7, 9]
    assert units.metadata["id"].tolist() == ["row0", "row2"]
    assert units.row.tolist() == units.entry.tolist() == [0, 2]


def test_labelled_steps_share_the_weight_of_their_row():
    units = TASK.units(STEPS, "test")
    assert units.target["label"].tolist() == [1, 0, 1]
    assert units.weight.tolist() == [1, 1, 1]
    assert units.metadata["id"].tolist() == ["a0", "a1", "c0"]
    assert units.row.tolist() == [0, 0, 2]
    assert units.entry.tolist() == [0, 1, 6]


def test_metadata_of_another_length_are_refused():
    data = dataset({"label": np.array([[1, 0]])}, classes=CLASSES)
    with pytest.raises(ValueError, match="'id' of the test split has 1 entries; this target needs one per labelled step"):
        TASK.units(data, "test")


def test_outcomes_of_rows_and_of_steps():
    logits = np.log(np.array([[1, 1, 8], [8, 1, 1], [1, 7, 2]], np.float32))  # probabilities in tenths
    found = TASK.outcomes(logits, TASK.units(ROWS, "test"))
    assert found["label"].tolist() == [2, 0]
    assert found["predicted"].tolist() == [2, 1]
    np.testing.assert_allclose(found["probability"], [0.8, 0.7], rtol=1e-5)
    steps = np.zeros((3, 3, 3), np.float32)
    steps[0, 1, 2] = steps[2, 0, 1] = 5
    assert TASK.outcomes(steps, TASK.units(STEPS, "test"))["predicted"].tolist() == [0, 2, 1]


def test_a_unit_with_nan_is_wrong_with_probability_one():
    logits = np.array([[np.nan, 0, 0], [0, 0, 0], [1, 0, 0]], np.float32)
    found = TASK.outcomes(logits, TASK.units(ROWS, "test"))
    assert found["predicted"].tolist() == [-1, 0]
    assert found["probability"][0] == 1
    assert TASK.metrics["accuracy"].value(found, jnp.ones(2)) == 0.5


def test_predict_takes_the_output_under_the_subset():
    apply = lambda tokens, present: {"label": jnp.where(present["image"][:, None], jnp.bfloat16(1), jnp.bfloat16(2))}
    batch = Batch({}, {"image": jnp.ones(2, bool)}, {}, jnp.ones(2))
    found = TASK.predict(apply, {}, {"image": jnp.array([True, False])}, batch)
    assert found.dtype == jnp.float32
    assert found.tolist() == [[1], [2]]


def test_subsets_of_fused_and_unimodal_outputs():
    assert TASK.subsets(("text", "image")) == (("image",), ("text",), ("image", "text"))
    assert Classify("image.label").subsets(("text", "image")) == (("image", "text"),)


def test_the_majority_baseline_counts_weights():
    data = dataset({"label": np.array([0, 0, 2, -1])}, classes=CLASSES, weight=[1, 1, 5, 9])
    logits = TASK.baselines(data)["majority"]
    assert logits.shape == (4, 3) and np.isfinite(logits).all()
    found = TASK.outcomes(logits, TASK.units(data, "test"))
    assert found["predicted"].tolist() == [2, 2, 2]
    assert found["probability"].tolist() == [1, 1, 1]


def test_baselines_of_steps_have_the_shape_of_the_predictions():
    texts = ["a bus", "a cat", "two buses"]
    data = dataset(STEPS.splits["test"].targets, classes=CLASSES, id=["a0", "a1", "c0"], group=[0, 0, 2], text=texts)
    found = TASK.baselines(data)
    assert found["majority"].shape == found["tfidf_svm"].shape == (3, 3, 3)
    units = TASK.units(data, "test")
    assert TASK.outcomes(found["tfidf_svm"], units)["predicted"].tolist() == units.target["label"].tolist()


def test_a_column_of_blank_texts_gives_no_text_baseline():
    assert list(TASK.baselines(dataset({"label": np.array([0, 1])}, classes=CLASSES, text=["", " "]))) == ["majority"]


def test_details_name_the_classes_that_occur():
    units = TASK.units(ROWS, "test")
    details = TASK.details(units)
    assert list(details) == [f"{name}/{label}" for label in ("animal", "plant") for name in ("precision", "recall", "f1")]
    outcomes = {"label": np.array([2, 0]), "predicted": np.array([2, 2]), "probability": np.ones(2)}
    found = [float(metric.value(outcomes, jnp.asarray(units.weight))) for metric in details.values()]
    np.testing.assert_allclose(found, [0, 0, 0, 2 / 3, 1, 4 / 5])  # plant: 1 of 1.5 predicted, 1 of 1 found


def test_the_confusion_matrix_is_the_mean_over_seeds():
    units = TASK.units(ROWS, "test")
    outcomes = {"label": np.array([[2, 0]] * 2), "predicted": np.array([[2, 0], [1, 0]])}  # class 1 does not occur
    (panel,) = TASK.panels(outcomes, units)
    assert panel["rows"] == ["animal", "plant"]
    assert panel["columns"] == ["animal", "plant", "other"]
    assert panel["values"] == [[0.5, 0, 0], [0, 0.5, 0.5]]
    (panel,) = TASK.panels({name: values[:1] for name, values in outcomes.items()}, units)
    assert panel["columns"] == ["animal", "plant"]


def test_show_averages_probabilities_over_seeds():
    units = TASK.units(ROWS, "test")
    logits = np.log(np.array([[[0.1, 0.1, 0.8]] * 3, [[0.5, 0.3, 0.2]] * 3], np.float32))
    shown = TASK.show(logits, units, 0)
    assert (shown["target"], shown["predicted"], shown["correct"]) == ("plant", "plant", True)
    np.testing.assert_allclose(shown["score"], 0.5, rtol=1e-5)


@pytest.mark.parametrize(
    ("task", "outputs", "message"),
    [
        (Classify("lable"), {"label": shape(4, 3)}, "no output 'lable'; its outputs are label"),
        (Classify("kind"), {"kind": shape(4, 3)}, "no target 'kind'; their targets are label, score"),
        (Classify("score"), {"score": shape(4, 3)}, "'score' has no classes; the targets with classes are label"),
        (TASK, {"label": shape(4, 2)}, r"has the shape \[4, 2\]; target 'label' with 3 classes needs \[b, 3\]"),
        (TASK, {"label": shape(4, 7, 3)}, r"needs \[b, 3\]"),
    ],
)
def test_check_names_the_field(task, outputs, message):
    data = dataset({"label": np.array([0, 1]), "score": np.ones(2)}, classes=CLASSES)
    with pytest.raises(ValueError, match=message):
        task.check(outputs, data)


def test_check_accepts_rows_and_steps():
    TASK.check({"label": shape(4, 3)}, ROWS)
    TASK.check({"label": shape(4, 3, 3)}, STEPS)
    Classify("image.kind", target="label").check({"image.kind": shape(4, 3)}, ROWS)
