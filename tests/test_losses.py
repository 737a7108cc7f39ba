"""Each loss against an independent formula in NumPy or SciPy, scikit-learn or optax; and what must not count."""

import json
from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import special
from sklearn.cross_decomposition import CCA
from sklearn.metrics import log_loss

from mmjax.experiment import resolved
from mmjax.losses import (
    AbsoluteError,
    Correlation,
    CrossEntropy,
    Focal,
    Huber,
    InfoNCE,
    On,
    SigmoidCrossEntropy,
    SigmoidPairs,
    SquaredError,
    Tasks,
    Triplet,
    Uncertainty,
    cross_entropy,
)
from mmjax.shards import SHARD, sum_over_shards
from mmjax.train.step import weighted_mean
from mmjax.types import Batch

B, C = 8, 4
RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(size=(B, C)).astype(np.float32) * 3
LABEL = np.arange(B, dtype=np.int32) % C
ONE_HOT = np.eye(C, dtype=np.float32)[LABEL]
SOFT = RANDOM.dirichlet(np.ones(C), B).astype(np.float32)
MANY = (RANDOM.uniform(size=(B, C)) < 0.5).astype(np.int32)


def run(criterion, output, target):
    return np.asarray(jax.jit(criterion)(jnp.asarray(output), jnp.asarray(target)))


def batch(targets=None, present=None, weight=None) -> Batch:
    present = {"image": np.ones(B, bool), "text": np.ones(B, bool)} if present is None else present
    weight = np.ones(B, np.float32) if weight is None else weight
    return jax.tree.map(jnp.asarray, Batch({}, present, targets or {"label": LABEL}, weight))


# ---------------------------------------------------------------------------------------------------------------- criteria


def test_cross_entropy_is_scikit_learns_and_optaxs():
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
    sure = jnp.array([[200.0, 0.0], [-200.0, 0.0]])  # p_t is 1 and 0 in float32: (1 - p)^0.5 has an infinite slope
    gradient = jax.jit(jax.grad(lambda x: Focal(0.5)(x, jnp.zeros(2, int)).sum()))(sure)
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
        (LOGITS, LABEL, ONE_HOT),  # source 2: a classifier by squared error
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
def test_no_target_is_zero_with_zero_gradient_and_words_are_averaged(criterion, target, none):
    """Outputs [2 4 c] of 2 x 4 words: the second example has 3, the rest is padding that holds NaN."""
    words, goals = LOGITS.reshape(2, 4, C).copy(), target.reshape(2, 4, *target.shape[1:]).copy()
    words[1, 3], goals[1, 3] = np.nan, none
    values, gradient = jax.jit(jax.value_and_grad(lambda x: criterion(x, jnp.asarray(goals)).sum()))(jnp.asarray(words))
    each = run(criterion, LOGITS, target)
    np.testing.assert_allclose(values, each[:4].mean() + each[4:7].mean(), rtol=1e-5)
    chex.assert_tree_all_finite(gradient)
    assert not np.asarray(gradient[1, 3]).any() and np.asarray(gradient[1, 2]).any()
    nothing = run(criterion, np.full_like(LOGITS, np.nan), np.full_like(target, none))
    np.testing.assert_array_equal(nothing, np.zeros(B))


def test_a_label_out_of_range_shows():
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
def test_what_does_not_fit_is_named(criterion, output, target, message):
    loss, given = On("image.label", criterion), {"image.label": jnp.asarray(output)}
    with pytest.raises(ValueError, match=rf"output 'image\.label': {message}"):
        jax.eval_shape(loss, given, batch({"label": target}))


# ------------------------------------------------------------------------------------------------------------------- tasks

PRESENT = {"image": np.arange(B) > 0, "text": np.arange(B) != 3}
WEIGHT = np.where(np.arange(B) == 7, 0, 1 + np.arange(B) / 4).astype(np.float32)
OUTPUTS = {name: jnp.asarray(LOGITS + k) * (k + 1) for k, name in enumerate(("label", "image.label", "text.label"))}


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


