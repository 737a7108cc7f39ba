import json
import math
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import precision_recall_fscore_support

from mmjax.evaluate import statistics
from mmjax.evaluate.floors import one_hot_logits
from mmjax.evaluate.statistics import (
    Interval,
    bootstrap,
    difference,
    mean_confusion,
    resample,
    score,
    scores,
    scores_per_class,
    verdict,
)

KEYS = {"accuracy", "ece"} | {f"{key}_{a}" for key in ("precision", "recall", "f1") for a in ("macro", "micro")}


def example(seeds=3, n=40, classes=4, skill=1.0, seed=0):
    """logits Float[s n c], label Int[n], weight Float[n] (fractional)."""
    random = np.random.default_rng(seed)
    label = random.integers(0, classes, n)
    logits = random.normal(size=(seeds, n, classes)) + skill * (label[:, None] == np.arange(classes))
    return logits.astype(np.float32), label, random.choice([0.5, 1.0], n).astype(np.float32)


def right_or_wrong(right):
    """right Bool[s n] -> logits whose class 1 is predicted where right, and the label 1 everywhere."""
    return one_hot_logits(right, 2), np.ones(right.shape[1], int)


def test_every_draw_is_scikit_learns_score_of_the_drawn_rows():
    logits, label, weight = example()
    resampling = resample(np.arange(40) // 2, seeds=3, draws=50)
    table = scores(logits, label, weight, resampling)
    assert set(table) == KEYS
    per_seed = lambda w: [
        precision_recall_fscore_support(
            label, x.argmax(-1), average="macro", labels=np.unique(label[w > 0]), sample_weight=w
        )
        for x in logits
    ]
    np.testing.assert_allclose(table["f1_macro"].per_seed, [x[2] for x in per_seed(weight)], rtol=1e-5)
    np.testing.assert_allclose(table["f1_macro"].mean, np.mean(table["f1_macro"].per_seed))
    for draw in range(0, 50, 5):
        drawn = np.array([x[:3] for x in per_seed(weight * resampling.row_weight[draw])])
        precision, recall, f1 = resampling.seed_weight[draw] @ drawn.astype(float)
        np.testing.assert_allclose(table["precision_macro"].draws[draw], precision, rtol=1e-5)
        np.testing.assert_allclose(table["recall_macro"].draws[draw], recall, rtol=1e-5)
        np.testing.assert_allclose(table["f1_macro"].draws[draw], f1, rtol=1e-5)
    for average in ("precision_micro", "recall_micro", "f1_micro"):
        np.testing.assert_allclose(table[average].draws, table["accuracy"].draws, rtol=1e-6)


def test_hand_derived_interval():
    # Rows 0 and 1 are right, row 2 is wrong. Drawn (2, 0, 0): 1; (0, 0, 2): 0; (1, 0, 1): 1/2. Percentiles of
    # {0, 1/2, 1} by linear interpolation: position .025 * 2 = .05 between 0 and 1/2 -> .025, and likewise .975.
    logits, label = right_or_wrong(np.array([[True, True, False]]))
    resampling = statistics.Resampling(np.float32([[2, 0, 0], [0, 0, 2], [1, 0, 1]]), np.ones((3, 1), np.float32))
    accuracy = scores(logits, label, np.ones(3), resampling)["accuracy"]
    np.testing.assert_allclose(accuracy.draws, [1, 0, 0.5])
    np.testing.assert_allclose([accuracy.mean, accuracy.low, accuracy.high], [2 / 3, 0.025, 0.975], rtol=1e-6)


def test_rows_of_a_cluster_are_drawn_together_and_seeds_sum_to_one():
    cluster = np.array(["b", "a", "b", "c", "a", "b"])
    resampling = resample(cluster, seeds=4, draws=50)
    assert resampling.row_weight.shape == (50, 6) and resampling.seed_weight.shape == (50, 4)
    np.testing.assert_array_equal(resampling.row_weight[:, [0, 0, 1]], resampling.row_weight[:, [2, 5, 4]])
    np.testing.assert_array_equal(resampling.row_weight[:, [0, 1, 3]].sum(1), 2)  # 3 clusters, of which 2 are drawn
    np.testing.assert_allclose(resampling.seed_weight.sum(1), 1, rtol=1e-6)
    with pytest.raises(ValueError, match="at least 2 clusters"):
        resample(["one"] * 9, seeds=1)


def test_draws_are_a_function_of_the_seed():
    one, again, other = resample(range(9), 2, 20), resample(range(9), 2, 20), resample(range(9), 2, 20, seed=1)
    np.testing.assert_array_equal(one.row_weight, again.row_weight)
    np.testing.assert_array_equal(one.seed_weight, again.seed_weight)
    assert one.fingerprint == again.fingerprint != other.fingerprint


def test_copies_of_a_row_in_one_cluster_add_no_certainty():
    right = np.random.default_rng(0).uniform(size=(1, 80)) < 0.7
    copies = np.repeat(np.arange(80), 4)
    interval = {}
    for name, rows, cluster in (
        ("once", np.arange(80), np.arange(80)),
        ("copies", copies, copies),
        ("apart", copies, range(320)),
    ):
        logits, label = right_or_wrong(right[:, rows])
        accuracy = scores(logits, label, np.ones(len(rows)), resample(cluster, seeds=1))["accuracy"]
        interval[name] = accuracy.high - accuracy.low
    np.testing.assert_allclose(interval["copies"], interval["once"], rtol=1e-5)
    # 4 times as many rows that pass for independent halve the interval, wrongly
    np.testing.assert_allclose(interval["apart"], interval["once"] / 2, rtol=0.15)


def test_agrees_with_scipy_on_plain_rows():
    right = np.random.default_rng(1).uniform(size=(1, 200)) < 0.8
    logits, label = right_or_wrong(right)
    accuracy = scores(logits, label, np.ones(200), resample(range(200), seeds=1, draws=4000))["accuracy"]
    theirs = scipy.stats.bootstrap((right[0],), np.mean, n_resamples=4000, method="percentile", rng=0)
    # both are random: each end is known to about a fifteenth of the standard error, .028
    np.testing.assert_allclose([accuracy.low, accuracy.high], theirs.confidence_interval, atol=0.008)
    np.testing.assert_allclose(accuracy.draws.std(), theirs.standard_error, rtol=0.06)


def test_variance_over_seeds_is_the_unbiased_one():
    # A seed gets all rows right or none: 3 of 5. Sample variance 3/5 * 2/5 * 5/4 = .3, that of the mean .3 / 5 = .06.
    logits, label = right_or_wrong(np.repeat([[True], [True], [True], [False], [False]], 10, axis=1))
    accuracy = scores(logits, label, np.ones(10), resample(range(10), seeds=5, draws=4000))["accuracy"]
    np.testing.assert_allclose(accuracy.mean, 0.6)
    np.testing.assert_allclose(accuracy.draws.var(), 0.06, rtol=0.06)


@pytest.mark.parametrize("seeds, spread", [(1, 0.0), (6, 0.05)])
def test_an_interval_of_95_percent_covers_the_truth_95_times_in_100(seeds, spread):
    """Clusters of 3 rows share a difficulty, seeds differ in skill: P(right) = difficulty + skill, on average .75."""
    random = np.random.default_rng(2)
    resampling, covered = resample(np.arange(180) // 3, seeds=seeds, draws=400), []
    for _ in range(300):
        difficulty = np.repeat(random.choice([0.55, 0.95], 60), 3)
        skill = spread * random.choice([-1, 1], (seeds, 1))
        logits, label = right_or_wrong(random.uniform(size=(seeds, 180)) < difficulty + skill)
        accuracy = scores(logits, label, np.ones(180), resampling)["accuracy"]
        covered.append(accuracy.low <= 0.75 <= accuracy.high)
    assert 0.90 <= np.mean(covered) <= 0.99, np.mean(covered)


def test_paired_difference_is_narrower_than_either_and_finds_what_they_hide():
    random = np.random.default_rng(3)
    good = random.uniform(size=(4, 300)) < np.repeat(random.choice([0.2, 1.0], 100), 3)
    bad = good & (random.uniform(size=good.shape) < 0.95)  # right wherever bad is, and in a twentieth more
    resampling = resample(np.arange(300) // 3, seeds=4)
    a, b = (scores(*right_or_wrong(x), np.ones(300), resampling)["accuracy"] for x in (good, bad))
    gap = difference(a, b)
    assert gap.high - gap.low < (a.high - a.low) / 2 and a.low < b.high
    assert (
        verdict(gap) == "better"
        and verdict(difference(b, a)) == "worse"
        and verdict(difference(a, a)) == "inconclusive"
    )
    np.testing.assert_allclose(gap.mean, good.mean() - bad.mean(), rtol=1e-5)


@pytest.mark.parametrize(
    "low, high, expected", [(0, 1, "inconclusive"), (-1, 0, "inconclusive"), (math.nan,) * 2 + ("inconclusive",)]
)
def test_an_interval_that_touches_zero_or_is_unknown_decides_nothing(low, high, expected):
    assert verdict(Interval(0.0, low, high)) == expected


def test_a_floor_of_one_seed_is_paired_with_a_model_of_many_and_other_draws_are_refused():
    logits, label, weight = example()
    model = scores(logits, label, weight, resample(range(40), seeds=3, draws=50))["accuracy"]
    floor = scores(logits[:1], label, weight, resample(range(40), seeds=1, draws=50))["accuracy"]
    assert difference(model, floor).mean == pytest.approx(model.mean - floor.mean)
    for other in (resample(range(40), 3, 51), resample(range(40), 3, 50, seed=1), resample(np.arange(40) // 2, 3, 50)):
        with pytest.raises(ValueError, match="not paired"):
            difference(model, replace(model, resampling=other.fingerprint))


def test_rows_of_weight_zero_do_not_matter_even_when_nan():
    logits, label, weight = example()
    weight[::3] = 0
    resampling = resample(range(40), seeds=3, draws=50)
    dirty_logits, dirty_label = logits.copy(), label.copy()
    dirty_logits[:, ::3], dirty_label[::3] = np.nan, -1
    clean, dirty = scores(logits, label, weight, resampling), scores(dirty_logits, dirty_label, weight, resampling)
    assert clean == dirty
    np.testing.assert_array_equal(clean["ece"].draws, dirty["ece"].draws)
    np.testing.assert_array_equal(
        mean_confusion(logits, label, weight), mean_confusion(dirty_logits, dirty_label, weight)
    )


def test_what_cannot_be_known_is_left_out_of_the_interval_or_null():
    logits, label = right_or_wrong(np.ones((2, 6), bool))
    resampling = resample(range(6), seeds=2, draws=200)
    one_row = np.float32([1, 0, 0, 0, 0, 0])  # a subset that many draws miss; where it is drawn, it is right
    few = scores(logits, label, one_row, resampling)["accuracy"]
    assert np.isnan(few.draws).any() and (few.mean, few.low, few.high) == (1, 1, 1)
    nothing = scores(logits, label, np.zeros(6), resampling)["accuracy"].to_json()
    assert nothing == {"mean": None, "low": None, "high": None, "per_seed": [None, None]}
    json.dumps(nothing, allow_nan=False)


def test_scores_per_class_and_mean_confusion():
    # Two seeds, classes a, b and c that never occurs. Seed 0: a -> a, a -> b, b -> b; seed 1 calls everything b.
    logits = one_hot_logits(np.array([[0, 1, 1], [1, 1, 1]]), 3)
    label, weight, resampling = np.array([0, 0, 1]), np.ones(3), resample(range(3), seeds=2, draws=100)
    np.testing.assert_allclose(mean_confusion(logits, label, weight), [[0.5, 1.5, 0], [0, 1, 0], [0, 0, 0]])
    table = scores_per_class(logits, label, weight, resampling)
    assert set(table) == {"precision", "recall", "f1"}
    expected = {
        "precision": [(1, 0), (1 / 2, 1 / 3)],
        "recall": [(1 / 2, 0), (1, 1)],
        "f1": [(2 / 3, 0), (2 / 3, 1 / 2)],
    }
    for name, of_classes in expected.items():
        *occurring, absent = table[name]
        np.testing.assert_allclose([x.per_seed for x in occurring], of_classes, rtol=1e-6)
        assert absent.to_json()["mean"] is None and absent.to_json()["low"] is None


def test_macro_is_the_mean_over_classes_in_every_draw():
    """Also in draws that miss a class: its score is unknown there, and the macro average leaves it out."""
    logits, label, weight = example()
    label[label == 3] = 0
    label[5] = 3  # a class of one row, absent from a third of the draws
    resampling = resample(range(40), seeds=3, draws=50)
    table, of_classes = (f(logits, label, weight, resampling) for f in (scores, scores_per_class))
    for name, of_class in of_classes.items():
        draws = np.stack([x.draws for x in of_class])
        assert np.isnan(draws[3]).any() and all(x.low <= x.high for x in of_class)
        np.testing.assert_allclose(np.nanmean(draws, 0), table[f"{name}_macro"].draws, rtol=1e-5)


def test_unusable_input_is_named():
    logits, label, weight = example()
    resampling = resample(range(40), seeds=3, draws=50)
    with pytest.raises(ValueError, match="3 seeds and 40 rows; got logits"):
        scores(logits[:2], label, weight, resampling)
    with pytest.raises(ValueError, match="label"):
        scores(logits, label[:5], weight, resampling)
    with pytest.raises(ValueError, match=r"outside 0\.\.3"):
        scores(logits, label + 1, weight, resampling)
    logits[1, 7, 0] = np.nan
    with pytest.raises(ValueError, match=r"seeds \[1\]"):
        scores(logits, label, weight, resampling)


def _mean_margin(logits, label, weight):
    top_two = jnp.sort(logits, -1)[:, -2:]
    return {"margin": (weight * (top_two[:, 1] - top_two[:, 0])).sum() / weight.sum()}


def test_a_statistic_of_ones_own_and_in_small_chunks(monkeypatch):
    monkeypatch.setattr(statistics, "WEIGHTINGS_AT_ONCE", 3 * 40)
    logits, label, weight = example()
    resampling = resample(range(40), seeds=3, draws=50)
    margin = score(bootstrap(_mean_margin, logits, label, weight, resampling)["margin"], resampling)
    top_two = np.sort(logits, -1)[..., -2:]
    gap = top_two[..., 1] - top_two[..., 0]
    of_seed = lambda w: np.array([np.average(x, weights=w) for x in gap])
    np.testing.assert_allclose(margin.per_seed, of_seed(weight), rtol=1e-5)
    expected = [s @ of_seed(weight * w) for w, s in zip(resampling.row_weight, resampling.seed_weight)]
    np.testing.assert_allclose(margin.draws, expected, rtol=1e-5)
