"""Batch normalisation by hand and by the formula of torch; over shards, over seeds, and with absent examples."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.nn.norm import BatchNorm
from mmjax.shards import SHARD, sum_over_shards


def setup(shape=(8, 3, 2, 5)):
    """Variables with random scale, bias and running statistics, and an input."""
    x, scale, bias, mean = (jax.random.normal(key, s) for key, s in zip(jax.random.split(jax.random.key(0), 4), (
        shape, shape[-1:], shape[-1:], shape[-1:])))
    params = {"scale": 1 + 0.3 * scale, "bias": bias}
    return {"params": params, "batch_stats": {"mean": mean, "var": 1 + mean**2}}, 3 + 2 * x


def train(layer, variables, x, present=None):
    y, updated = layer.apply(variables, x, train=True, present=present, mutable=["batch_stats"])
    return y, updated["batch_stats"]


def test_hand_derived():
    # Values 1, 3, 5, 7: mean 4, variance 5 (biased), 20/3 (unbiased). With epsilon 4, sqrt(5 + 4) = 3: y = (x - 4) / 3 * 6 + 1.
    layer, x = BatchNorm(momentum=0.5, epsilon=4.0), jnp.array([[1.0], [3.0], [5.0], [7.0]])
    variables = layer.init(jax.random.key(0), x)
    np.testing.assert_array_equal(layer.apply(variables, x), x / np.sqrt(np.float32(5)))  # running mean 0, variance 1
    variables = {**variables, "params": {"scale": jnp.array([6.0]), "bias": jnp.array([1.0])}}
    y, stats = train(layer, variables, x)
    np.testing.assert_allclose(y, [[-5.0], [-1.0], [3.0], [7.0]], rtol=1e-6)
    np.testing.assert_allclose(stats["mean"], [0.5 * 0 + 0.5 * 4])
    np.testing.assert_allclose(stats["var"], [0.5 * 1 + 0.5 * 20 / 3], rtol=1e-6)


@pytest.mark.parametrize("shape", [(6, 5), (4, 3, 2, 5)])
def test_equals_the_formula_of_torch(shape):
    variables, x = setup(shape)
    layer, flat = BatchNorm(), np.asarray(x, np.float64).reshape(-1, 5)
    scale, bias = (np.asarray(variables["params"][name]) for name in ("scale", "bias"))
    old = jax.tree.map(np.asarray, variables["batch_stats"])
    y, stats = train(layer, variables, x)
    expected = (flat - flat.mean(0)) / np.sqrt(flat.var(0) + 1e-5) * scale + bias
    np.testing.assert_allclose(y.reshape(-1, 5), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(stats["mean"], 0.9 * old["mean"] + 0.1 * flat.mean(0), rtol=1e-5)
    np.testing.assert_allclose(stats["var"], 0.9 * old["var"] + 0.1 * flat.var(0, ddof=1), rtol=1e-5)
    expected = (flat - old["mean"]) / np.sqrt(old["var"] + 1e-5) * scale + bias
    np.testing.assert_allclose(layer.apply(variables, x).reshape(-1, 5), expected, rtol=1e-4, atol=1e-5)


def by_the_formula(params, x):
    """Algorithm 1 of the paper, for automatic differentiation."""
    along = tuple(range(x.ndim - 1))
    mean, var = (f(x, along, keepdims=True) for f in (jnp.mean, jnp.var))
    scale, bias = (params[name].reshape((1,) * (x.ndim - 1) + (-1,)) for name in ("scale", "bias"))
    return (x - mean) / jnp.sqrt(var + 1e-5) * scale + bias


@pytest.mark.parametrize("shape", [(6, 5), (8, 3, 2, 5)])
def test_gradients_equal_those_of_the_formula(shape):
    """Plain, under `jax.checkpoint`, with absent examples whose inputs and cotangents are NaN, under `vmap` over seeds, and
    for second derivatives."""
    variables, x = setup(shape)
    params, dy = variables["params"], jax.random.normal(jax.random.key(1), shape)
    ours = lambda params, x, present=None: train(BatchNorm(), {**variables, "params": params}, x, present)[0]
    plain = lambda f, params, x, dy: jax.vjp(f, params, x)[1](dy)
    gradients = jax.jit(plain, static_argnums=0)
    close = lambda a, b: chex.assert_trees_all_close(a, b, rtol=1e-4, atol=1e-5)
    expected = gradients(by_the_formula, params, x, dy)
    close(gradients(ours, params, x, dy), expected)
    close(gradients(jax.checkpoint(ours), params, x, dy), expected)

    present = jnp.arange(shape[0]) % 3 != 1
    index, rows = np.flatnonzero(present), present.reshape(-1, *(1,) * (x.ndim - 1))
    spoiled = [jnp.where(rows, values, jnp.nan) for values in (x, dy)]
    by_params, dx = gradients(lambda params, x: ours(params, x, present), params, *spoiled)
    close((by_params, dx[index]), gradients(by_the_formula, params, x[index], dy[index]))
    assert not np.asarray(dx)[~np.asarray(present)].any()

    seeds = jax.tree.map(lambda p: jnp.stack([p, 2 * p]), params)
    each = lambda f: jax.jit(jax.vmap(lambda params: plain(f, params, x, dy)))(seeds)
    close(each(ours), each(by_the_formula))
    twice = lambda f: jax.jit(jax.grad(lambda x: (plain(f, params, x, dy)[1] ** 2).sum()))(x)
    chex.assert_trees_all_close(twice(ours), twice(by_the_formula), rtol=1e-3, atol=1e-4)


def test_absent_examples_have_no_influence():
    variables, x = setup()
    present = jnp.array([True, False, True, True, False, True, True, False])
    spoiled = jnp.where(present[:, None, None, None], x, jnp.nan)
    layer, index = BatchNorm(), np.flatnonzero(present)

    def loss(variables, x, present=None):
        y, stats = train(layer, variables, x, present)
        return (y**3).sum(), (y, stats)

    differentiated = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
    (_, (y, stats)), (gradient, dx) = differentiated(variables, spoiled, present)
    (_, (y_present, stats_present)), (gradient_present, dx_present) = differentiated(variables, x[index])
    chex.assert_trees_all_close((y[index], stats), (y_present, stats_present), rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_close((gradient["params"], dx[index]), (gradient_present["params"], dx_present), rtol=1e-4, atol=1e-4)
    absent = np.flatnonzero(~np.asarray(present))
    assert not np.asarray(y)[absent].any()
    assert not np.asarray(dx)[absent].any()
    y = layer.apply(variables, spoiled, present=present)  # evaluation
    chex.assert_trees_all_close(y[index], layer.apply(variables, x[index]), rtol=1e-6)


@pytest.mark.parametrize("count", [0, 1])
def test_no_or_one_present_example_is_finite(count):
    variables, x = setup((3, 5))
    present = jnp.arange(3) < count

    x = jnp.where(present[:, None], x, jnp.nan)

    def loss(params, x):
        y, stats = train(BatchNorm(), {**variables, "params": params}, x, present)
        return (y**2).sum(), stats

    (value, stats), gradient = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(variables["params"], x)
    chex.assert_tree_all_finite((value, stats, gradient))
    if not count:
        chex.assert_trees_all_equal(stats, variables["batch_stats"])


def test_pmap_equals_a_single_device_with_gradients():
    variables, x = setup()
    present = jnp.array([True, True, True, False, False, False, True, True])  # one shard has no present example
    weight = jax.random.normal(jax.random.key(1), x.shape)

    def run(x, weight, present):
        def loss(params, x):
            y, stats = train(BatchNorm(), {**variables, "params": params}, x, present)
            return (jnp.tanh(y) * weight).sum(), (y, stats)

        (value, (y, stats)), (gradient, dx) = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(variables["params"], x)
        return y, dx, stats, *sum_over_shards((value, gradient))

    x = jnp.where(present[:, None, None, None], x, jnp.nan)
    whole = jax.jit(run)(x, weight, present)
    split = lambda leaf: leaf.reshape(4, 2, *leaf.shape[1:])
    y, dx, *rest = jax.pmap(run, axis_name=SHARD)(split(x), split(weight), split(present))
    parts = (y.reshape(x.shape), dx.reshape(x.shape), *jax.tree.map(lambda leaf: leaf[3], rest))
    chex.assert_trees_all_close(parts, whole, rtol=1e-4, atol=1e-4)


def test_vmap_over_seeds_equals_single_seeds():
    layer, x = BatchNorm(momentum=0.5), jax.random.normal(jax.random.key(1), (2, 6, 5))
    variables = jax.vmap(layer.init)(jax.random.split(jax.random.key(0), 2), x)
    y, updated = jax.jit(jax.vmap(lambda v, x: train(layer, v, x)))(variables, x)
    for seed in range(2):
        of_seed = lambda tree, seed=seed: jax.tree.map(lambda leaf: leaf[seed], tree)
        single = train(layer, of_seed(variables), x[seed])
        chex.assert_trees_all_close(of_seed((y, updated)), single, rtol=1e-5, atol=1e-6)


def test_bfloat16_output_and_float32_statistics():
    variables, x = setup()
    layer = BatchNorm(dtype=jnp.bfloat16)
    y, stats = train(layer, variables, x.astype(jnp.bfloat16))
    chex.assert_type(y, jnp.bfloat16)
    chex.assert_type(jax.tree.leaves((layer.init(jax.random.key(0), x), stats)), jnp.float32)
    chex.assert_trees_all_close(y.astype(jnp.float32), train(BatchNorm(), variables, x)[0], atol=0.1)
    dx = jax.grad(lambda x: (train(layer, variables, x)[0].astype(jnp.float32) ** 3).sum())(x.astype(jnp.bfloat16))
    chex.assert_type(dx, jnp.bfloat16)
    expected = jax.grad(lambda x: (train(BatchNorm(), variables, x)[0] ** 3).sum())(x)
    chex.assert_trees_all_close(dx.astype(jnp.float32), expected, atol=0.05 * float(jnp.abs(expected).max()))


def test_numpy_variables():
    variables, x = setup()
    as_numpy = jax.tree.map(np.asarray, variables)
    chex.assert_trees_all_equal(BatchNorm().apply(as_numpy, x), BatchNorm().apply(variables, x))
    chex.assert_trees_all_equal(train(BatchNorm(), as_numpy, x), train(BatchNorm(), variables, x))


def test_gradients_in_evaluation_with_absent_examples():
    variables, x = setup()
    present = jnp.arange(len(x)) % 2 == 0
    spoiled = jnp.where(present[:, None, None, None], x, jnp.nan)
    loss = lambda variables, x, present: (BatchNorm().apply(variables, x, present=present) ** 2).sum()
    gradient, dx = jax.grad(loss, argnums=(0, 1))(variables, spoiled, present)
    expected, dx_present = jax.grad(loss, argnums=(0, 1))(variables, x[::2], present[::2])
    chex.assert_trees_all_close((gradient, dx[::2]), (expected, dx_present), rtol=1e-4, atol=1e-4)
    assert not np.asarray(dx)[1::2].any()