# ------------------------------------------------------------------------------------------------------------- contrastive

X, Y = (RANDOM.normal(size=(B, 2)).astype(np.float32) for _ in range(2))
X, Y = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (X, Y))
NAMES = ("image.embedding", "text.embedding")
PAIRS = {NAMES[0]: jnp.asarray(X), NAMES[1]: jnp.asarray(Y)}
BOTH = PRESENT["image"] & PRESENT["text"] & (WEIGHT > 0)
LEARNED = {"temperature": jnp.full((B, 1), 0.3), "bias": jnp.full((B, 1), -2.0)}


def info_nce(x, y):
    s = x @ y.T / 0.3
    return -(np.diag(special.log_softmax(s, axis=1)) + np.diag(special.log_softmax(s, axis=0))) / 2


def sigmoid_pairs(x, y):
    z = 2 * np.eye(len(x)) - 1
    return -special.log_expit(z * (x @ y.T / 0.3 - 2)).sum(axis=1)


def triplet(x, y):
    values = np.zeros(len(x))
    for i in range(len(x)):
        others = [j for j in range(len(x)) if j != i]
        values[i] += max(max(0, 0.2 - x[i] @ y[i] + x[i] @ y[j]) for j in others)
        values[i] += max(max(0, 0.2 - x[i] @ y[i] + x[j] @ y[i]) for j in others)
    return values


def correlation(x, y):
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    s11, s22, s12 = (a.T @ b / (len(x) - 1) for a, b in ((x, x), (y, y), (x, y)))
    root = lambda s: np.linalg.inv(np.linalg.cholesky(s + 1e-3 * np.eye(2)))  # any square root has the same singular values
    rho = np.linalg.svd(root(s11) @ s12 @ root(s22).T, compute_uv=False)
    return np.full(len(x), 2 - (rho**2).sum())


CONTRASTIVE = [
    (InfoNCE(*NAMES, temperature="temperature"), info_nce),
    (SigmoidPairs(*NAMES, temperature="temperature", bias="bias"), sigmoid_pairs),
    (Triplet(*NAMES), triplet),
    (Correlation(*NAMES), correlation),
]
each = pytest.mark.parametrize(("loss", "formula"), CONTRASTIVE, ids=lambda case: type(case).__name__)


@each
def test_contrastive_losses_are_their_formulas_over_the_examples_that_have_both(loss, formula):
    """And what the others hold, NaN, is neither partner nor stranger; their value and gradient are 0."""
    spoiled = {name: jnp.where(BOTH[:, None], x, jnp.nan) for name, x in PAIRS.items()}

    @jax.jit
    def run(outputs, given):
        return loss(outputs, given), jax.grad(lambda outputs: loss(outputs, given).sum())(outputs)

    values, gradient = run({**spoiled, **LEARNED}, batch(present=PRESENT, weight=WEIGHT))
    assert BOTH.sum() == 5
    expected = np.zeros(B)
    expected[BOTH] = formula(X[BOTH].astype(np.float64), Y[BOTH].astype(np.float64))
    np.testing.assert_allclose(values, expected, rtol=2e-4, atol=1e-6)
    chex.assert_tree_all_finite(gradient)
    for name in NAMES:
        assert not np.asarray(gradient[name])[~BOTH].any() and np.asarray(gradient[name])[BOTH].any()
    full, _ = run({**PAIRS, **LEARNED}, batch())
    np.testing.assert_allclose(full, formula(X.astype(np.float64), Y.astype(np.float64)), rtol=2e-4, atol=1e-6)


