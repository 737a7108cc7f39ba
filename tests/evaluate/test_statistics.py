import json

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import f1_score

from mmjax.evaluate.same import share
from mmjax.evaluate.statistics import difference, estimates
from mmjax.evaluate.statistics.variance import degrees_of_freedom, score_interval
from mmjax.metrics import classification, regression, retrieval
from mmjax.runs.schema import DIFFERENCE, ESTIMATE, check
from mmjax.types import Metric, Units


def score_mean(outcomes, weight):
    return jnp.sum(weight * jnp.where(weight > 0, outcomes["score"], 0)) / jnp.sum(weight)


MEAN = {"mean": Metric(score_mean, bounds=(None, None))}
ACCURACY = {"accuracy": Metric(classification.accuracy)}
STEP = 1e-5


def mean_of(scores, group=None, weight=None, fold=None):
    """scores Float[s u] -> the Estimate of their mean; units are groups by default."""
    scores = np.float32(scores)
    units = scores.shape[1]
    weight, group = np.ones(units) if weight is None else weight, np.arange(units) if group is None else group
    return estimates(MEAN, {"score": scores}, weight, group, fold)["mean"]


def interval(mean, groups, seeds=0.0, interaction=0.0, degrees=1.0, seed_degrees=1.0):
    """(low, high) of the two-way variance with Satterthwaite's degrees of freedom."""
    total = max(groups + seeds - interaction, groups, seeds)
    return scipy.stats.t.interval(
        0.95, total**2 / (groups**2 / degrees + seeds**2 / seed_degrees), loc=mean, scale=total**0.5
    )


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("units", [30, 150])  # leaves groups out; takes gradients
def test_independent_units_of_one_seed_get_the_t_interval_of_scipy(units):
    scores = normal(1, units)
    found = mean_of(scores)
    assert found.per_seed == (found.mean,)
    expected = scipy.stats.t.interval(0.95, units - 1, loc=scores.mean(), scale=scipy.stats.sem(scores[0]))
    np.testing.assert_allclose([found.low, found.high], expected, rtol=1e-4, atol=STEP)


def test_hand_derived_variance_of_unequal_groups():
    # Groups (1, 1, 0), (0), (1, 0) of 6 units: mean 1/2, shares 1/2, 1/6, 1/3. Sums of (score - 1/2) / 6: 1/12, -1/12, 0.
    # CR2 divides the squares by 1 - share: (1/144) (2 + 6/5) = 1/45.
    found = mean_of([[1, 1, 0, 0, 1, 0]], group=["a", "a", "a", "b", "c", "c"])
    h = np.array([1 / 2, 1 / 6, 1 / 3])
    a = np.eye(3) - np.outer(np.ones(3), h)
    m = a.T @ np.diag(h**2 / (1 - h)) @ a
    degrees = np.trace(m) ** 2 / np.trace(m @ m)
    assert degrees_of_freedom(h) == pytest.approx(degrees)
    np.testing.assert_allclose([found.low, found.high], interval(0.5, 1 / 45, degrees=degrees), rtol=1e-4)
    assert degrees_of_freedom(np.full(12, 1 / 12)) == pytest.approx(11)


def test_macro_f1_gets_the_jackknife_variance():
    random = np.random.default_rng(0)
    label, group = random.integers(0, 3, 40), np.arange(40) // 4
    predicted = np.where(random.random(40) < 0.6, label, random.integers(0, 3, 40))
    metrics = {"f1": Metric(classification.f1_macro, bounds=(None, None))}
    found = estimates(metrics, {"label": label[None], "predicted": predicted[None]}, np.ones(40), group)["f1"]
    score = lambda chosen: f1_score(label[chosen], predicted[chosen], average="macro")
    without = np.array([score(group != k) for k in range(10)])
    assert found.mean == pytest.approx(score(group >= 0), rel=1e-5)
    jackknife = 9 / 10 * np.sum((without - found.mean) ** 2)
    np.testing.assert_allclose([found.low, found.high], interval(found.mean, jackknife, degrees=9), rtol=1e-4)


