import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sklearn_metrics
from sklearn.calibration import calibration_curve

from mmjax import metrics

SHAPES = [(1, 2), (3, 5), (64, 9)]  # rows, classes

cases = settings(max_examples=20, deadline=None, derandomize=True)
case = given(shape=st.sampled_from(SHAPES), seed=st.integers(0, 10_000))


def rows(shape, seed):
    """Random labels, probabilities and fractional weights, with some rows of weight 0 but never all."""
    n, classes = shape
    random = np.random.default_rng(seed)
    label = random.integers(0, classes, n)
    probabilities = random.dirichlet(np.full(classes, 0.5), n).astype(np.float32)
    weight = random.uniform(0.1, 2.0, n) * (random.uniform(size=n) < 0.8)
    weight[random.integers(n)] = 1.0
    return label, probabilities, weight.astype(np.float32)


def confusion_of(shape, seed):
    label, probabilities, weight = rows(shape, seed)
    return metrics.confusion_matrix(label, probabilities.argmax(-1), weight, shape[1])


@jax.jit
def all_sums(label, probabilities, weight):
    confusion = metrics.confusion_matrix(label, probabilities.argmax(-1), weight, probabilities.shape[1])
    return confusion, metrics.calibration_bins(probabilities, label, weight)


def sklearn_scores(shape, seed, average, labels):
    label, probabilities, weight = rows(shape, seed)
    return sklearn_metrics.precision_recall_fscore_support(
        label, probabilities.argmax(-1), average=average, labels=labels, sample_weight=weight, zero_division=0
    )[:3]


@cases
@case
def test_confusion_and_accuracy_are_scikit_learns(shape, seed):
    label, probabilities, weight = rows(shape, seed)
    predicted, classes = probabilities.argmax(-1), shape[1]
    confusion = confusion_of(shape, seed)
    chex.assert_shape(confusion, (classes, classes))
    chex.assert_type(confusion, jnp.float32)
    expected = sklearn_metrics.confusion_matrix(label, predicted, labels=range(classes), sample_weight=weight)
    np.testing.assert_allclose(confusion, expected, rtol=1e-5, atol=1e-6)
    expected = sklearn_metrics.accuracy_score(label, predicted, sample_weight=weight)
    np.testing.assert_allclose(metrics.accuracy(confusion), expected, rtol=1e-5)


@cases
@case
def test_precision_recall_f1_are_scikit_learns(shape, seed):
    confusion = confusion_of(shape, seed)
    label, _, weight = rows(shape, seed)
    every, occurring = range(shape[1]), np.unique(label[weight > 0])
    for actual, average, labels in (
        (metrics.precision_recall_f1(confusion), None, every),
        (metrics.macro(confusion), "macro", occurring),
        (metrics.micro(confusion), "micro", every),
    ):
        chex.assert_tree_all_finite(actual)
        np.testing.assert_allclose(actual, sklearn_scores(shape, seed, average, labels), rtol=1e-5, atol=1e-6)


