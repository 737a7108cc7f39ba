"""Contrastive losses against their formulas in NumPy, over the examples that have both modalities."""

import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg, special
from sklearn.cross_decomposition import CCA

from mmjax.losses import (
    CPC,
    DCCA,
    CentralMoments,
    Correlation,
    InfoNCE,
    NormalMMD,
    Orthogonality,
    SigmoidPairs,
    TowerDistillation,
    Triplet,
)
from mmjax.shards import SHARD
from mmjax.types import Batch
from tests.losses.given import PRESENT, RANDOM, WEIGHT, B, batch

X, Y = (RANDOM.normal(size=(B, 2)).astype(np.float32) for _ in range(2))
X, Y = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (X, Y))
NAMES = ("image.embedding", "text.embedding")
PAIRS = {NAMES[0]: jnp.asarray(X), NAMES[1]: jnp.asarray(Y)}
BOTH = PRESENT["image"] & PRESENT["text"] & (WEIGHT > 0)
LEARNED = {"temperature": jnp.float32(0.3), "bias": jnp.float32(-2.0)}


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


def dcca(x, y):
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    s11, s22, s12 = (a.T @ b / (len(x) - 1) for a, b in ((x, x), (y, y), (x, y)))
    root = lambda s: linalg.fractional_matrix_power(s + 1e-3 * np.eye(2), -0.5)
    return np.full(len(x), 2 - np.linalg.norm(root(s11) @ s12 @ root(s22), ord="nuc"))


def orthogonality(x, y):
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    x, y = (z / (np.linalg.norm(z, axis=1, keepdims=True) + 1e-6) for z in (x, y))
    return np.full(len(x), np.mean((x.T @ y) ** 2))


CONTRASTIVE = [
    (InfoNCE(*NAMES, temperature="temperature"), info_nce),
    (SigmoidPairs(*NAMES, temperature="temperature", bias="bias"), sigmoid_pairs),
    (Triplet(*NAMES), triplet),
    (Correlation(*NAMES), correlation),
    (DCCA(*NAMES), dcca),
    (Orthogonality(*NAMES), orthogonality),
]
each = pytest.mark.parametrize(("loss", "formula"), CONTRASTIVE, ids=lambda case: type(case).__name__)


@each
def test_contrastive_losses_are_their_formulas_over_valid_pairs(loss, formula):
    """Invalid examples hold NaN: they are neither positives nor negatives, and their loss and gradient are 0."""
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


@pytest.mark.parametrize(
    "loss",
    [InfoNCE(*NAMES, temperature=0.3), CPC(*NAMES), SigmoidPairs(*NAMES), Triplet(*NAMES), NormalMMD(NAMES[0])],
    ids=lambda loss: type(loss).__name__,
)
def test_no_shard_holds_the_similarities_of_the_whole_batch(loss):
    """Of 4 shards with 3 examples each, value and gradient have blocks [3 3] and no [3 12]."""
    given = Batch({}, dict.fromkeys(("image", "text"), jnp.ones(3, bool)), {}, jnp.ones(3))
    run = jax.pmap(jax.value_and_grad(lambda outputs: loss(outputs, given).sum()), axis_name=SHARD)
    program = str(jax.make_jaxpr(run)({name: jnp.ones((4, 3, 2)) for name in NAMES}))
    assert "f32[3,3]" in program and not re.search(r"\[(3,12|12,3|12,12)\]", program)


def test_info_nce_is_never_negative_at_a_low_temperature():
    """At t = 0.01, a difference of 1e-7 between two ways to compute one cosine would be -1e-5 nats. Here each negative is
    orthogonal to the example, so the loss is 7 exp(-100), which is 0 in float32."""
    random = np.random.default_rng(0)
    basis = np.linalg.qr(random.normal(size=(64, 64)))[0][:B].astype(np.float32)
    loss = InfoNCE(*NAMES, temperature=0.01)
    values = jax.jit(lambda x, y: loss({NAMES[0]: x, NAMES[1]: y}, batch()))
    x, y = basis, (basis / np.linalg.norm(basis, axis=1, keepdims=True)).astype(np.float32)
    for scale in (1, np.float32(1.0000001)):
        found = np.asarray(values(x * scale, y))
        assert (found >= 0).all() and (found < 1e-20).all()
    close = np.asarray(values(x + random.normal(size=x.shape).astype(np.float32) * 0.02, y))
    assert (close >= 0).all()


@each
def test_finite_at_zero_embeddings_and_with_one_or_no_valid_example(loss, formula):
    zeros = {name: jnp.zeros((B, 2)) for name in NAMES} | LEARNED
    run = jax.jit(lambda outputs, given: jax.value_and_grad(lambda o: loss(o, given).sum())(outputs))
    for count in (B, 1, 0):
        given = batch(weight=np.float32(np.arange(B) < count))
        for outputs in (zeros, {**PAIRS, **LEARNED}):
            value, gradient = run(outputs, given)
            chex.assert_tree_all_finite((value, gradient))
            assert count or value == 0


