"""Hubness and the modality gap by hand, against SciPy, and with gradients that are those of the definitions."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from mmjax.metrics import space

RANDOM = np.random.default_rng(0)


def outcomes(first, second, weight=None, k=3):
    weight = weight or tuple(np.ones(len(x)) for x in (first, second))
    found = [space.occurrences(second, first, k), space.occurrences(first, second, k)]
    direction = np.repeat([0, 1], [len(first), len(second)])
    along = np.concatenate(space.along_gap(first, second, weight))
    return {"occurrence": np.concatenate(found), "along_gap": along, "direction": direction}


def test_occurrences_are_those_of_a_sort(monkeypatch):
    monkeypatch.setattr(space, "QUERIES", 4)
    monkeypatch.setattr(space, "CANDIDATES", 3)
    query, gallery = RANDOM.normal(size=(10, 3)).astype(np.float32), RANDOM.normal(size=(7, 3)).astype(np.float32)
    nearest = np.argsort(-query @ gallery.T, axis=1)[:, :3]
    np.testing.assert_array_equal(space.occurrences(query, gallery, 3), np.bincount(nearest.reshape(-1), minlength=7))
    assert space.occurrences(query, gallery, 20).tolist() == [10] * 7


def test_hubness_is_the_skewness_of_scipy():
    found = outcomes(RANDOM.normal(size=(40, 3)).astype(np.float32), RANDOM.normal(size=(30, 3)).astype(np.float32))
    weight = jnp.asarray(found["direction"], jnp.float32)
    expected = stats.skew(found["occurrence"][found["direction"] == 1])
    np.testing.assert_allclose(jax.jit(space.hubness)(found, weight), expected, rtol=1e-4)
    even = {**found, "occurrence": np.full(70, 3)}
    assert np.isnan(space.hubness(even, weight))


def test_the_gap_and_its_gradient_are_those_of_the_definition():
    first, second = RANDOM.normal(size=(6, 4)) + 1, RANDOM.normal(size=(5, 4)) * 2
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (first, second)]
    weights = RANDOM.uniform(0.5, 2, 6), RANDOM.uniform(0.5, 2, 5)

    def definition(weight):
        parts = weight[:6], weight[6:]
        means = [(w[:, None] * x).sum(axis=0) / w.sum() for w, x in zip(parts, unit)]
        return jnp.sqrt(jnp.sum((means[0] - means[1]) ** 2))

    found = outcomes(first.astype(np.float32), second.astype(np.float32), weights)
    weight = jnp.asarray(np.concatenate(weights), jnp.float32)
    expected = jax.value_and_grad(definition)(weight)
    for a, b in zip(jax.value_and_grad(lambda weight: space.modality_gap(found, weight))(weight), expected):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-6)
