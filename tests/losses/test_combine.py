"""Losses of one output and of several: which examples count, weights, and errors."""

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
    Triplet,
    Uncertainty,
    WeightedLosses,
    cross_entropy,
)
from tests.losses.given import LABEL, LOGITS, OUTPUTS, PRESENT, WEIGHT, B, batch


def test_cross_entropy_sums_all_outputs_that_have_a_target():
    outputs = {**OUTPUTS, "image.embedding": jnp.asarray(LOGITS), "temperature": jnp.float32(1)}
    each = {name: -special.log_softmax(np.asarray(x), axis=1)[np.arange(B), LABEL] for name, x in OUTPUTS.items()}
    real = WEIGHT > 0
    expected = real * each["label"] + (real & PRESENT["image"]) * each["image.label"]
    expected = expected + (real & PRESENT["text"]) * each["text.label"]
    values = jax.jit(cross_entropy)(outputs, batch(present=PRESENT, weight=WEIGHT))
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6)


def test_examples_that_do_not_count_have_no_value_and_no_gradient():
    given = batch(present=PRESENT, weight=WEIGHT)
    absent = ~(PRESENT["image"] & (WEIGHT > 0))
    spoiled = {"image.label": jnp.where(absent[:, None], jnp.nan, OUTPUTS["image.label"])}
    run = jax.jit(jax.value_and_grad(lambda outputs, given: On("image.label")(outputs, given).sum()))
    value, gradient = run(spoiled, given.replace(targets={"label": jnp.where(absent, 999, LABEL)}))
    chex.assert_trees_all_close((value, gradient), run({"image.label": OUTPUTS["image.label"]}, given), rtol=1e-6)
    chex.assert_tree_all_finite((value, gradient))
    assert not np.asarray(gradient["image.label"])[absent].any()
    assert np.asarray(gradient["image.label"])[~absent].any(axis=1).all()


def test_fixed_weights():
    squares = On("text.label", SquaredError()), 2.0
    losses = WeightedLosses({"label": 1.0, "image.label": 0.3, "squares": squares, "again": On("label")})
    given = batch(present=PRESENT, weight=WEIGHT)
    values = jax.jit(losses)(OUTPUTS, given)
    on = lambda name, criterion=CrossEntropy(): jax.jit(On(name, criterion))(OUTPUTS, given)
    expected = {
        "label": on("label"),
        "image.label": 0.3 * on("image.label"),
        "squares": 2 * on("text.label", SquaredError()),
        "again": on("label"),
    }
    chex.assert_trees_all_close(values, expected, rtol=1e-6)


def test_uncertainty_by_hand_and_at_its_optimum():
    losses = WeightedLosses({"label": 1.0, "image.label": 1.0})
    outputs = {**OUTPUTS, "log_variance": jnp.array([0.7, -0.4])}  # sorted: image.label, label
    plain, values = jax.jit(lambda o, b: (losses(o, b), Uncertainty(losses)(o, b)))(outputs, batch())
    np.testing.assert_allclose(values["label"], np.exp(0.4) * plain["label"] - 0.2, rtol=1e-5)
    np.testing.assert_allclose(values["image.label"], np.exp(-0.7) * plain["image.label"] + 0.35, rtol=1e-5)
    # the slope of exp(-s) L + s / 2 is 0 at s = log 2 L
    means = np.array([np.mean(plain[name]) for name in ("image.label", "label")])
    best = {**OUTPUTS, "log_variance": jnp.asarray(np.log(2 * means), jnp.float32)}
    total = lambda outputs: sum(value.mean() for value in Uncertainty(losses)(outputs, batch()).values())
    gradient = jax.jit(jax.grad(total))(best)["log_variance"]
    np.testing.assert_allclose(gradient, [0, 0], atol=1e-6)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (cross_entropy, r"none of the outputs \['score', 'text\.score'\] has a target; the batch's targets are \['label'\]"),
        (On("image.label"), r"the model has no output 'image\.label'; its outputs are \['score', 'text\.score'\]"),
        (On("score"), r"output 'score' has no target 'score'; the batch's targets are \['label'\]"),
        (WeightedLosses({}), r"WeightedLosses\.losses is empty"),
        (WeightedLosses({"label": "focal"}), r"Losses\.losses\['label'\] is 'focal'; give a loss such as On\('label'\)"),
        (InfoNCE("image.embedding", "score"), r"the model has no output 'image\.embedding'"),
        (InfoNCE("score", "text.score"), r"must be \[b d\] of one width; they are \(8, 4\) and \(8, 3\)"),
        (InfoNCE("score", "score", temperature="t"), r"the model has no output 't'"),
        (InfoNCE("score", "score", temperature="score"), r"output 'score' has shape \[8, 4\]; it must be a scalar"),
        (SigmoidPairs("score", "score", bias="score"), r"output 'score' has shape \[8, 4\]; it must be a scalar"),
        (InfoNCE("score", "score", temperature=float("nan")), r"temperature is nan"),
        (InfoNCE("score", "score", temperature=0.0), r"temperature is 0\.0"),
        (Correlation("score", "score", ridge=0.0), r"Correlation\.ridge is 0\.0"),
    ],
)
def test_errors_name_the_outputs(loss, message):
    outputs = {"score": jnp.asarray(LOGITS), "text.score": jnp.asarray(LOGITS[:, :3])}
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(loss, outputs, batch())


def test_unknown_modality_and_wrong_number_of_variances():
    with pytest.raises(ValueError, match=r"'audio\.label' is of modality 'audio', but the batch has \['image', 'text'\]"):
        jax.eval_shape(On("audio.label"), {"audio.label": jnp.asarray(LOGITS)}, batch())
    outputs = {**OUTPUTS, "log_variance": jnp.zeros(3)}
    with pytest.raises(ValueError, match=r"has shape \[3\], but there are 1 losses \['label'\].*LogVariances\(\('label',\)\)"):
        jax.eval_shape(Uncertainty(WeightedLosses({"label": 1.0})), outputs, batch())


def test_losses_are_values():
    losses = [
        On("label", CrossEntropy(0.1, (1.0, 2.0))),
        On("score", Huber()),
        *(contrast("image.vector", "text.vector") for contrast in (InfoNCE, SigmoidPairs, Triplet, Correlation)),
        WeightedLosses({"label": 1.0, "pairs": (InfoNCE("image.vector", "text.vector"), 0.1)}),
        Uncertainty(WeightedLosses({"label": 1.0, "score": (On("score", SquaredError()), 0.5)})),
    ]
    assert len({json.dumps(as_json(loss)) for loss in losses}) == len(set(losses)) == len(losses)
    for loss in losses:
        assert replace(loss) == loss and hash(replace(loss)) == hash(loss)
    assert hash(WeightedLosses({"a": 1.0, "b": 2.0})) == hash(WeightedLosses({"b": 2.0, "a": 1.0}))
