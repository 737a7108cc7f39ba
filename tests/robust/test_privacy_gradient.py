"""DP-SGD against a loop over examples, its noise, its sensitivity, adaptive clipping, and the plain gradient without both."""

from dataclasses import replace
from functools import cache

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.losses import cross_entropy
from mmjax.robust.privacy import DPSGD, AdaptiveClip, Flat, PerLayer
from mmjax.robust.privacy.gradient import EXAMPLES
from mmjax.shards import SHARD, example_keys
from mmjax.train.step import SumOfLosses, weighted_mean
from mmjax.types import Aux, Batch, Gradient

ROWS, WIDTH = 7, 5
KEY = jax.random.key(3)
PLAIN = DPSGD(Flat(1.0), noise_multiplier=0.0, expected=4.0)


def test_it_is_a_gradient():
    assert isinstance(PLAIN, Gradient)


@cache
def problem():
    """(parameters of two layers, batch with weights 2, 1/2 and 0)."""
    random = np.random.default_rng(0)
    params = {"a": {"kernel": random.normal(size=(WIDTH, 4)), "bias": np.ones(4)}, "b": {"kernel": random.normal(size=(4, 3))}}
    weight = np.array([1, 2, 0, 0.5, 1, 1, 0], np.float32)
    x = random.normal(size=(ROWS, WIDTH)) * np.array([0.1, 1.5, 1, 1, 1, 0.5, 1])[:, None]
    batch = Batch({"x": x}, {"x": np.ones(ROWS, bool)}, {"label": np.arange(ROWS) % 3}, weight)
    to_32 = lambda leaf: jnp.asarray(leaf, jax.dtypes.canonicalize_dtype(leaf.dtype))
    return jax.tree.map(to_32, params), jax.tree.map(to_32, batch)


def objective(params, batch, key, train=True):
    """Cross-entropy of two layers with dropout on the input of the second one."""
    hidden = jnp.tanh(batch.inputs["x"] @ params["a"]["kernel"] + params["a"]["bias"][None])
    hidden = hidden * jax.random.bernoulli(key, 0.7, hidden.shape)
    values = {"loss": cross_entropy({"label": hidden @ params["b"]["kernel"]}, batch)}
    losses = {name: weighted_mean(value, batch.weight) for name, value in values.items()}
    return losses, Aux({}, {}, losses, values)


@cache
def gradients_of_examples():
    """The weighted gradient of each example by itself with its own key, in float64 on the host."""
    params, batch = problem()
    keys = example_keys(jax.random.fold_in(KEY, EXAMPLES), ROWS)

    @jax.jit
    def one(number):
        example = jax.tree.map(lambda leaf: leaf[number][None], batch)
        loss = lambda params: objective(params, example, keys[number])[1].values["loss"][0] * batch.weight[number]
        return jax.grad(loss)(params)

    return [jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), one(number)) for number in range(ROWS)]


def norm(*leaves):
    return np.sqrt(sum((leaf**2).sum() for leaf in leaves))


def loop_flat(g, bound):
    return jax.tree.map(lambda leaf: leaf * min(1, bound / max(norm(*jax.tree.leaves(g)), 1e-30)), g)


def loop_per_layer(g, bound):
    scale = lambda layer: min(1, bound / np.sqrt(2) / max(norm(*layer.values()), 1e-30))
    return {name: {leaf: value * scale(layer) for leaf, value in layer.items()} for name, layer in g.items()}


@cache
def compiled(gradient):
    return jax.jit(lambda params, state, batch, key: gradient(objective, params, state, batch, key))


def total(gradient, batch=None, key=KEY):
    """(gradient times the expected batch, Aux, loss) in the first step."""
    params, whole = problem()
    value, found, aux, _ = compiled(gradient)(params, gradient.init(params), whole if batch is None else batch, key)
    return jax.tree.map(lambda leaf: np.asarray(leaf) * gradient.expected, found), aux, value


@pytest.mark.parametrize(
    ("clip", "loop", "microbatch"),
    [(Flat(0.7), loop_flat, 7), (Flat(0.7), loop_flat, 3), (PerLayer(0.7), loop_per_layer, 2), (Flat(1e9), loop_flat, 1)],
)
def test_clipping_equals_a_loop_over_examples(clip, loop, microbatch):
    found, aux, _ = total(replace(PLAIN, clip=clip, microbatch=microbatch))
    of_examples = [loop(g, clip.norm) for g in gradients_of_examples()]
    expected = jax.tree.map(lambda *leaves: sum(leaves), *of_examples)
    chex.assert_trees_all_close(found, expected, atol=1e-6, rtol=1e-6)
    clipped = [norm(*jax.tree.leaves(g)) > 1e-9 for g in of_examples]
    assert clipped == [True, True, False, True, True, True, False]  # weight 0 contributes nothing
    assert aux.values["loss"].shape == (ROWS,)