@each
def test_four_devices_give_what_one_gives(loss, formula):
    """Values, and the gradient of the weighted mean with respect to what makes the embeddings."""
    given = batch(present=PRESENT, weight=WEIGHT)
    params = {"x": jnp.eye(2), "y": jnp.eye(2) + 0.1, "t": jnp.array([0.3]), "c": jnp.array([-2.0])}

    def step(outputs, given):
        def objective(params):
            count = given.weight.shape[0]
            learned = {name: jnp.broadcast_to(params[k][None], (count, 1)) for name, k in (("temperature", "t"), ("bias", "c"))}
            x, y = (jnp.tanh(z @ params[k]) for z, k in zip(outputs, "xy"))  # not linear: that leaves correlations as they are
            values = loss({NAMES[0]: x, NAMES[1]: y, **learned}, given)
            return weighted_mean(values, given.weight), values

        (value, values), gradient = jax.value_and_grad(objective, has_aux=True)(params)
        return sum_over_shards((value, gradient)), values

    one, values = jax.jit(step)((PAIRS[NAMES[0]], PAIRS[NAMES[1]]), given)
    parts = jax.tree.map(lambda x: x.reshape(4, 2, *x.shape[1:]), ((PAIRS[NAMES[0]], PAIRS[NAMES[1]]), given))
    four, part_values = jax.pmap(step, axis_name=SHARD)(*parts)
    chex.assert_trees_all_close(part_values.reshape(B), values, rtol=1e-4, atol=1e-6)
    chex.assert_trees_all_close(jax.tree.map(lambda x: x[2], four), one, rtol=1e-4, atol=1e-5)
    assert np.abs(np.asarray(one[1]["x"])).max() > 1e-2  # there is something to compare


@each
def test_finite_at_zero_embeddings_and_where_nobody_or_one_counts(loss, formula):
    zeros = {name: jnp.zeros((B, 2)) for name in NAMES} | LEARNED
    run = jax.jit(lambda outputs, given: jax.value_and_grad(lambda o: loss(o, given).sum())(outputs))
    for count in (B, 1, 0):
        given = batch(weight=np.float32(np.arange(B) < count))
        for outputs in (zeros, {**PAIRS, **LEARNED}):
            value, gradient = run(outputs, given)
            chex.assert_tree_all_finite((value, gradient))
            assert count or value == 0


def test_correlation_is_scikit_learns_cca_and_zero_for_a_linear_image():
    random = np.random.default_rng(1)
    x = random.normal(size=(60, 2))
    y = np.stack([x[:, 0] + 0.5 * random.normal(size=60), random.normal(size=60)], axis=1)
    a, b = CCA(n_components=2, scale=False, tol=1e-10, max_iter=10_000).fit_transform(x, y)
    rho = [np.corrcoef(a[:, k], b[:, k])[0, 1] for k in range(2)]
    ones = jnp.ones(60)
    given = Batch({}, {}, {}, ones)
    value = jax.jit(lambda x, y: Correlation("a", "b", ridge=1e-7)({"a": x, "b": y}, given))
    np.testing.assert_allclose(value(np.float32(x), np.float32(y))[0], 2 - np.square(rho).sum(), rtol=1e-3)
    linear = x @ np.array([[2.0, 1.0], [-1.0, 3.0]])
    np.testing.assert_allclose(value(np.float32(x), np.float32(linear))[0], 0, atol=1e-4)


# ------------------------------------------------------------------------------------------------------------------ values


def test_losses_are_values():
    losses = [
        On("label", CrossEntropy(0.1, (1.0, 2.0))),
        On("score", Huber()),
        *(loss for loss, _ in CONTRASTIVE),
        Tasks({"label": 1.0, "pairs": (InfoNCE(*NAMES), 0.1)}),
        Uncertainty(Tasks({"label": 1.0, "score": (On("score", SquaredError()), 0.5)})),
    ]
    assert len({json.dumps(resolved(loss)) for loss in losses}) == len(set(losses)) == len(losses)
    for loss in losses:
        assert replace(loss) == loss and hash(replace(loss)) == hash(loss)
    assert hash(Tasks({"a": 1.0, "b": 2.0})) == hash(Tasks({"b": 2.0, "a": 1.0}))
