"""Masked reductions by hand, and dropout: its mean, and its independence of sharding."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.nn import Dropout, any_token, last_state, masked_mean, masked_softmax
from mmjax.shards import SHARD, example_keys, sum_over_shards
from mmjax.types import Tokens


def test_masked_mean_by_hand():
    x = jnp.array([[[1.0, 2.0], [3.0, 6.0], [jnp.nan, 100.0]], [[5.0, 5.0]] * 3])
    tokens = Tokens(x, jnp.array([[True, True, False], [False, False, False]]))
    np.testing.assert_array_equal(masked_mean(tokens), [[2.0, 4.0], [0.0, 0.0]])
    np.testing.assert_array_equal(any_token(tokens), [True, False])
    gradient = jax.grad(lambda x: masked_mean(Tokens(x, tokens.mask)).sum())(x)
    np.testing.assert_array_equal(gradient[0], [[0.5, 0.5], [0.5, 0.5], [0.0, 0.0]])
    assert not np.asarray(gradient[1]).any()


def test_masked_softmax_equals_softmax_over_valid_entries():
    scores = jnp.array([[1.0, 2.0, jnp.nan], [50.0, -1e9, 3.0], [jnp.inf, 1.0, 2.0]])
    mask = jnp.array([[True, True, False], [True, True, True], [False, False, False]])
    expected = np.zeros((3, 3))
    expected[0, :2] = [1 / (1 + np.e), np.e / (1 + np.e)]
    expected[1] = [1.0, 0.0, np.exp(-47.0)]
    np.testing.assert_allclose(masked_softmax(scores, mask), expected, rtol=1e-5)
    gradient = jax.grad(lambda s: (masked_softmax(s, mask) * jnp.arange(3.0)[None]).sum())(scores)
    chex.assert_tree_all_finite(gradient)
    assert not np.asarray(gradient)[~np.asarray(mask)].any()


@pytest.mark.parametrize("level", [200.0, -200.0, 3e38, -3e38])
def test_masked_softmax_is_finite_at_any_level(level):
    scores, mask = jnp.array([[level, level * 0.999, 0.0]]), jnp.array([[True, True, False]])
    value, gradient = jax.value_and_grad(lambda s: (masked_softmax(s, mask) * jnp.array([[1.0, 0.0, 5.0]])).sum())(scores)
    chex.assert_tree_all_finite((value, gradient))
    gap = np.float64(np.float32(level)) * 0.001
    np.testing.assert_allclose(value, 1 / (1 + np.exp(np.clip(-gap, -500, 500))), rtol=1e-3, atol=1e-30)


def test_last_state():
    states = jnp.arange(12.0).reshape(2, 3, 2)
    np.testing.assert_array_equal(last_state(states, jnp.array([2, 0])), [[2.0, 3.0], [6.0, 7.0]])


def test_dropout_keeps_the_mean_and_is_off_in_evaluation():
    x = jnp.ones((4, 10_000))
    layer = Dropout(0.3)
    np.testing.assert_array_equal(layer.apply({}, x), x)
    y = layer.apply({}, x, train=True, rngs={"dropout": jax.random.key(0)})
    values = np.unique(np.asarray(y))
    np.testing.assert_allclose(values, [0, 1 / 0.7], rtol=1e-6)
    # The kept fraction of a row has standard deviation sqrt(.3 * .7 / 10000) = .0046; the tolerance is five of them.
    np.testing.assert_allclose((np.asarray(y) > 0).mean(axis=1), 0.7, atol=0.023)
    assert len(np.unique(np.asarray(y), axis=0)) == 4  # one mask per example
    with pytest.raises(ValueError, match=r"Dropout.rate is 1.0"):
        Dropout(1.0).apply({}, x)


def test_random_numbers_and_sums_do_not_depend_on_sharding():
    x = jax.random.normal(jax.random.key(1), (8, 5))
    key = jax.random.key(0)

    def run(x):
        dropped = Dropout(0.5).apply({}, x, train=True, rngs={"dropout": key})
        return dropped, jax.random.key_data(example_keys(key, x.shape[0])), sum_over_shards(dropped.sum())

    whole, keys, total = run(x)
    parts, part_keys, part_total = jax.pmap(run, axis_name=SHARD)(x.reshape(4, 2, 5))
    chex.assert_trees_all_equal(parts.reshape(8, 5), whole)
    chex.assert_trees_all_equal(part_keys.reshape(8, 2), keys)
    chex.assert_trees_all_close(part_total, jnp.full(4, total), rtol=1e-5)
