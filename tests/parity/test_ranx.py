"""Retrieval metrics against ranx, with ties, several relevant candidates and weights.

Ties count against the model: of equal similarities, irrelevant candidates come first. ranx has no rule (its sort is unstable),
so it gets scores without ties in that order. `tests/metrics/test_retrieval.py` shows that it is the worst of all orders.
"""

import sys

import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.metrics import retrieval
from mmjax.metrics.ranking import rank_outcomes, relevant_positions
from mmjax.tasks import Retrieve
from tests.tasks.data import dataset

pytestmark = pytest.mark.parity
QUERIES, CANDIDATES, KINDS = 60, 300, 12


@pytest.mark.filterwarnings("ignore:.*unsafe cast from uint64 to int64")  # by numba, in colour, when it compiles ranx
def test_means_over_queries(monkeypatch):
    """Integer embeddings tie often; ranx orders ties by chance, so it gets similarities that count ties against the model."""
    monkeypatch.setitem(sys.modules, "coverage", None)  # numba would take scripts/coverage.py for the package of this name
    from ranx import Qrels, Run, evaluate

    random = np.random.default_rng(0)
    query, gallery = (random.integers(-3, 4, (n, 6)).astype(np.float32) for n in (QUERIES, CANDIDATES))
    query_match, gallery_match = (random.integers(0, KINDS, n).astype(np.int32) for n in (QUERIES, CANDIDATES))
    relevant = query_match[:, None] == gallery_match[None, :]
    similarity = (query @ gallery.T).astype(np.float64) - 1e-3 * relevant - 1e-7 * np.arange(CANDIDATES)
    weight = random.integers(1, 4, QUERIES)
    repeated = np.repeat(np.arange(QUERIES), weight)  # integer weights are repeated queries
    qrels = {f"q{i}": {f"c{j}": 1 for j in np.flatnonzero(relevant[q])} for i, q in enumerate(repeated)}
    run = {f"q{i}": {f"c{j}": similarity[q, j] for j in range(CANDIDATES)} for i, q in enumerate(repeated)}
    names = ["hit_rate@1", "hit_rate@5", "hit_rate@10", "mrr", "map", "ndcg@10"]
    expected = evaluate(Qrels(qrels), Run(run), names)

    parts = list(relevant_positions(query, gallery, query_match, gallery_match))
    positions, count = (np.concatenate(part) for part in zip(*parts))
    outcomes = rank_outcomes(positions, count, CANDIDATES, 10)
    metrics = [*map(retrieval.recall_at, (1, 5, 10)), retrieval.reciprocal_rank, retrieval.average_precision, retrieval.ndcg]
    for name, metric in zip(names, metrics):
        found = metric(outcomes, jnp.asarray(weight, jnp.float32))
        np.testing.assert_allclose(found, expected[name], rtol=0, atol=1e-6, err_msg=name)


NAMES = {f"recall@{k}": f"hit_rate@{k}" for k in (1, 3, 7)} | {"mrr": "mrr", "map": "map", "ndcg@7": "ndcg@7"}
CASES = 200


def case(number):
    """(query embeddings, kinds), (candidate embeddings, kinds): integers, whose products are exact and often tie; -1: none.

    All cases have the same shapes, for which programs are compiled once.
    """
    random = np.random.default_rng(number)
    sides = []
    for count in (8, 30):
        kinds = random.integers(-1, 12 if number % 2 else 4, count)
        sides.append((random.integers(-2, 3, (count, 3)).astype(np.float32), kinds))
    sides[1][1][0] = sides[0][1][0] = 3  # one query has a relevant candidate
    return sides


def scores_in_order(similarity, relevant):
    """Distinct scores, such that irrelevant candidates come first among equals."""
    order = np.lexsort((relevant, -similarity))
    scores = np.empty(len(order))
    scores[order] = -np.arange(len(order))
    return scores


@pytest.mark.filterwarnings("ignore:.*unsafe cast from uint64 to int64")
def test_the_task_on_200_random_cases(monkeypatch):
    """Every metric of Retrieve, a mean over both directions. ranx has no median rank, which is that of its 1 / MRR."""
    monkeypatch.setitem(sys.modules, "coverage", None)
    monkeypatch.setattr("mmjax.metrics.ranking.QUERIES", 32)
    monkeypatch.setattr("mmjax.metrics.ranking.CANDIDATES", 16)
    from ranx import Qrels, Run, evaluate

    qrels, run, ties = {}, {}, 0
    for number in range(CASES):
        (query, gallery) = case(number)
        for direction, ((own, kind), (other, kinds)) in enumerate(((query, gallery), (gallery, query))):
            for i in range(len(own)):
                relevant = (kinds == kind[i]) & (kind[i] >= 0)
                if relevant.any():
                    similarity = other @ own[i]
                    ties += np.isin(similarity[relevant], similarity[~relevant]).any()
                    name = f"{number:03d} {direction} {i:03d}"
                    qrels[name] = {f"c{j}": 1 for j in np.flatnonzero(relevant)}
                    run[name] = {f"c{j}": score for j, score in enumerate(scores_in_order(similarity, relevant))}
    assert ties > len(run) / 2 and np.mean([len(one) > 1 for one in qrels.values()]) > 0.5
    judged, ranked = Qrels(qrels), Run(run)
    values = evaluate(judged, ranked, list(NAMES.values()), return_mean=False)
    place = [name.split()[:2] for name in judged.keys()]
    assert judged.keys() == ranked.keys()
    task = Retrieve("image.embedding", "text.embedding", match="kind", k=(1, 3, 7))
    assert task.metrics.keys() == {*NAMES, "median_rank"}
    for number in range(CASES):
        rows = [[i for i, found in enumerate(place) if found == [f"{number:03d}", direction]] for direction in "01"]
        expected = {ours: np.mean([values[theirs][i].mean() for i in rows]) for ours, theirs in NAMES.items()}
        expected["median_rank"] = np.mean([np.median(np.round(1 / values["mrr"][i])) for i in rows])
        outcomes, weight = retrieved(task, *case(number))
        for name, metric in task.metrics.items():
            found = float(metric.value(outcomes, weight))
            np.testing.assert_allclose(found, expected[name], rtol=0, atol=1e-6, err_msg=f"case {number}: {name}")


def retrieved(task, query, gallery):
    """(outcomes, weights) of the task for rows that have an image alone, then rows that have a text alone."""
    q, g = len(query[0]), len(gallery[0])
    image, text = np.r_[np.arange(q), np.full(g, -1)], np.r_[np.full(q, -1), np.arange(g)]
    kind = np.r_[query[1], gallery[1]]
    data = dataset({"label": np.zeros(q + g, int)}, pointer={"image": image, "text": text}, kind=kind)
    units = task.units(data, "test")
    both = np.concatenate([query[0], gallery[0]])
    return task.outcomes({"query": both, "gallery": both}, units), jnp.asarray(units.weight)