def test_hand_derived_scores():
    # true 0: two right, one taken for 1; true 1: one right, three taken for 0; class 2 never occurs, nor is predicted.
    confusion = jnp.array([[2.0, 1.0, 0.0], [3.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    precision, recall, f1 = metrics.precision_recall_f1(confusion)
    np.testing.assert_allclose(precision, [2 / 5, 1 / 2, 0], rtol=1e-6)
    np.testing.assert_allclose(recall, [2 / 3, 1 / 4, 0], rtol=1e-6)
    np.testing.assert_allclose(f1, [4 / 8, 2 / 6, 0], rtol=1e-6)  # 2 hit / (true + predicted)
    np.testing.assert_allclose(metrics.accuracy(confusion), 3 / 7, rtol=1e-6)
    # over the two classes that occur: (2/5 + 1/2) / 2, (2/3 + 1/4) / 2, (1/2 + 1/3) / 2
    np.testing.assert_allclose(metrics.macro(confusion), [9 / 20, 11 / 24, 5 / 12], rtol=1e-6)
    np.testing.assert_allclose(metrics.micro(confusion), [3 / 7] * 3, rtol=1e-6)


def test_a_class_that_is_predicted_but_never_occurs_costs_recall_but_is_no_part_of_the_mean():
    # true 0: one right, one taken for the absent class 1. Mean over class 0 alone: precision 1/1, recall 1/2, F1 2/3.
    confusion = jnp.array([[1.0, 1.0], [0.0, 0.0]])
    np.testing.assert_allclose(metrics.macro(confusion), [1, 1 / 2, 2 / 3], rtol=1e-6)
    expected = sklearn_metrics.precision_recall_fscore_support([0, 0], [0, 1], average="macro", labels=[0])[:3]
    np.testing.assert_allclose(metrics.macro(confusion), expected, rtol=1e-6)


def test_nothing_counted_is_zero_and_finite_with_finite_gradient():
    empty = jnp.zeros((4, 4))
    total = lambda x: metrics.accuracy(x) + sum(metrics.macro(x)) + sum(metrics.micro(x))
    value, gradient = jax.jit(jax.value_and_grad(total))(empty)
    assert value == 0
    chex.assert_tree_all_finite(gradient)
    bins = metrics.calibration_bins(jnp.ones((3, 2)), jnp.zeros(3, int), jnp.zeros(3))
    assert metrics.expected_calibration_error(bins) == 0


@cases
@case
def test_shards_add_up_and_padding_adds_nothing(shape, seed):
    label, probabilities, weight = rows(shape, seed)
    padding = (-np.ones(2, int), np.full((2, shape[1]), np.nan, np.float32), np.zeros(2, np.float32))
    padded = [np.concatenate(x) for x in zip((label, probabilities, weight), padding)]
    order = np.random.default_rng(seed).permutation(len(label) + 2)
    shards = [[x[part] for x in padded] for part in np.array_split(order, 3)]
    shards = [shard for shard in shards if len(shard[0])]
    summed = jax.tree.map(lambda *x: sum(x), *(all_sums(*shard) for shard in shards))
    chex.assert_trees_all_close(summed, all_sums(label, probabilities, weight), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("junk", [np.nan, np.inf, -np.inf, 7.0])
def test_rows_of_weight_zero_may_hold_anything(junk):
    label, probabilities, weight = rows((64, 3), 0)
    dirty = np.where(weight[:, None] > 0, probabilities, np.float32(junk))
    dirty_label = np.where(weight > 0, label, 10**6)
    clean = metrics.calibration_bins(probabilities, label, weight)
    chex.assert_trees_all_equal(metrics.calibration_bins(dirty, dirty_label, weight), clean)
    counts = [
        metrics.confusion_matrix(x, p.argmax(-1), weight, 3) for x, p in ((label, probabilities), (dirty_label, dirty))
    ]
    chex.assert_trees_all_equal(*counts)


def test_nan_in_a_row_that_counts_shows():
    bins = metrics.calibration_bins(jnp.array([[jnp.nan, 0.5], [0.5, 0.5]]), jnp.zeros(2, int), jnp.ones(2))
    assert jnp.isnan(metrics.expected_calibration_error(bins))


def test_labels_out_of_range_are_counted_nowhere_and_narrow_integers_do_not_overflow():
    # cell 19 * 20 + 19 = 399 is beyond int8; -1 must not wrap around: -1 * 20 + 19 would be the last cell
    label, predicted = np.array([19, 3, 20, -1], np.int8), np.array([19, -1, 0, 19], np.int8)
    confusion = np.zeros((20, 20), np.float32)
    confusion[19, 19] = 1
    np.testing.assert_array_equal(metrics.confusion_matrix(label, predicted, np.ones(4), 20), confusion)


@cases
@case
def test_calibration_is_scikit_learns(shape, seed):
    """Whole weights are repeated rows, which scikit-learn's calibration_curve of the events "was right" understands."""
    label, probabilities, _ = rows(shape, seed)
    times = np.random.default_rng(seed).integers(1, 4, len(label))
    right = np.repeat(probabilities.argmax(-1) == label, times)
    confidence = np.repeat(probabilities.max(-1), times)
    accuracy_of_bin, confidence_of_bin = calibration_curve(right, confidence, n_bins=15, pos_label=True)
    # calibration_curve drops empty bins and the counts; those are counted here, over the same (low, high] bins
    count = np.bincount(np.ceil(confidence.astype(np.float64) * 15).astype(int) - 1, minlength=15)
    bins = metrics.calibration_bins(probabilities, label, times)
    np.testing.assert_array_equal(bins.weight, count)
    np.testing.assert_allclose(bins.correct[count > 0], accuracy_of_bin * count[count > 0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(bins.confidence[count > 0], confidence_of_bin * count[count > 0], rtol=1e-5)
    expected = np.average(abs(accuracy_of_bin - confidence_of_bin), weights=count[count > 0])
    np.testing.assert_allclose(metrics.expected_calibration_error(bins), expected, rtol=1e-4, atol=1e-6)


def test_hand_derived_calibration():
    # Two bins, (0, .5] and (.5, 1]. First: confidence .5 (on the edge: below), right, weight 2: gap |2 - 1| = 1.
    # Second: .75 right (weight 1) and 1.0 wrong (weight 1): gap |1 - 1.75| = .75. ECE = (1 + .75) / 4.
    probabilities = jnp.array([[0.5, 0.25, 0.25], [0.25, 0.75, 0.0], [0.0, 0.0, 1.0]])
    bins = metrics.calibration_bins(probabilities, jnp.array([0, 1, 0]), jnp.array([2.0, 1.0, 1.0]), bins=2)
    chex.assert_trees_all_close(
        bins, metrics.CalibrationBins(jnp.array([2.0, 2.0]), jnp.array([1.0, 1.75]), jnp.array([2.0, 1.0]))
    )
    np.testing.assert_allclose(metrics.expected_calibration_error(bins), 1.75 / 4, rtol=1e-6)


def test_jit_vmap_and_leading_dimensions_agree_with_the_plain_call():
    label, probabilities, weight = rows((64, 3), 1)
    weights = np.stack([weight, np.ones_like(weight), weight * (label == 2)])

    def ratios(confusion, bins):
        averages = metrics.precision_recall_f1(confusion), metrics.macro(confusion), metrics.micro(confusion)
        return metrics.accuracy(confusion), averages, metrics.expected_calibration_error(bins)

    sums = jax.jit(jax.vmap(all_sums, (None, None, 0)))(label, probabilities, weights)
    chex.assert_shape(sums[0], (3, 3, 3))
    one_by_one = [ratios(*all_sums.__wrapped__(label, probabilities, w)) for w in weights]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *one_by_one)
    chex.assert_trees_all_close(ratios(*sums), stacked, rtol=1e-5, atol=1e-6)


def multilabel(shape, seed):
    """target Int[n c] of 0 and 1, predicted Bool[n c], weight Float[n], label 0 never occurring."""
    random = np.random.default_rng(seed)
    target, predicted = random.integers(0, 2, shape), random.integers(0, 2, shape) > 0
    target[:, 0] = 0
    return target, predicted, rows(shape, seed)[2]


@jax.jit
def multilabel_scores(target, predicted, weight):
    confusion = metrics.multilabel_confusion(target, predicted, weight)
    return confusion, metrics.multilabel_micro(confusion), metrics.multilabel_macro(confusion)


@cases
@case
def test_multilabel_scores_are_scikit_learns(shape, seed):
    target, predicted, weight = multilabel(shape, seed)
    confusion, micro, macro = multilabel_scores(target, predicted, weight)
    expected = sklearn_metrics.multilabel_confusion_matrix(target, predicted, sample_weight=weight)
    np.testing.assert_allclose(confusion, expected, rtol=1e-5, atol=1e-5)
    occurring = np.flatnonzero(target[weight > 0].any(axis=0))
    for actual, average, labels in (
        (micro, "micro", range(shape[1])),
        (macro, "macro", occurring),
    ):
        chex.assert_tree_all_finite(actual)
        if len(labels):
            scores = sklearn_metrics.precision_recall_fscore_support(
                target, predicted, average=average, labels=labels, sample_weight=weight, zero_division=0
            )[:3]
            np.testing.assert_allclose(actual, scores, rtol=1e-4, atol=1e-6)


def test_unknown_labels_and_rows_of_weight_zero_are_counted_nowhere():
    target, predicted = jnp.array([[1, -1], [0, 1], [-1, -1], [1, 1]]), jnp.ones((4, 2), bool)
    weight = jnp.array([1.0, 2.0, 1.0, 0.0])
    # label 0: row 0 is so and was said (1), row 1 is not so and was said (2); label 1: row 1 (2)
    expected = [[[0, 2], [0, 1]], [[0, 0], [0, 2]]]
    np.testing.assert_array_equal(metrics.multilabel_confusion(target, predicted, weight), expected)


@jax.jit
def regression_scores(sums):
    return metrics.mean_absolute_error(sums), metrics.mean_squared_error(sums), metrics.pearson(sums)


regression_sums = jax.jit(metrics.regression_sums, static_argnums=3)


@cases
@given(seed=st.integers(0, 10_000), centre=st.sampled_from([0.0, 1.5]))
def test_regression_is_scikit_learns_and_scipys(seed, centre):
    random = np.random.default_rng(seed)
    target = random.normal(size=40).astype(np.float32) + 1
    predicted = np.float32(0.5 * target + random.normal(size=40))
    times = random.integers(1, 4, 40)  # whole weights are repeated rows
    shards = [regression_sums(predicted[i], target[i], times[i], centre) for i in np.array_split(np.arange(40), 2)]
    sums = jax.tree.map(lambda *x: sum(x), *shards)
    y, p = np.repeat(target, times), np.repeat(predicted, times)
    absolute, squared, correlation = regression_scores(sums)
    np.testing.assert_allclose(absolute, sklearn_metrics.mean_absolute_error(y, p), rtol=1e-5)
    np.testing.assert_allclose(squared, sklearn_metrics.mean_squared_error(y, p), rtol=1e-5)
    np.testing.assert_allclose(correlation, stats.pearsonr(y, p).statistic, rtol=1e-3, atol=1e-4)


def test_regression_without_rows_targets_or_variance():
    target, predicted = jnp.array([1.0, 2.0, jnp.nan, 9.0]), jnp.array([1.5, 1.0, 7.0, jnp.nan])
    sums = regression_sums(predicted, target, jnp.array([1.0, 1.0, 1.0, 0.0]))
    np.testing.assert_allclose(regression_scores(sums), [(0.5 + 1) / 2, (0.25 + 1) / 2, -1], rtol=1e-6)
    nothing = regression_sums(predicted, target, jnp.zeros(4))
    np.testing.assert_array_equal(regression_scores(nothing), [0, 0, 0])
    constant = regression_sums(jnp.full(50, 0.3), jnp.arange(50.0), jnp.ones(50))
    assert regression_scores(constant)[2] == 0
    gap = regression_sums(jnp.array([1.0, jnp.nan]), jnp.array([1.0, 2.0]), jnp.ones(2))
    assert np.isnan(regression_scores(gap)[0])  # NaN in a prediction that counts shows


retrieval_ranks = jax.jit(metrics.retrieval_ranks)
retrieval_scores = jax.jit(lambda x: (metrics.recall_at(x, 1), metrics.recall_at(x, 3), metrics.median_rank(x)))


@cases
@given(seed=st.integers(0, 10_000))
def test_retrieval_is_scipys_ranking(seed):
    random = np.random.default_rng(seed)
    similarity = random.integers(0, 6, (7, 9)).astype(np.float32)  # with ties
    relevant = random.uniform(size=(7, 9)) < 0.3
    candidate = random.uniform(size=9) < 0.8
    ranks = retrieval_ranks(similarity, relevant, candidate)
    for i in range(7):
        good, bad = similarity[i, relevant[i] & candidate], similarity[i, ~relevant[i] & candidate]
        expected = stats.rankdata(-np.append(bad, good.max()), method="max")[-1] if len(good) else 10
        assert ranks[i] == expected
    weight = np.append(random.integers(0, 2, 6), 1)
    counts = metrics.rank_counts(ranks, weight, 10)
    counted = np.asarray(ranks)[weight > 0]
    expected = [(counted <= 1).mean(), (counted <= 3).mean(), np.median(counted)]
    np.testing.assert_allclose(retrieval_scores(counts), expected, rtol=1e-6)


def test_retrieval_does_not_praise_what_says_nothing():
    own = np.eye(4, dtype=bool)
    np.testing.assert_array_equal(retrieval_ranks(jnp.zeros((4, 4)), own), [4] * 4)
    np.testing.assert_array_equal(retrieval_ranks(jnp.full((4, 4), jnp.nan), own), [4] * 4)
    np.testing.assert_array_equal(retrieval_ranks(2.0 * own, own), [1] * 4)
    np.testing.assert_array_equal(retrieval_scores(jnp.zeros(5)), [0, 0, 0])