def test_some_are_clipped_and_some_are_not():
    norms = [norm(*jax.tree.leaves(g)) for g in gradients_of_examples()]
    assert min(n for n in norms if n > 0) < 0.7 < max(norms)


def test_padding_may_be_anything():
    _, batch = problem()
    padded = batch.weight == 0
    spoiled = batch.replace(inputs={"x": jnp.where(padded[:, None], jnp.nan, batch.inputs["x"])})
    chex.assert_trees_all_equal(total(PLAIN)[0], total(PLAIN, spoiled)[0])
    np.testing.assert_array_equal(total(PLAIN)[2], total(PLAIN, spoiled)[2])


def test_an_example_without_a_finite_gradient_contributes_nothing():
    _, batch = problem()
    spoiled = batch.replace(inputs={"x": batch.inputs["x"].at[1].set(jnp.inf)})
    without = batch.replace(weight=batch.weight.at[1].set(0.0))
    chex.assert_trees_all_close(total(PLAIN, spoiled)[0], total(PLAIN, without)[0], atol=1e-6)
    loss = total(PLAIN, spoiled)[2]  # if it were not finite, the training would stop because of one private row
    np.testing.assert_allclose(loss, total(PLAIN, without)[2] * without.weight.sum() / batch.weight.sum(), rtol=1e-5)


@pytest.mark.parametrize("clip", [Flat(0.3), PerLayer(0.3), AdaptiveClip(initial=0.3)])
def test_sensitivity_is_the_bound(clip):
    """Removing any example changes the sum by at most C; some example reaches C, also with a huge weight."""
    gradient = replace(PLAIN, clip=clip, microbatch=4)
    _, batch = problem()
    batch = batch.replace(weight=batch.weight.at[0].set(1e6))
    whole = total(gradient, batch)[0]
    changes = []
    for number in range(ROWS):
        rest = total(gradient, batch.replace(weight=batch.weight.at[number].set(0.0)))[0]
        changes.append(norm(*jax.tree.leaves(jax.tree.map(lambda a, b: a - b, whole, rest))))
    assert max(changes) <= 0.3 * (1 + 1e-5)
    assert max(changes) > 0.3 * (1 - 1e-5)


def test_noise_has_its_variance_and_is_independent():
    """14,400 draws: the deviation is z C / B within 4 standard errors, nothing is correlated with its neighbour."""
    gradient = replace(PLAIN, clip=Flat(0.5), noise_multiplier=1.7)
    params, batch = problem()
    many = jax.jit(jax.vmap(lambda key: gradient(objective, params, (), batch, key)[1]))
    keys = jax.random.split(KEY, 400)
    plain = replace(PLAIN, clip=Flat(0.5))
    quiet = jax.jit(jax.vmap(lambda key: plain(objective, params, (), batch, key)[1]))
    noise = jax.tree.map(lambda a, b: np.asarray(a - b).reshape(400, -1), many(keys), quiet(keys))
    noise = np.concatenate(jax.tree.leaves(noise), axis=1) / (1.7 * 0.5 / 4)
    count = noise.size
    assert count > 14_000
    assert abs(noise.mean()) < 4 / np.sqrt(count)
    assert abs(noise.var() - 1) < 4 * np.sqrt(2 / count)
    assert abs((noise[:, 1:] * noise[:, :-1]).mean()) < 4 / np.sqrt(count)
    assert abs((noise[1:] * noise[:-1]).mean()) < 4 / np.sqrt(count)


def test_without_noise_and_clipping_it_is_the_plain_gradient():
    """The expected batch being the sum of weights, the dropout switched off."""
    params, batch = problem()
    gradient = replace(PLAIN, clip=Flat(float("inf")), expected=float(batch.weight.sum()))
    ours = jax.jit(lambda p: gradient(without_dropout, p, (), batch, KEY)[:2])(params)
    plain = jax.jit(lambda p: SumOfLosses()(without_dropout, p, (), batch, KEY)[:2])(params)
    chex.assert_trees_all_close(ours, plain, atol=1e-6, rtol=1e-5)


def without_dropout(params, batch, key, train=True):
    hidden = jnp.tanh(batch.inputs["x"] @ params["a"]["kernel"] + params["a"]["bias"][None])
    values = {"loss": cross_entropy({"label": hidden @ params["b"]["kernel"]}, batch)}
    losses = {name: weighted_mean(value, batch.weight) for name, value in values.items()}
    return losses, Aux({}, {}, losses, values)


