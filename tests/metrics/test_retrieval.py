"""Exact search and retrieval metrics against brute force, scikit-learn and hand-derived numbers."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from mmjax.metrics import retrieval
from mmjax.metrics.ranking import rank_outcomes, relevant_positions
from mmjax.types import Metric

K = 4
METRICS = {
    "recall@1": Metric(retrieval.recall_at(1)),
    "recall@5": Metric(retrieval.recall_at(5)),
    "mrr": Metric(retrieval.reciprocal_rank),
    "map": Metric(retrieval.average_precision),
    "ndcg": Metric(retrieval.ndcg),
    "median_rank": Metric(retrieval.median_rank, higher_is_better=False, smooth=False),
}
SMOOTH = [name for name, metric in METRICS.items() if metric.smooth]
cases = settings(max_examples=20, deadline=None, derandomize=True)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Several blocks of queries and of candidates, the last ones not full."""
    monkeypatch.setattr("mmjax.metrics.ranking.QUERIES", 8)
    monkeypatch.setattr("mmjax.metrics.ranking.CANDIDATES", 16)


def search(query, gallery, query_match, gallery_match, devices=1):
    parts = list(relevant_positions(query, gallery, query_match, gallery_match, jax.local_devices()[:devices]))
    return np.concatenate([positions for positions, _ in parts]), np.concatenate([count for _, count in parts])


def problem(seed, queries=21, candidates=37, kinds=6):
    """Integer embeddings, whose dot products are exact and often tie; some NaN; several relevant candidates, sometimes none."""
    random = np.random.default_rng(seed)
    query, gallery = (random.integers(-1, 2, (n, 4)).astype(np.float32) for n in (queries, candidates))
    query[random.integers(queries)] = np.nan
    query[random.integers(queries)] = 0
    gallery[random.integers(candidates, size=3)] = np.nan
    query_match, gallery_match = (random.integers(-1, kinds, n).astype(np.int32) for n in (queries, candidates))
    gallery_match[gallery_match == kinds - 1] = 0  # the last kind has no relevant candidate
    return query, gallery, query_match, gallery_match


def brute_force(query, gallery, query_match, gallery_match):
    """The positions of the relevant candidates of each query, by sorting all candidates of one query at a time."""
    for i in range(len(query)):
        relevant = (gallery_match == query_match[i]) & (query_match[i] >= 0)
        similarity = gallery @ query[i]
        similarity = np.where(np.isnan(similarity), np.where(relevant, -np.inf, np.inf), similarity)
        order = np.lexsort((relevant, -similarity))  # ties: irrelevant candidates first
        yield np.flatnonzero(relevant[order]) + 1


@cases
@given(seed=st.integers(0, 10_000))
def test_positions_equal_a_full_sort(seed):
    given = problem(seed)
    positions, count = search(*given)
    for i, expected in enumerate(brute_force(*given)):
        assert count[i] == len(expected)
        np.testing.assert_array_equal(positions[i, : count[i]], expected)


@cases
@given(seed=st.integers(0, 10_000))
def test_outcomes_equal_scikit_learn(seed):
    """Scikit-learn has another rule for ties, so the similarities of relevant candidates are lowered a little."""
    query, gallery, query_match, gallery_match = (np.nan_to_num(x) for x in problem(seed))
    found = rank_outcomes(*search(query, gallery, query_match, gallery_match), len(gallery), K)
    for i, match in enumerate(query_match):
        relevant = (gallery_match == match) & (match >= 0)
        if not relevant.any():
            assert (found["rank"][i], found["ap"][i], found["ndcg"][i]) == (len(gallery) + 1, 0, 0)
            continue
        similarity = gallery @ query[i] - 1e-3 * relevant - 1e-6 * np.arange(len(gallery)) * relevant
        ap = sklearn_metrics.average_precision_score(relevant, similarity)
        np.testing.assert_allclose(found["ap"][i], ap, rtol=0, atol=1e-6)
        ndcg = sklearn_metrics.ndcg_score([relevant], [similarity], k=K)
        # `ndcg_score` averages over ties, which remain among irrelevant candidates alone
        np.testing.assert_allclose(found["ndcg"][i], ndcg, rtol=0, atol=1e-6)


