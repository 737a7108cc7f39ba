"""Distillation from a finished run: whose logits, for which rows, and the loss by hand."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mmjax
from mmjax.data.decode import DataError
from mmjax.losses import On
from mmjax.robust.distill import Distill, TeacherLogits
from mmjax.types import Batch
from tests.results.pets import EXPERIMENT

TEACHER = dataclasses.replace(
    EXPERIMENT,
    encoders={name: EXPERIMENT.encoders[name] for name in ("text", "vector")},
    heads={"kind": EXPERIMENT.heads["kind"]},
    loss=On("kind"),
    tasks={"kind": EXPERIMENT.tasks["kind"]},
)
STUDENT = dataclasses.replace(TEACHER, encoders={"text": TEACHER.encoders["text"]})


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    out = tmp_path_factory.mktemp("teacher") / "run"
    return mmjax.run({"fused": TEACHER}, seeds=2, out=out, quiet=True)


@pytest.fixture(scope="module")
def data(teacher):
    return TeacherLogits(EXPERIMENT.data, teacher.run.folder, "fused", "kind")


def test_logits_are_those_of_the_teacher_from_all_its_modalities(teacher, data):
    dataset = data.load()
    _, _, texts, vectors = EXPERIMENT.data.originals()
    rows = dataset.splits["validation"].pointer
    inputs = {
        "text": [texts[i] for i in rows["text"]],
        "vector": [None if i < 0 else vectors[i] for i in rows["vector"]],
    }
    each = [np.asarray(answer["probability"]) for answer in teacher["fused"].predict(inputs, each_seed=True)["kind"]]
    log_odds = np.mean([np.log(p[:, 1]) - np.log(p[:, 0]) for p in each], axis=0)
    logits = dataset.splits["validation"].targets["teacher"]
    assert logits.shape == (12, 2) and logits.dtype == np.float32
    np.testing.assert_allclose(logits[:, 1] - logits[:, 0], log_odds, rtol=1e-3, atol=1e-4)
    assert np.isnan(dataset.splits["test"].targets["teacher"]).all()  # nothing is learned there
    assert np.isfinite(dataset.splits["train"].targets["teacher"]).all()
    assert dataset.fingerprint != EXPERIMENT.data.load().fingerprint


def test_a_student_of_one_modality_is_trained_and_loads_without_its_teacher(data, tmp_path):
    student = dataclasses.replace(
        STUDENT, data=data, loss=Distill("kind", temperature=3.0, weight=0.9), steps=4, evaluate_every=4
    )
    results = mmjax.run({"student": student}, seeds=2, out=tmp_path / "run", quiet=True)
    curve = results.run.curves("student")["all"]
    assert {"train_loss/label", "train_loss/teacher"} <= set(curve) and np.isfinite(
        np.asarray(curve["train_loss/teacher"])
    ).all()
    assert results["student"].predict({"text": ["a loud animal 1"]})["kind"]["probability"].shape == (1, 2)


def batch_of(teacher, weight=(1.0, 1.0, 1.0)):
    targets = {"kind": jnp.array([0, 1, 0]), "teacher": jnp.asarray(teacher, jnp.float32)}
    return Batch({}, {"text": jnp.ones(3, bool)}, targets, jnp.asarray(weight))


def test_the_loss_by_hand():
    # T = 2: teacher (0, 2 log 3) -> p = (1/4, 3/4); student (2 log 2, 0) -> q = (2/3, 1/3)
    teacher = [[0.0, 2 * np.log(3)], [0.0, 0.0], [np.nan, np.nan]]
    student = {"kind": jnp.array([[2 * np.log(2), 0.0]] * 3)}
    found = Distill("kind", temperature=2.0, weight=0.25)(student, batch_of(teacher))
    first = 0.25 * np.log((1 / 4) / (2 / 3)) + 0.75 * np.log((3 / 4) / (1 / 3))
    second = 0.5 * np.log(0.5 / (2 / 3)) + 0.5 * np.log(0.5 / (1 / 3))
    np.testing.assert_allclose(found["teacher"], 0.25 * 4 * np.array([first, second, 0]), rtol=1e-5, atol=1e-7)
    # T = 1 for the label: softmax (4/5, 1/5)
    np.testing.assert_allclose(found["label"], -0.75 * np.log([0.8, 0.2, 0.8]), rtol=1e-5)


def test_gradients_vanish_at_the_teacher_and_ignore_missing_rows():
    teacher = jnp.array([[1.0, -2], [0.5, 3], [np.nan, np.nan]])
    loss = lambda logits: Distill("kind", weight=1.0)({"kind": logits}, batch_of(teacher))["teacher"].sum()
    slope = jax.jit(jax.grad(loss))
    at_teacher = slope(jnp.nan_to_num(teacher) + 7)  # a constant changes no probability
    np.testing.assert_allclose(at_teacher, np.zeros((3, 2)), atol=1e-6)
    assert np.abs(slope(jnp.zeros((3, 2))))[:2].min() > 0.1
    absent = batch_of(teacher, weight=(0.0, 1.0, 1.0))
    padded = Distill("kind", weight=1.0)({"kind": jnp.full((3, 2), jnp.nan).at[1].set(0)}, absent)
    assert np.isfinite(padded["teacher"][1]) and padded["teacher"][0] == 0


def test_weight_zero_is_the_cross_entropy():
    outputs, batch = {"kind": jnp.array([[1.0, 2], [3, 4], [0, 1]])}, batch_of(np.zeros((3, 2)))
    np.testing.assert_array_equal(Distill("kind", weight=0.0)(outputs, batch), On("kind")(outputs, batch))


@pytest.mark.parametrize(
    ("loss", "teacher", "message"),
    [
        (Distill("kind", temperature=0.0), np.zeros((3, 2)), r"Distill\.temperature is 0\.0; it must be finite and above 0"),
        (Distill("kind", weight=1.5), np.zeros((3, 2)), r"Distill\.weight is 1\.5; it must lie between 0 and 1"),
        (Distill("kind"), np.zeros((3, 4)), r"the student has \(3, 2\), the teacher \(3, 4\)"),
        (
            Distill("kind", teacher="t"),
            np.zeros((3, 2)),
            r"Distill\.teacher is 't'; the targets are kind, teacher: wrap the data",
        ),
    ],
)
def test_wrong_fields_are_named(loss, teacher, message):
    with pytest.raises(ValueError, match=message):
        loss({"kind": jnp.zeros((3, 2))}, batch_of(teacher))


@dataclasses.dataclass(frozen=True)
class OtherSplit:
    """The same data under another fingerprint, as another fold has it."""

    def load(self):
        return dataclasses.replace(EXPERIMENT.data.load(), fingerprint="fold 1")


def test_a_teacher_that_does_not_fit_is_named(data):
    with pytest.raises(DataError, match=r"TeacherLogits\.cell is 'gone'; the cells of .* are fused"):
        dataclasses.replace(data, cell="gone").load()
    with pytest.raises(DataError, match=r"TeacherLogits\.output is 'age'; the outputs \[b c\] of the teacher are kind"):
        dataclasses.replace(data, output="age").load()
    with pytest.raises(DataError, match=r"cell 'fused' of .* was trained on other data or another split"):
        dataclasses.replace(data, data=OtherSplit()).load()
    with pytest.raises(mmjax.runs.schema.RunError, match=r"results\.json"):
        dataclasses.replace(data, run=Path("nowhere")).load()