def parts_of(scores, group):
    """scores Float[s u] of equal groups -> the variances (groups, seeds, interaction) of a two-way layout, by cell means."""
    cell = np.stack([scores[:, group == k].mean(axis=1) for k in np.unique(group)], axis=1)
    (s, k), rest = cell.shape, cell - cell.mean(axis=0) - cell.mean(axis=1, keepdims=True) + cell.mean()
    groups, seeds = cell.mean(axis=0).var(ddof=1) / k, cell.mean(axis=1).var(ddof=1) / s if s > 1 else 0.0
    return groups, seeds, np.sum(rest**2) / (k * (k - 1) * s * (s - 1)) if s > 1 else 0.0


def test_groups_and_seeds_combine_as_in_a_two_way_layout():
    group = np.arange(24) // 3
    scores = normal(4, 24) + normal(24, seed=1) + 0.5 * normal(4, 1, seed=2)
    found = mean_of(scores, group)
    groups, seeds, interaction = parts_of(scores, group)
    assert groups + seeds - interaction > max(groups, seeds)
    expected = interval(scores.mean(), groups, seeds, interaction, 7, 3)
    np.testing.assert_allclose([found.low, found.high], expected, rtol=1e-4)


@pytest.mark.parametrize("seeds", [2, 3, 6])
def test_seeds_are_paired_from_five_on(seeds):
    group = np.arange(24) // 3
    shared = 0.5 * normal(seeds, 1, seed=3)
    a, b = (normal(seeds, 24, seed=i) + shared for i in (4, 5))
    gap = difference(mean_of(a, group), mean_of(b, group))
    groups, paired_seeds, paired_interaction = parts_of(a - b, group)
    if seeds < 5:
        (_, *va), (_, *vb) = parts_of(a, group), parts_of(b, group)
        degrees = (va[0] + vb[0]) ** 2 / ((va[0] ** 2 + vb[0] ** 2) / (seeds - 1))
        degrees = min(degrees, 4 / 3) if seeds == 2 else degrees
        expected = interval((a - b).mean(), groups, va[0] + vb[0], va[1] + vb[1], 7, degrees)
    else:
        expected = interval((a - b).mean(), groups, paired_seeds, paired_interaction, 7, seeds - 1)
    np.testing.assert_allclose([gap.low, gap.high], expected, rtol=1e-3, atol=STEP)


def test_a_baseline_has_one_seed_and_no_variance_of_seeds():
    group = np.arange(24) // 3
    a, b = normal(4, 24) + normal(4, 1, seed=1), normal(1, 24, seed=2)
    gap = difference(mean_of(a, group), mean_of(b, group))
    (groups, *_), (_, seeds, interaction) = parts_of(a.mean(axis=0, keepdims=True) - b, group), parts_of(a, group)
    expected = interval(a.mean() - b.mean(), groups, seeds, interaction, 7, 3)
    np.testing.assert_allclose([gap.mean, gap.low, gap.high], [a.mean() - b.mean(), *expected], rtol=1e-3)
    back = difference(mean_of(b, group), mean_of(a, group))
    np.testing.assert_allclose([back.mean, back.low, back.high, back.p], [-gap.mean, -gap.high, -gap.low, gap.p])


def test_joined_folds_have_independent_trainings():
    fold = np.repeat([0, 1], [16, 8])  # two thirds and one third of the units
    scores = normal(3, 24) + normal(3, 2, seed=1)[:, fold]
    found = mean_of(scores, fold=fold)
    groups, _, interaction = parts_of(scores, np.arange(24))
    of_fold = np.array([(2 / 3) ** 2, (1 / 3) ** 2]) * [scores[:, fold == f].mean(axis=1).var(ddof=1) / 3 for f in (0, 1)]
    degrees = 2 * 25 / 17  # (4/9 + 1/9)^2 / ((4/9)^2 + (1/9)^2) folds with two degrees of freedom each
    expected = interval(scores.mean(), groups, of_fold.sum(), interaction, 23, degrees)
    np.testing.assert_allclose([found.low, found.high], expected, rtol=1e-3)