def test_central_moments_are_those_of_each_output_over_its_own_examples():
    image, text = (PRESENT[name] & (WEIGHT > 0) for name in ("image", "text"))
    run = jax.jit(lambda outputs: CentralMoments(*NAMES, moments=3)(outputs, batch(present=PRESENT, weight=WEIGHT)))
    values = run({NAMES[0]: jnp.where(image[:, None], X, jnp.nan), NAMES[1]: jnp.where(text[:, None], Y, jnp.nan)})
    x, y = X[image].astype(np.float64), Y[text].astype(np.float64)
    expected = np.linalg.norm(x.mean(axis=0) - y.mean(axis=0))
    for k in (2, 3):
        expected += np.linalg.norm(((x - x.mean(axis=0)) ** k).mean(axis=0) - ((y - y.mean(axis=0)) ** k).mean(axis=0))
    np.testing.assert_allclose(values, np.where(BOTH, expected, 0), rtol=1e-5)
    with pytest.raises(ValueError, match=r"CentralMoments\.moments is 0"):
        CentralMoments(*NAMES, moments=0)(PAIRS, batch())
    with pytest.raises(ValueError, match=r"DCCA\.top is 3; it must be from 1 to 2"):
        DCCA(*NAMES, top=3)(PAIRS, batch())


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


ITEM = np.array([0, 1, 1, 2, 1, 3, 0, -1, -1])[:B]  # -1 is equal to nothing


def info_nce_of_items(x, y, item):
    """Khosla et al., 2020, equation 2, in both directions."""
    same = (item[:, None] == item[None, :]) & (item >= 0)[:, None] | np.eye(len(x), dtype=bool)
    one_way = lambda s: (special.log_softmax(s, axis=1) * same).sum(axis=1) / same.sum(axis=1)
    return -(one_way(x @ y.T / 0.3) + one_way(y @ x.T / 0.3)) / 2


def sigmoid_of_items(x, y, item):
    same = (item[:, None] == item[None, :]) & (item >= 0)[:, None] | np.eye(len(x), dtype=bool)
    return -special.log_expit(np.where(same, 1, -1) * (x @ y.T / 0.3 - 2)).sum(axis=1)


def triplet_of_items(x, y, item):
    same = (item[:, None] == item[None, :]) & (item >= 0)[:, None] | np.eye(len(x), dtype=bool)
    values = np.zeros(len(x))
    for a, b in ((x, y), (y, x)):
        s = a @ b.T
        own = (s * same).sum(axis=1) / same.sum(axis=1)
        values += np.maximum(0, 0.2 - own + np.where(same, -np.inf, s).max(axis=1))
    return values


@pytest.mark.parametrize(
    ("loss", "formula"),
    [
        (InfoNCE(*NAMES, temperature="temperature", match="item"), info_nce_of_items),
        (SigmoidPairs(*NAMES, temperature="temperature", bias="bias", match="item"), sigmoid_of_items),
        (Triplet(*NAMES, match="item"), triplet_of_items),
    ],
    ids=lambda case: type(case).__name__,
)
def test_examples_of_one_item_are_positives_of_each_other(loss, formula):
    given = batch(present=PRESENT, weight=WEIGHT)
    given = given.replace(targets={**given.targets, "item": jnp.asarray(ITEM)})
    values = jax.jit(loss.__call__)({**PAIRS, **LEARNED}, given)
    expected = np.zeros(B)
    expected[BOTH] = formula(X[BOTH].astype(np.float64), Y[BOTH].astype(np.float64), ITEM[BOTH])
    np.testing.assert_allclose(values, expected, rtol=2e-4, atol=1e-6)
    with pytest.raises(ValueError, match=r"match is 'item'; it must be a target Int\[b\] of the batch"):
        loss({**PAIRS, **LEARNED}, batch())


def test_tower_distillation_is_the_cosine_and_moves_the_student_alone():
    loss = TowerDistillation(*NAMES)
    given = batch(present=PRESENT, weight=WEIGHT)
    values, gradient = jax.jit(
        lambda outputs: (loss(outputs, given), jax.grad(lambda outputs: loss(outputs, given).sum())(outputs))
    )({NAMES[0]: 3 * PAIRS[NAMES[0]], NAMES[1]: PAIRS[NAMES[1]]})
    np.testing.assert_allclose(values, np.where(BOTH, 1 - (X * Y).sum(axis=1), 0), atol=1e-6)
    assert not np.asarray(gradient[NAMES[1]]).any() and np.asarray(gradient[NAMES[0]])[BOTH].any(axis=1).all()
