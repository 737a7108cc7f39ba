"""Stochastic depth: each example is one of the models with and without each sublayer, by the right probabilities."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.nn import Bidirectional, Block, StochasticDepth, Transformer
from mmjax.nn.recurrent import LSTM

DEPTH, RATE, EXAMPLES = 3, 0.8, 4000
STACK = Transformer(depth=DEPTH, heads=1, hidden=5, dropout=0.0)
BRANCHES = [(f"block{layer}", branch) for layer in range(DEPTH) for branch in ("attention", "perceptron")]


def without(params, dropped):
    """The parameters of the model without the sublayers `dropped`: their last layers are zero."""
    params = {block: dict(of) for block, of in params.items()}
    for block, branch in dropped:
        if branch == "attention":
            zeros = jax.tree.map(jnp.zeros_like, params[block]["attention"]["out"])
            params[block]["attention"] = {**params[block]["attention"], "out": zeros}
        else:
            params[block]["down"] = jax.tree.map(jnp.zeros_like, params[block]["down"])
    return params


@pytest.fixture(scope="module")
def problem():
    """(equal examples, their mask, parameters, an output for each set of sublayers)."""
    x = jnp.broadcast_to(jax.random.normal(jax.random.key(0), (1, 2, 4)), (EXAMPLES, 2, 4))
    mask = jnp.ones(x.shape[:2], bool)
    shapes = jax.eval_shape(STACK.init, jax.random.key(1), x, mask)["params"]
    random = np.random.default_rng(2)
    params = jax.tree.map(lambda leaf: random.normal(size=leaf.shape).astype(np.float32), shapes)
    sets = [tuple(b for b, drop in zip(BRANCHES, drops) if drop) for drops in product((False, True), repeat=len(BRANCHES))]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(without(params, dropped) for dropped in sets))
    run = jax.jit(jax.vmap(lambda params: STACK.apply({"params": params}, x[:1], mask[:1])[0]))
    return x, mask, params, dict(zip(sets, np.asarray(run(stacked))))


def trained(rate, problem):
    x, mask, params, _ = problem
    run = jax.jit(lambda key: StochasticDepth(STACK, DEPTH, rate).apply(
        {"params": params}, x, mask, train=True, rngs={"dropout": key}
    ))  # fmt: skip
    return np.asarray(run(jax.random.key(3)))


def test_each_example_lacks_sublayers_independently_by_rates_that_rise_linearly(problem):
    found, expected = trained(RATE, problem), problem[-1]
    distance = np.abs(found[:, None] - np.stack(list(expected.values()))[None]).max(axis=(2, 3))
    assert (distance.min(axis=1) < 1e-4).all()  # whole sublayers, of all tokens
    dropped = np.array([[branch in chosen for branch in BRANCHES] for chosen in expected])[distance.argmin(axis=1)]
    rates = np.repeat([0, RATE / 2, RATE], 2)  # l / (depth - 1) of the rate
    sd = np.sqrt(rates * (1 - rates) / EXAMPLES)
    assert (np.abs(dropped.mean(axis=0) - rates) <= 4.5 * sd).all()
    between = np.corrcoef(dropped[:, 2:].T) - np.eye(4)
    assert np.abs(between).max() < 5 / np.sqrt(EXAMPLES)


def test_the_mean_is_not_rescaled(problem):
    """With depth 2 and one sublayer that is not zero, the mean is x + (1 - p) f(x); in evaluation, x + f(x)."""
    x, mask, params, _ = problem
    stack, p = Transformer(depth=2, heads=1, hidden=5), 0.4
    params = without({name: params[name] for name in ("block0", "block1")}, [b for b in BRANCHES[:4] if b != BRANCHES[3]])
    module, variables = StochasticDepth(stack, 2, p), {"params": params}
    train = jax.jit(lambda: module.apply(variables, x, mask, train=True, rngs={"dropout": jax.random.key(4)}))()
    whole = np.asarray(jax.jit(lambda: module.apply(variables, x[:1], mask[:1]))())
    f = whole - np.asarray(x[:1])
    assert np.abs(f).max() > 0.5
    tolerance = 4.5 * np.sqrt(p * (1 - p) / EXAMPLES)
    np.testing.assert_allclose((np.asarray(train - x).mean(axis=0) / f[0]), 1 - p, atol=tolerance)


def test_rate_zero_and_evaluation_are_the_module_with_its_dropout(problem):
    x, mask, params, _ = problem
    stack, variables = Transformer(2, heads=1, hidden=5, dropout=0.3), {"params": params}

    @jax.jit
    def run():
        given = lambda module, train: module.apply(variables, x[:8], mask[:8], train=train, rngs={"dropout": jax.random.key(5)})
        deep = lambda rate: StochasticDepth(stack, 2, rate)
        return given(stack, True), given(deep(0.0), True), given(deep(0.9), True), given(stack, False), given(deep(0.9), False)

    train, at_zero, other, evaluated, evaluated_deep = run()
    np.testing.assert_array_equal(at_zero, train)
    np.testing.assert_array_equal(evaluated_deep, evaluated)
    assert (other != train).any()


def test_parameters_have_the_same_paths_and_values(problem):
    x, mask, _, _ = problem
    init = lambda module: jax.jit(module.init)(jax.random.key(6), x[:1], mask[:1])
    jax.tree.map(np.testing.assert_array_equal, init(StochasticDepth(STACK, DEPTH)), init(STACK))


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (StochasticDepth(STACK, 2), r"StochasticDepth.depth is 2, but there is a 'block2'"),
        (StochasticDepth(STACK, 3, 1.5), r"StochasticDepth.rate is 1.5; it must be at least 0 and below 1"),
        (StochasticDepth(STACK, 0), r"StochasticDepth.depth is 0; it must be a positive integer"),
        (StochasticDepth(Block(1, 5), 1), r"StochasticDepth.module is Block, which has no numbered nn.Block"),
        (StochasticDepth(Bidirectional(LSTM(4)), 1), r"StochasticDepth.module is Bidirectional, which has no numbered"),
    ],
)
def test_invalid_settings(module, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 2, 4)), jnp.ones((1, 2), bool))