def orders_of_ties(similarity):
    """All rankings of a few candidates by their similarity."""
    for order in itertools.permutations(range(len(similarity))):
        if (np.diff(similarity[list(order)]) <= 0).all():
            yield np.array(order)


def test_ties_get_the_worst_of_all_orders():
    """So a metric is at most its mean over the orders of the ties, and equal to it without ties."""
    names = {"mrr": lambda found: 1 / found["rank"], "map": lambda found: found["ap"], "ndcg": lambda found: found["ndcg"]}
    tied = 0
    for seed in range(25):
        random = np.random.default_rng(seed)
        query, gallery = (random.integers(-1, 2, (n, 3)).astype(np.float32) for n in (1, 6))
        kinds = random.integers(0, 2, 6).astype(np.int32)
        kinds[0] = 1
        ours = rank_outcomes(*search(query, gallery, np.int32([1]), kinds), 6, K)
        every = [np.flatnonzero(kinds[order] == 1) + 1 for order in orders_of_ties(gallery @ query[0])]
        every = rank_outcomes(np.array(every), np.full(len(every), kinds.sum()), 6, K)
        tied += len(every["rank"]) > 1
        for name, value in names.items():
            np.testing.assert_allclose(value(ours)[0], value(every).min(), rtol=1e-6, err_msg=f"{name} of case {seed}")
    assert tied > 20


def test_positions_do_not_depend_on_the_number_of_devices():
    random = np.random.default_rng(0)
    query, gallery = random.normal(size=(2, 100, 24)).astype(np.float32)
    gallery[50:] = gallery[:50]  # every candidate twice, in other blocks
    match = np.arange(100, dtype=np.int32) % 50
    twin = np.where(np.arange(100) < 50, match, -1).astype(np.int32)
    assert len(jax.local_devices()) == 4
    found = [search(query, gallery, match, match, devices) for devices in (1, 3, 4)]
    chex.assert_trees_all_equal(*found)
    # The copy of a relevant candidate that is irrelevant ties with it exactly, and comes first.
    alone, _ = search(query, gallery[:50], match, match[:50])
    with_twins, _ = search(query, gallery, match, twin)
    np.testing.assert_array_equal(with_twins[:, 0], 2 * alone[:, 0])


def test_uninformative_embeddings_get_the_worst_ranks():
    match, eye = np.arange(4, dtype=np.int32), np.eye(4, dtype=np.float32)
    for query, gallery in ((0 * eye, -eye), (eye, 0 * eye), (np.nan * eye, eye), (eye, np.full_like(eye, np.nan))):
        positions, _ = search(query, gallery, match, match)
        np.testing.assert_array_equal(positions[:, 0], [4] * 4)
    np.testing.assert_array_equal(search(eye, eye, match, match)[0][:, 0], [1] * 4)


def test_a_relevant_candidate_with_nan_is_the_last_one():
    gallery = np.array([[3], [2], [np.nan], [1]], np.float32)
    positions, count = search(np.ones((1, 1), np.float32), gallery, np.int32([7]), np.int32([7, 0, 7, 0]))
    assert positions.tolist() == [[1, 4]] and count.tolist() == [2]


def test_hand_derived_outcomes():
    # Relevant at positions 2 and 5: AP = (1/2 + 2/5) / 2; DCG@4 = 1 / log2(3); the ideal has both first: 1 + 1 / log2(3).
    found = rank_outcomes(np.array([[2, 5]]), np.array([2]), 9, k=4)
    assert found["rank"] == 2
    np.testing.assert_allclose(found["ap"], (1 / 2 + 2 / 5) / 2, rtol=1e-6)
    np.testing.assert_allclose(found["ndcg"], (1 / np.log2(3)) / (1 + 1 / np.log2(3)), rtol=1e-6)


