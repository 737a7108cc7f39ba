"""Retrieval metrics against ranx, with several relevant candidates and weights."""

import sys

import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.metrics import retrieval
from mmjax.metrics.ranking import rank_outcomes, relevant_positions

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
