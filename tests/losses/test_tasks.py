"""Losses of one output and of several: what counts, weights, and what is refused by name."""

import json
from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from mmjax.describe import as_json
from mmjax.losses import (
    Correlation,
    CrossEntropy,
    Huber,
    InfoNCE,
    On,
    SigmoidPairs,
    SquaredError,
    Tasks,
    Triplet,
    Uncertainty,
    cross_entropy,
)
from tests.losses.given import LABEL, LOGITS, OUTPUTS, PRESENT, WEIGHT, B, batch


def test_cross_entropy_sums_all_outputs_that_have_a_target():
    outputs = {**OUTPUTS, "image.embedding": jnp.asarray(LOGITS), "temperature": jnp.ones((B, 1))}
    each = {name: -special.log_softmax(np.asarray(x), axis=1)[np.arange(B), LABEL] for name, x in OUTPUTS.items()}
    real = WEIGHT > 0
    expected = real * each["label"] + (real & PRESENT["image"]) * each["image.label"]
    expected = expected + (real & PRESENT["text"]) * each["text.label"]
    values = jax.jit(cross_entropy)(outputs, batch(present=PRESENT, weight=WEIGHT))
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6)


def test_what_does_not_count_has_no_value_and_no_gradient():
    given = batch(present=PRESENT, weight=WEIGHT)
    absent = ~(PRESENT["image"] & (WEIGHT > 0))
    spoiled = {"image.label": jnp.where(absent[:, None], jnp.nan, OUTPUTS["image.label"])}
    run = jax.jit(jax.value_and_grad(lambda outputs, given: On("image.label")(outputs, given).sum()))
    value, gradient = run(spoiled, given.replace(targets={"label": jnp.where(absent, 999, LABEL)}))
    chex.assert_trees_all_close((value, gradient), run({"image.label": OUTPUTS["image.label"]}, given), rtol=1e-6)
    chex.assert_tree_all_finite((value, gradient))
    assert not np.asarray(gradient["image.label"])[absent].any()
    assert np.asarray(gradient["image.label"])[~absent].any(axis=1).all()


def test_tasks_have_fixed_weights():
    tasks = Tasks({"label": 1.0, "image.label": 0.3, "squares": (On("text.label", SquaredError()), 2.0), "again": On("label")})
    given = batch(present=PRESENT, weight=WEIGHT)
    values = jax.jit(tasks)(OUTPUTS, given)
    on = lambda name, criterion=CrossEntropy(): jax.jit(On(name, criterion))(OUTPUTS, given)
    expected = {
        "label": on("label"),
        "image.label": 0.3 * on("image.label"),
        "squares": 2 * on("text.label", SquaredError()),
        "again": on("label"),
    }
    chex.assert_trees_all_close(values, expected, rtol=1e-6)


def test_uncertainty_by_hand_and_at_its_best():
    tasks = Tasks({"label": 1.0, "image.label": 1.0})
    s = np.tile(np.array([0.7, -0.4], np.float32), (B, 1))  # sorted: image.label, label
    outputs = {**OUTPUTS, "log_variance": jnp.asarray(s)}
    plain, values = jax.jit(lambda o, b: (tasks(o, b), Uncertainty(tasks)(o, b)))(outputs, batch())
    np.testing.assert_allclose(values["label"], np.exp(0.4) * plain["label"] - 0.2, rtol=1e-5)
    np.testing.assert_allclose(values["image.label"], np.exp(-0.7) * plain["image.label"] + 0.35, rtol=1e-5)
    # the slope of exp(-s) L + s / 2 is 0 at s = log 2 L
    means = np.array([np.mean(plain[name]) for name in ("image.label", "label")])
    best = {**OUTPUTS, "log_variance": jnp.asarray(np.tile(np.log(2 * means), (B, 1)).astype(np.float32))}
    total = lambda outputs: sum(value.mean() for value in Uncertainty(tasks)(outputs, batch()).values())
    gradient = jax.jit(jax.grad(total))(best)["log_variance"].sum(axis=0)
    np.testing.assert_allclose(gradient, [0, 0], atol=1e-6)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (cross_entropy, r"none of the outputs \['score', 'text\.score'\] has a target; the batch's targets are \['label'\]"),
        (On("image.label"), r"there is no output 'image\.label'.*the outputs are \['score', 'text\.score'\]"),
        (On("score"), r"output 'score' has no target 'score'; the batch's targets are \['label'\]"),
        (Tasks({}), r"Tasks\.losses is empty"),
        (Tasks({"label": "focal"}), r"Tasks\.losses\['label'\] is 'focal'; give a loss such as On\('label'\)"),
        (InfoNCE("image.embedding", "score"), r"there is no output 'image\.embedding'"),
        (InfoNCE("score", "text.score"), r"must be \[b d\] of one width; they are \(8, 4\) and \(8, 3\)"),
        (InfoNCE("score", "score", temperature="t"), r"there is no output 't'"),
        (InfoNCE("score", "score", temperature=0.0), r"temperature is 0\.0"),
        (Correlation("score", "score", ridge=0.0), r"Correlation\.ridge is 0\.0"),
    ],
)
def test_unknown_names_say_what_there_is(loss, message):
    outputs = {"score": jnp.asarray(LOGITS), "text.score": jnp.asarray(LOGITS[:, :3])}
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(loss, outputs, batch())


def test_unknown_modality_and_wrong_columns():
    with pytest.raises(ValueError, match=r"'audio\.label' is of modality 'audio', and the batch has \['image', 'text'\]"):
        jax.eval_shape(On("audio.label"), {"audio.label": jnp.asarray(LOGITS)}, batch())
    outputs = {**OUTPUTS, "log_variance": jnp.zeros((B, 3))}
    with pytest.raises(ValueError, match=r"has 3 columns for the 1 tasks \['label'\].*LogVariances\(\('label',\)\)"):
        jax.eval_shape(Uncertainty(Tasks({"label": 1.0})), outputs, batch())


def test_losses_are_values():
    losses = [
        On("label", CrossEntropy(0.1, (1.0, 2.0))),
        On("score", Huber()),
        *(contrast("image.vector", "text.vector") for contrast in (InfoNCE, SigmoidPairs, Triplet, Correlation)),
        Tasks({"label": 1.0, "pairs": (InfoNCE("image.vector", "text.vector"), 0.1)}),
        Uncertainty(Tasks({"label": 1.0, "score": (On("score", SquaredError()), 0.5)})),
    ]
    assert len({json.dumps(as_json(loss)) for loss in losses}) == len(set(losses)) == len(losses)
    for loss in losses:
        assert replace(loss) == loss and hash(replace(loss)) == hash(loss)
    assert hash(Tasks({"a": 1.0, "b": 2.0})) == hash(Tasks({"b": 2.0, "a": 1.0}))
