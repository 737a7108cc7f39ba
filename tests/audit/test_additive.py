"""The additive projection against N x N (x N) loops over the definition."""

import itertools

import numpy as np
import pytest

from mmjax.audit.additive import additive_projection, most_combinations

RNG = np.random.default_rng(0)
N, SEEDS, CLASSES = 6, 2, 3
TABLES = {k: RNG.normal(size=(SEEDS, *[N] * k, CLASSES)) for k in (2, 3)}
NAMES = ("a", "b", "c")


def looked_up(names):
    table = TABLES[len(names)]
    return lambda rows: table[(slice(None), *(rows[name] for name in names))]


def sources(names):
    return {name: np.arange(N) for name in names}


@pytest.mark.parametrize("count", [2, 3])
def test_equals_the_loops(count):
    """f(x) = sum_m mean over the others of F(x_m, others) - (count - 1) mean F."""
    names, table, rows = NAMES[:count], TABLES[count], range(N)
    found = additive_projection(looked_up(names), sources(names), np.ones(N))
    for i in rows:
        expected = -(count - 1) * np.mean([table[(slice(None), *j)] for j in itertools.product(rows, repeat=count)], axis=0)
        for m in range(count):
            given = [(*j[:m], i, *j[m:]) for j in itertools.product(rows, repeat=count - 1)]
            expected = expected + np.mean([table[(slice(None), *j)] for j in given], axis=0)
        np.testing.assert_allclose(found[:, i], expected, atol=1e-9)


def test_an_additive_model_is_its_own_projection():
    a, b = RNG.normal(size=(2, SEEDS, N, CLASSES))
    found = additive_projection(lambda rows: a[:, rows["a"]] + b[:, rows["b"]], sources("ab"), RNG.random(N) + 0.1)
    np.testing.assert_allclose(found, a + b, atol=1e-9)


def test_a_product_of_centred_factors_has_no_additive_part():
    a, b = RNG.normal(size=(2, 1, N, 1))
    a, b = a - a.mean(), b - b.mean()
    found = additive_projection(lambda rows: a[:, rows["a"]] * b[:, rows["b"]], sources("ab"), np.ones(N))
    np.testing.assert_allclose(found, 0, atol=1e-9)


def test_rows_that_share_an_item_are_predicted_once():
    """As with one item a row, weights included; the function sees fewer mixtures."""
    item, weight, table, calls = np.array([0, 0, 2, 2, 2, 5]), RNG.random(N) + 0.1, TABLES[2], []
    repeated = table[:, item]  # rows of one item have one input

    def mixtures(rows):
        calls.append(len(rows["a"]))
        return repeated[:, rows["a"], rows["b"]]

    found = additive_projection(mixtures, {"a": item, "b": np.arange(N)}, weight)
    np.testing.assert_allclose(found, additive_projection(mixtures, sources("ab"), weight), atol=1e-9)
    assert calls == [3 * N, N * N]


def test_the_number_of_combinations_counts_distinct_items():
    """6, 3 and 4 of them: the others of the modality with 3 have 6 x 4 combinations."""
    assert most_combinations({"a": np.arange(6), "b": np.array([0, 0, 2, 2, 2, 5]), "c": np.array([-1, 0, 1, 2, 2, -1])}) == 24


def test_few_draws_are_close_to_all_combinations():
    exact = additive_projection(looked_up(NAMES), sources(NAMES), np.ones(N))
    drawn = additive_projection(looked_up(NAMES), sources(NAMES), np.ones(N), limit=30)
    assert 0 < np.abs(drawn - exact).mean() < 0.5 * np.abs(TABLES[3]).mean()