def queries(seed, count=40):
    random = np.random.default_rng(seed)
    outcomes = {
        "rank": random.integers(1, 12, count).astype(np.int32),
        "ap": random.uniform(size=count).astype(np.float32),
        "ndcg": random.uniform(size=count).astype(np.float32),
        "direction": random.integers(0, 2, count).astype(np.int8),
    }
    return outcomes, random.integers(0, 3, count).astype(np.float32)


@jax.jit
def all_metrics(outcomes, weight):
    """{name: (both directions, direction 1, gradient of both directions)}."""
    combined = {name: retrieval.over_directions(metric.value) for name, metric in METRICS.items()}
    return {
        name: (
            value(outcomes, weight),
            retrieval.of_direction(METRICS[name].value, 1)(outcomes, weight),
            jax.grad(value, argnums=1)(outcomes, weight),
        )
        for name, value in combined.items()
    }


@cases
@given(seed=st.integers(0, 10_000))
def test_metrics_equal_means_over_repeated_queries(seed):
    outcomes, weight = queries(seed)
    rank, ap, ndcg = (np.repeat(outcomes[name], weight.astype(int)) for name in ("rank", "ap", "ndcg"))
    direction = np.repeat(outcomes["direction"], weight.astype(int))
    found = all_metrics(outcomes, jnp.asarray(weight))
    expected = {
        "recall@1": lambda d: np.mean(rank[d] <= 1),
        "recall@5": lambda d: np.mean(rank[d] <= 5),
        "mrr": lambda d: np.mean(1 / rank[d]),
        "map": lambda d: np.mean(ap[d], dtype=np.float64),
        "ndcg": lambda d: np.mean(ndcg[d], dtype=np.float64),
        "median_rank": lambda d: np.median(rank[d]),
    }
    for name, value in expected.items():
        both, second, gradient = found[name]
        np.testing.assert_allclose(both, (value(direction == 0) + value(direction == 1)) / 2, rtol=0, atol=1e-6, err_msg=name)
        np.testing.assert_allclose(second, value(direction == 1), rtol=0, atol=1e-6, err_msg=name)
        if name in SMOOTH:
            chex.assert_tree_all_finite(gradient)
            np.testing.assert_allclose(np.sum(weight * gradient), 0, atol=1e-5)


def test_one_direction_and_no_direction_with_weight():
    outcomes, weight = queries(3)
    first = jnp.where(outcomes["direction"] == 0, weight, 0)
    for name, (both, second, gradient) in all_metrics(outcomes, first).items():
        np.testing.assert_allclose(both, METRICS[name].value(outcomes, first), rtol=1e-6)
        assert np.isnan(second)
        chex.assert_tree_all_finite(gradient)
    for both, _, gradient in all_metrics(outcomes, jnp.zeros(40)).values():
        assert np.isnan(both)
        chex.assert_tree_all_finite(gradient)


def test_the_median_of_fractional_weights():
    # Nine recordings of weight 1/9 at rank 1 and one item of weight 1 at rank 3: both middle ranks are 1 and 3.
    outcomes = {"rank": jnp.array([1] * 9 + [3])}
    weight = jnp.array([1 / 9] * 9 + [1])
    assert retrieval.median_rank(outcomes, weight) == 2


@pytest.mark.parametrize("name", list(METRICS))
def test_queries_of_weight_zero_change_nothing(name):
    outcomes, weight = queries(5)
    junk = {"rank": 0, "ap": np.nan, "ndcg": np.inf, "direction": 7}
    dirty = {key: np.where(weight > 0, x, np.asarray(junk[key]).astype(x.dtype)) for key, x in outcomes.items()}
    clean, other = (all_metrics(x, jnp.asarray(weight))[name][0] for x in (outcomes, dirty))
    np.testing.assert_array_equal(clean, other)