def test_dropout_differs_between_examples():
    """Seven equal examples, each with its own key: their losses differ."""
    _, batch = problem()
    equal = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[:1], leaf.shape), batch)
    values = total(PLAIN, equal)[1].values["loss"]
    assert len(np.unique(np.asarray(values))) > 1


def test_adaptive_clipping_finds_the_quantile():
    """Norms 0.1, 0.2, ..., 2.0 and quantile 0.7: the bound settles between 1.4 and 1.5, with noise near it."""
    norms = jnp.arange(1, 21) / 10.0
    batch = Batch({"x": norms}, {"x": jnp.ones(20, bool)}, {}, jnp.ones(20))

    def linear(params, batch, key, train=True):
        values = {"loss": params["w"][0] * batch.inputs["x"]}
        return values, Aux({}, {}, {}, values)

    def bounds(noise):
        gradient = DPSGD(AdaptiveClip(0.7, initial=0.05, count_noise=2.0), noise_multiplier=noise, expected=20.0)
        params = {"w": jnp.ones(1)}

        def step(state, key):
            state = gradient(linear, params, state, batch, key)[3]
            return state, state

        return np.asarray(jax.jit(lambda: jax.lax.scan(step, gradient.init(params), jax.random.split(KEY, 300)))()[1])

    # At bound C the share of norms <= C is floor(10 C) / 20, which crosses 0.7 at C = 1.4.
    np.testing.assert_allclose(bounds(0.0)[-50:], 1.4, rtol=0.02)
    np.testing.assert_allclose(np.median(bounds(1.0)[-200:]), 1.4, rtol=0.1)


def test_adaptive_noise_is_that_of_theorem_1():
    noise = AdaptiveClip(count_noise=3.0).noise(2.0, 64.0)
    np.testing.assert_allclose(noise.gradient**-2 + (2 * noise.count) ** -2, 2.0**-2)
    assert AdaptiveClip().noise(0.5, 40.0).count == 2.0 and AdaptiveClip().noise(0.0, 40.0) == (0.0, 0.0)
    with pytest.raises(ValueError, match=r"AdaptiveClip\.count_noise is 1; .* above 1"):
        AdaptiveClip(count_noise=1.0).noise(2.0, 64.0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "either noise_multiplier or epsilon"),
        ({"noise_multiplier": 1.0, "epsilon": 1.0}, "either noise_multiplier or epsilon"),
        ({"noise_multiplier": -1.0}, r"DPSGD\.noise_multiplier is -1"),
        ({"epsilon": 0.0}, r"DPSGD\.epsilon is 0"),
        ({"epsilon": 1.0, "delta": 1.0}, r"DPSGD\.delta is 1"),
        ({"epsilon": 1.0, "microbatch": 0}, r"DPSGD\.microbatch is 0"),
        ({"noise_multiplier": 1.0, "clip": Flat(float("inf"))}, r"clip\.norm is inf"),
    ],
)
def test_fields_are_checked(fields, message):
    with pytest.raises(ValueError, match=message):
        DPSGD(**fields)


def test_norms_are_checked():
    with pytest.raises(ValueError, match=r"PerLayer\.norm is 0"):
        PerLayer(0.0)
    with pytest.raises(ValueError, match=r"AdaptiveClip\.quantile is 1"):
        AdaptiveClip(quantile=1.0)


def test_on_shards_as_on_one_device():
    """Two devices with four rows each and microbatches of 3; also under vmap over two seeds."""
    params, batch = problem()
    batch = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf[:1]]), batch)
    clip = AdaptiveClip(0.5, initial=0.5, count_noise=1.0)
    gradient = DPSGD(clip, noise_multiplier=0.8, expected=4.0, microbatch=3)
    run = lambda batch, key: gradient(objective, params, gradient.init(params), batch, key)[:2]
    keys = jax.random.split(KEY, 2)
    halves = jax.tree.map(lambda leaf: leaf.reshape(2, 4, *leaf.shape[1:]), batch)
    spread = jax.pmap(jax.vmap(run, in_axes=(None, 0)), axis_name=SHARD, in_axes=(0, None), devices=jax.devices()[:2])
    two = spread(halves, keys)
    chex.assert_trees_all_equal(jax.tree.map(lambda leaf: leaf[0], two), jax.tree.map(lambda leaf: leaf[1], two))
    alone = jax.jit(run)(batch, keys[1])
    chex.assert_trees_all_close(jax.tree.map(lambda leaf: leaf[0, 1], two), alone, atol=1e-6, rtol=1e-5)
