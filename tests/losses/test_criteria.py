"""Each criterion against an independent formula in NumPy or SciPy, scikit-learn or optax."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import special
from sklearn.metrics import log_loss

from mmjax.losses import AbsoluteError, CrossEntropy, Focal, Huber, On, SigmoidCrossEntropy, SquaredError
from tests.losses.given import LABEL, LOGITS, MANY, ONE_HOT, SOFT, B, C, batch, run


def test_cross_entropy_equals_scikit_learn_and_optax():
    values = run(CrossEntropy(), LOGITS, LABEL)
    np.testing.assert_allclose(values.mean(), log_loss(LABEL, special.softmax(LOGITS, axis=1)), rtol=1e-5)
    weight = np.array([0.5, 2.0, 1.0, 3.0])
    weighted = run(CrossEntropy(class_weights=tuple(weight.tolist())), LOGITS, LABEL)
    expected = log_loss(LABEL, special.softmax(LOGITS, axis=1), sample_weight=weight[LABEL])  # divides by the weights
    np.testing.assert_allclose(weighted.sum() / weight[LABEL].sum(), expected, rtol=1e-5)
    smooth = jax.jit(lambda x: optax.softmax_cross_entropy(x, optax.smooth_labels(jnp.asarray(ONE_HOT), 0.2)))(LOGITS)
    np.testing.assert_allclose(run(CrossEntropy(smoothing=0.2), LOGITS, LABEL), smooth, rtol=1e-5)


def test_cross_entropy_with_probabilities():
    expected = -(SOFT * special.log_softmax(LOGITS, axis=1)).sum(axis=1)
    np.testing.assert_allclose(run(CrossEntropy(), LOGITS, SOFT), expected, rtol=1e-5)
    criterion = CrossEntropy(0.3, (1.0, 2.0, 3.0, 0.5))
    np.testing.assert_allclose(run(criterion, LOGITS, ONE_HOT), run(criterion, LOGITS, LABEL), rtol=1e-5)
    q = 0.7 * SOFT + 0.3 / C
    expected = -(np.array([1.0, 2.0, 3.0, 0.5]) * q * special.log_softmax(LOGITS, axis=1)).sum(axis=1)
    np.testing.assert_allclose(run(criterion, LOGITS, SOFT), expected, rtol=1e-5)


def test_focal():
    p = special.softmax(LOGITS.astype(np.float64), axis=1)[np.arange(B), LABEL]
    np.testing.assert_allclose(run(Focal(1.5), LOGITS, LABEL), -((1 - p) ** 1.5) * np.log(p), rtol=1e-4)
    np.testing.assert_allclose(run(Focal(0.0), LOGITS, LABEL), -np.log(p), rtol=1e-5)
    two = np.stack([np.zeros(B), LOGITS[:, 0]], axis=1).astype(np.float32)  # softmax [0, x] is sigmoid x
    expected = jax.jit(lambda x: optax.sigmoid_focal_loss(x, jnp.asarray(LABEL % 2, jnp.float32), gamma=2.0))(LOGITS[:, 0])
    np.testing.assert_allclose(run(Focal(), two, LABEL % 2), expected, rtol=1e-4)
    confident = jnp.array([[200.0, 0.0], [-200.0, 0.0]])  # p_t rounds to 1 and 0: (1 - p)^0.5 has an infinite slope at 1
    gradient = jax.jit(jax.grad(lambda x: Focal(0.5)(x, jnp.zeros(2, int)).sum()))(confident)
    chex.assert_tree_all_finite(gradient)


def test_sigmoid_cross_entropy():
    p = special.expit(LOGITS.astype(np.float64))
    expected = [log_loss(y, q, labels=[0, 1]) for y, q in zip(MANY, p)]
    np.testing.assert_allclose(run(SigmoidCrossEntropy(), LOGITS, MANY), expected, rtol=1e-5)
    unknown = MANY.copy()
    unknown[:, 1:] = -1
    expected = [log_loss(y[:1], q[:1], labels=[0, 1]) for y, q in zip(MANY, p)]
    np.testing.assert_allclose(run(SigmoidCrossEntropy(), LOGITS, unknown), expected, rtol=1e-5)
    floats = np.where(unknown < 0, np.nan, unknown).astype(np.float32)
    np.testing.assert_allclose(run(SigmoidCrossEntropy(), LOGITS, floats), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("criterion", "of_residual"),
    [
        (SquaredError(), np.square),
        (AbsoluteError(), np.abs),
        (Huber(0.7), lambda r: special.huber(0.7, r)),
    ],
)
def test_errors_of_numbers_and_of_one_hot_classes(criterion, of_residual):
    for output, target, goal in (
        (LOGITS, LABEL, ONE_HOT),  # a classifier with squared error
        (LOGITS, SOFT, SOFT),
        (LOGITS[:, :1], SOFT[:, 0], SOFT[:, :1]),  # Regressor() and Float[b]
    ):
        np.testing.assert_allclose(run(criterion, output, target), of_residual(output - goal).mean(axis=1), rtol=1e-5)


CRITERIA = [
    (CrossEntropy(0.1), LABEL, -1),
    (CrossEntropy(0.1, (1.0, 2.0, 3.0, 0.5)), SOFT, np.nan),
    (Focal(), LABEL, -1),
    (SigmoidCrossEntropy(), MANY, -1),
    (SquaredError(), LABEL, -1),
    (SquaredError(), SOFT, np.nan),
    (Huber(), SOFT, np.nan),
    (AbsoluteError(), SOFT, np.nan),
]


@pytest.mark.parametrize(("criterion", "target", "none"), CRITERIA)
def test_missing_targets_have_no_value_and_no_gradient_and_tokens_are_averaged(criterion, target, none):
    """Outputs [2 4 c] of 2 x 4 tokens: the second example has 3 targets, and its last output is NaN."""
    tokens, goals = LOGITS.reshape(2, 4, C).copy(), target.reshape(2, 4, *target.shape[1:]).copy()
    tokens[1, 3], goals[1, 3] = np.nan, none
    values, gradient = jax.jit(jax.value_and_grad(lambda x: criterion(x, jnp.asarray(goals)).sum()))(jnp.asarray(tokens))
    each = run(criterion, LOGITS, target)
    np.testing.assert_allclose(values, each[:4].mean() + each[4:7].mean(), rtol=1e-5)
    chex.assert_tree_all_finite(gradient)
    assert not np.asarray(gradient[1, 3]).any() and np.asarray(gradient[1, 2]).any()
    nothing = run(criterion, np.full_like(LOGITS, np.nan), np.full_like(target, none))
    np.testing.assert_array_equal(nothing, np.zeros(B))


def test_a_label_out_of_range_gives_nan():
    assert np.isnan(run(CrossEntropy(), LOGITS, LABEL + 1)[3]) and np.isfinite(run(CrossEntropy(), LOGITS, LABEL + 1)[0])


@pytest.mark.parametrize(
    ("criterion", "output", "target", "message"),
    [
        (CrossEntropy(), LOGITS, SOFT[:, 0], r"CrossEntropy cannot .*\(8, 4\) with a target float32\(8,\).*SquaredError"),
        (CrossEntropy(), LOGITS, MANY, r".*int32\(8, 4\).*SigmoidCrossEntropy"),
        (CrossEntropy(class_weights=(1.0,)), LOGITS, LABEL, r"CrossEntropy\.class_weights has 1 entries for 4 classes"),
        (CrossEntropy(smoothing=1.0), LOGITS, LABEL, r"CrossEntropy\.smoothing is 1\.0"),
        (Focal(), LOGITS, SOFT, r"Focal cannot compare"),
        (SigmoidCrossEntropy(), LOGITS, LABEL, r"SigmoidCrossEntropy cannot compare .*int32\(8,\)"),
        (SquaredError(), LOGITS, SOFT[:, 0], r"SquaredError cannot compare .*Float\[b\] for an output \[b 1\]"),
        (AbsoluteError(), LOGITS[:, :1], LABEL, r"AbsoluteError cannot compare"),
        (Huber(delta=0.0), LOGITS, SOFT, r"Huber\.delta is 0\.0"),
    ],
)
def test_errors_name_shapes_and_fields(criterion, output, target, message):
    loss, given = On("image.label", criterion), {"image.label": jnp.asarray(output)}
    with pytest.raises(ValueError, match=rf"output 'image\.label': {message}"):
        jax.eval_shape(loss, given, batch({"label": target}))
