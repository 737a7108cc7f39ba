"""Decompositions of information with known values, in bits (Williams and Beer, 2010; Bertschinger et al., 2014)."""

import itertools
import math
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.metrics.information import (
    PARTS,
    broja_redundancy,
    information_metrics,
    joint_table,
    min_redundancy,
    mutual_information,
    union_information,
)

BITS = list(itertools.product((0, 1), repeat=2))
# {name: {(a, b, y): probability}}; the parts are (redundancy, unique a, unique b, synergy)
AND = {(a, b, a & b): 1 / 4 for a, b in BITS}
XOR = {(a, b, a ^ b): 1 / 4 for a, b in BITS}
COPY = {(a, b, 2 * a + b): 1 / 4 for a, b in BITS}
REDUNDANT = {(0, 0, 0): 1 / 2, (1, 1, 1): 1 / 2}
ONLY_A = {(a, b, a): 1 / 4 for a, b in BITS}
AND_SHARED = 3 / 4 * math.log2(4 / 3)  # I(Y; A) of AND, 0.311
AND_TOTAL = 2 - 3 / 4 * math.log2(3)  # H(Y) of AND, 0.811


def outcomes_of(table):
    """Four units whose weights are the probabilities of the table; those of weight 0 do not count."""
    rows = [*table, *[(1, 0, 1)] * (4 - len(table))]
    a, b, y = (jnp.array(column, jnp.int32) for column in zip(*rows))
    return {"a": a, "b": b, "label": y}, jnp.array([*table.values(), *[0] * (4 - len(table))], jnp.float32)


@cache
def bits_of(redundancy):
    metrics = information_metrics(redundancy, 4)
    return jax.jit(lambda outcomes, weight: {name: metric.value(outcomes, weight) for name, metric in metrics.items()})


@pytest.mark.parametrize(
    ("table", "redundancy", "expected"),
    [
        (XOR, broja_redundancy, (0, 0, 0, 1)),
        (XOR, min_redundancy, (0, 0, 0, 1)),
        (REDUNDANT, broja_redundancy, (1, 0, 0, 0)),
        (REDUNDANT, min_redundancy, (1, 0, 0, 0)),
        (ONLY_A, broja_redundancy, (0, 1, 0, 0)),
        (ONLY_A, min_redundancy, (0, 1, 0, 0)),
        # two independent bits: I_min calls them redundant, the well-known objection to it; BROJA does not
        (COPY, broja_redundancy, (0, 1, 1, 0)),
        (COPY, min_redundancy, (1, 0, 0, 1)),
        (AND, broja_redundancy, (AND_SHARED, 0, 0, AND_TOTAL - AND_SHARED)),
        (AND, min_redundancy, (AND_SHARED, 0, 0, AND_TOTAL - AND_SHARED)),
    ],
    ids=[f"{name} {of}" for name in ("xor", "redundant", "unique", "copy", "and") for of in ("broja", "min")],
)
def test_known_decompositions(table, redundancy, expected):
    found = bits_of(redundancy)(*outcomes_of(table))
    bits = np.array([found[name] for name in ("redundancy", "a", "b", "both")])
    np.testing.assert_allclose(np.array(list(PARTS.values())) @ bits, (*expected, sum(expected)), atol=2e-3)


def test_union_information_is_the_minimum():
    """Against a search over the single free parameter of each label's coupling, for two bits and two labels."""
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(8)).reshape(2, 2, 2)

    sign = np.array([[1, -1], [-1, 1]])  # the direction that keeps both marginals
    ends = [(-min(p[0, 0, y], p[1, 1, y]), min(p[0, 1, y], p[1, 0, y])) for y in (0, 1)]
    first, second = (np.linspace(low, high, 302)[1:-1] for low, high in ends)
    q = np.broadcast_to(p, (300, 300, 2, 2, 2)).copy()
    q[..., 0] += first[:, None, None, None] * sign
    q[..., 1] += second[None, :, None, None] * sign
    of_label, of_pair = q.sum((2, 3), keepdims=True), q.sum(4, keepdims=True)
    best = np.sum(q * np.log2(q / (of_pair * of_label)), axis=(2, 3, 4)).min()
    assert float(union_information(jnp.asarray(p, jnp.float32))) == pytest.approx(best, abs=1e-4)


def test_the_derivative_is_that_of_the_minimum():
    p = jnp.asarray(np.random.default_rng(1).dirichlet(np.ones(12)).reshape(2, 2, 3), jnp.float32)
    direction = np.random.default_rng(2).normal(size=p.shape)
    direction = jnp.asarray(direction - direction.mean(), jnp.float32) * 0.002  # the total stays 1
    slope = float(jnp.vdot(jax.grad(union_information)(p), direction))
    numeric = float(union_information(p + direction) - union_information(p - direction)) / 2
    assert slope == pytest.approx(numeric, rel=0.02, abs=1e-5)


def test_counts_become_a_table():
    outcomes = {"a": jnp.array([0, 1, -1]), "b": jnp.array([1, 1, 7]), "label": jnp.array([0, 1, 1])}
    table = joint_table(outcomes, jnp.array([1.0, 2.0, 1.0]), 2)
    assert table.shape == (3, 3, 2)
    expected = np.zeros((3, 3, 2))
    expected[0, 1, 0], expected[1, 1, 1], expected[2, 2, 1] = 0.25, 0.5, 0.25  # the last a and b are unknown classes
    np.testing.assert_allclose(table, expected)
    assert float(mutual_information(table.sum(1))) == pytest.approx(math.log2(4) * 0.25 + 0.75 * math.log2(4 / 3), abs=1e-6)