def test_intervals_solve_the_equation_of_wilson_and_stay_within_the_bounds():
    mean, error, degrees = 0.97, 0.02, 12.0
    t2 = scipy.stats.t.ppf(0.975, degrees) ** 2
    for bounds, f in (((0, 1), lambda v: v * (1 - v)), ((None, 1), lambda v: 1 - v), ((0.9, None), lambda v: v - 0.9)):
        low, high = score_interval(mean, error, degrees, bounds, groups=13)
        for end in (low, high):
            assert (end - mean) ** 2 == pytest.approx(t2 * error**2 * f(end) / f(mean))
        assert (bounds[0] or 0) < low < mean < high < (bounds[1] or 9)
    low, high = score_interval(0.8, 0.02, degrees, (-1, 1), groups=13)  # close to Fisher's transformation of a correlation
    half = np.sqrt(t2) * 0.02 / (1 - 0.8**2)
    np.testing.assert_allclose([low, high], np.tanh(np.arctanh(0.8) + np.array([-half, half])), atol=2e-3)


def test_a_score_at_a_bound():
    hit = {"label": np.ones((2, 20), int), "predicted": np.ones((2, 20), int)}
    found = estimates(ACCURACY, hit, np.ones(20), np.arange(20))["accuracy"]
    # No unit shows an error: p = 1 in Wilson's interval of 20 trials is [20 / (20 + t^2), 1].
    np.testing.assert_allclose([found.low, found.high], [20 / (20 + scipy.stats.t.ppf(0.975, 19) ** 2), 1])
    metrics = {"rmse": Metric(regression.root_squared_error, higher_is_better=False, bounds=(0, None))}
    perfect = estimates(metrics, {"predicted": np.ones((1, 150)), "target": np.ones((1, 150))}, np.ones(150), np.arange(150))
    assert perfect["rmse"].to_json() == {"mean": 0.0, "low": None, "high": None, "per_seed": [0.0]}


def test_units_of_weight_0_and_the_order_of_units_do_not_matter():
    scores, group = normal(3, 20), np.arange(20) // 2
    found = mean_of(scores, group)
    order = np.random.default_rng(0).permutation(24)
    padded = np.concatenate([scores, np.full((3, 4), np.nan)], axis=1)[:, order]
    weight = np.repeat([1.0, 0.0], [20, 4])[order]
    names = np.array([f"group {k}" for k in [*group, 3, 70, 71, 72]])[order]
    again = mean_of(padded, names, weight)
    np.testing.assert_allclose(
        [again.mean, again.low, again.high, *again.per_seed], [found.mean, found.low, found.high, *found.per_seed], rtol=STEP
    )
    assert again.sample.units == 20 and again.sample.groups == 10


def test_undefined_scores_are_null():
    labels = {"label": np.zeros((2, 12), int), "predicted": np.ones((2, 12), int)}
    metrics = {"f1/3": Metric(classification.of_class(classification.f1, 3))} | ACCURACY
    found = estimates(metrics, labels, np.ones(12), np.arange(12))
    assert found["f1/3"].to_json() == {"mean": None, "low": None, "high": None, "per_seed": [None, None]}
    one = estimates(metrics, {name: values[:1] for name, values in labels.items()}, np.ones(12), np.arange(12))
    assert difference(found["f1/3"], one["f1/3"]).verdict == "identical"
    other = estimates(metrics, labels | {"predicted": np.zeros((2, 12), int)}, np.ones(12), np.arange(12))
    gap = difference(found["f1/3"], other["f1/3"])
    assert gap.verdict == "inconclusive" and gap.to_json()["p"] is None
    one_group = mean_of(normal(2, 12), np.zeros(12, int))
    assert one_group.to_json()["low"] is None and np.isfinite(one_group.mean)
    nothing = mean_of(normal(2, 12), weight=np.zeros(12))
    assert nothing.to_json() == {"mean": None, "low": None, "high": None, "per_seed": [None, None]}
    for value in (one_group, nothing, *found.values()):
        check(json.loads(json.dumps(value.to_json())), ESTIMATE, "results.json")
    for value in (gap, difference(one_group, mean_of(normal(2, 12, seed=1), np.zeros(12, int)))):
        check(json.loads(json.dumps(value.to_json())), DIFFERENCE, "results.json")


