"""Shapley values against the definition over all orders, for a game whose values are means over units."""

import itertools

import numpy as np
import pytest

from mmjax.audit.contribution import coefficients, sampled_orders, sampled_shapley_values, shapley_values
from mmjax.evaluate.statistics import estimates
from mmjax.metrics.weighted import mean
from mmjax.types import Metric

UNITS, SEEDS = 30, 3
GROUP = np.arange(UNITS) // 3


def average(outcomes, weight):
    return mean(outcomes["x"], weight)


METRICS = {"m": Metric(average, bounds=(None, None))}


def game(names, value):
    """{subset: estimate} of a game. value: (subset, rng) -> Float[s u]."""
    subsets = [subset for size in range(len(names) + 1) for subset in itertools.combinations(names, size)]
    found = {}
    for number, subset in enumerate(subsets):
        x = np.float32(value(subset, np.random.default_rng(number)))
        found[subset] = estimates(METRICS, {"x": x}, np.ones(UNITS, np.float32), GROUP)["m"]
    return found


def random_without_c(subset, rng):
    """Any values, but those with and without c are equal: c is a dummy."""
    names = [name for name in subset if name != "c"]
    return np.random.default_rng([ord(name) for name in names] or 1).random((SEEDS, UNITS))


def test_values_are_the_mean_gain_over_all_orders():
    names = ("a", "b", "c", "d")
    values = game(names, lambda subset, rng: rng.random((SEEDS, UNITS)))
    found = shapley_values(values, names)
    orders = list(itertools.permutations(names))
    for name in names:
        gains = []
        for order in orders:
            before = order[: order.index(name)]
            gains.append(values[tuple(sorted((*before, name)))].mean - values[tuple(sorted(before))].mean)
        assert found[name].mean == pytest.approx(np.mean(gains), abs=1e-6)
        assert found[name].low < found[name].mean < found[name].high
    total = sum(one.mean for one in found.values())
    assert total == pytest.approx(values[names].mean - values[()].mean, abs=1e-6)
    for seed in range(SEEDS):
        gain = values[names].per_seed[seed] - values[()].per_seed[seed]
        assert sum(one.per_seed[seed] for one in found.values()) == pytest.approx(gain, abs=1e-6)


def test_a_dummy_has_the_value_0_and_no_error():
    names = ("a", "b", "c")
    dummy = shapley_values(game(names, random_without_c), names)["c"]
    assert (dummy.mean, dummy.low, dummy.high) == pytest.approx((0, 0, 0), abs=1e-9)


def test_coefficients_add_up():
    of = coefficients("abcde")
    for subset in of["a"]:
        total = sum(of[name].get(subset, 0) for name in "abcde")
        assert total == pytest.approx({(): -1, tuple("abcde"): 1}.get(subset, 0), abs=1e-12)


def test_sampled_orders_agree_with_all_subsets_within_their_intervals():
    names = tuple("abcd")

    def noiseless(subset, rng):
        return np.full((SEEDS, UNITS), len(subset) ** 2 + 9.0 * ({"a", "b", "c"} <= set(subset)))  # pairs are exact for squares

    values = game(names, noiseless)
    exact, sampled = shapley_values(values, names), sampled_shapley_values(values, sampled_orders(names, 20))
    assert sum(one.mean for one in sampled.values()) == pytest.approx(values[names].mean - values[()].mean, abs=1e-5)
    for name in names:
        assert sampled[name].low <= exact[name].mean <= sampled[name].high
    assert any(abs(sampled[name].mean - exact[name].mean) > 1e-3 for name in names)


def test_orders_come_with_their_reverse():
    orders = sampled_orders("abc", 4)
    assert len(orders) == 8 and all(a == b[::-1] for a, b in zip(orders[::2], orders[1::2]))