def test_verdicts():
    a, b = mean_of(normal(3, 60)), mean_of(normal(3, 60, seed=1) - 2)
    assert difference(a, b).verdict == "better" and difference(b, a).verdict == "worse"
    assert difference(a, mean_of(normal(3, 60, seed=1))).verdict == "inconclusive"
    assert difference(a, mean_of(normal(3, 60))).verdict == "identical"
    errors = {"mean": Metric(score_mean, higher_is_better=False, bounds=(0, None))}
    low, high = (estimates(errors, {"score": abs(normal(1, 60)) + x}, np.ones(60), np.arange(60))["mean"] for x in (0.0, 2.0))
    assert difference(low, high).verdict == "better" and difference(high, low).verdict == "worse"
    # Equally many correct predictions, of other units: no difference, but not the same model.
    first, second = mean_of([[1, 0] * 6], np.arange(12) // 2), mean_of([[0, 1] * 6], np.arange(12) // 2)
    gap = difference(first, second)
    assert (gap.mean, gap.p, gap.verdict) == (0, 1, "inconclusive")
    with pytest.raises(ValueError, match="not paired"):
        difference(first, mean_of([[0, 1] * 6], np.arange(12) // 3))


def test_equal_differences_of_few_groups_are_no_proof():
    right, wrong = np.ones((1, 12)), np.zeros((1, 12))
    for groups, verdict in ((2, "inconclusive"), (12, "better")):
        group = np.arange(12) % groups
        gap = difference(mean_of(right, group), mean_of(wrong, group))
        assert gap.mean == 1 and gap.verdict == verdict and gap.low < 1 < gap.high


def test_a_median_gets_its_asymptotic_standard_error():
    ranks = 100 + 10 * normal(1, 900)
    metrics = {"median": Metric(retrieval.median_rank, smooth=False, bounds=(1, None))}
    found = estimates(metrics, {"rank": ranks}, np.ones(900), np.arange(900))["median"]
    assert found.mean == pytest.approx(np.median(ranks), rel=1e-5)
    half = scipy.stats.t.ppf(0.975, 899) * 10 * np.sqrt(np.pi / 2) / 30  # sigma sqrt(pi / 2) / sqrt(n)
    assert found.high - found.mean == pytest.approx(half, rel=0.15)


def test_weights_do_not_compile_again():
    traced = []

    def value(outcomes, weight):
        traced.append(1)
        return score_mean(outcomes, weight)

    metrics, scores = {"mean": Metric(value, bounds=(None, None))}, normal(2, 20)
    estimates(metrics, {"score": scores}, np.ones(20), np.arange(20))
    first = len(traced)
    estimates(metrics, {"score": scores[::-1]}, np.arange(20.0), np.arange(20))
    assert len(traced) == first > 0


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"outcome 'score' must have shape \[2 seeds, 5 units, ...\], not \(2, 6\)"):
        mean_of(normal(2, 6), weight=np.ones(5), group=np.arange(5))
    with pytest.raises(ValueError, match="at least 0; got -1"):
        mean_of(normal(2, 3), weight=np.array([1, -1, 1]))
    root = {"root": Metric(lambda outcomes, weight: jnp.sqrt(0 * score_mean(outcomes, weight)) + 0.5)}
    with pytest.raises(ValueError, match=r"metric 'root' is 0.5, but its derivative"):
        estimates(root, {"score": np.ones((1, 150))}, np.ones(150), np.arange(150))


@pytest.mark.parametrize("folds", [1, 2])
def test_the_share_of_equal_answers_is_the_estimate_of_a_mean(folds):
    """Without its compiled program, with undefined units and unequal weights and groups."""
    random, count = np.random.default_rng(0), 24
    same = random.integers(0, 2, (3, count)).astype(np.int8)
    same[:, :3] = -1
    weight, group = random.uniform(0.5, 1, count).astype(np.float32), random.integers(0, 7, count)
    fold = None if folds == 1 else group % 2  # a group is in one fold
    found = share(same, Units({}, weight, group, {}, np.arange(count), np.arange(count)), fold)
    defined = np.where(same[0] >= 0, weight, 0)
    expected = estimates({"mean": Metric(score_mean)}, {"score": np.float32(same)}, defined, group, fold)["mean"].to_json()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-5)
    check(found, ESTIMATE, "share")
    nothing = share(np.full((1, count), -1, np.int8), Units({}, weight, group, {}, group, group))
    assert nothing == {"mean": None, "low": None, "high": None, "per_seed": [None]}
