"""Accumulated gradients are those of the whole batch, on one device and on four; averages follow their definition."""

from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.losses import InfoNCE, WeightedLosses, contrastive, cross_entropy, distributions
from mmjax.shards import SHARD
from mmjax.train.accumulate import _COMPARING, Accumulate
from mmjax.train.average import Average
from mmjax.train.step import make_step
from tests.train.toy import Toy

TOY = Toy(modalities=("text",), dropout=0.0, batch=16)


@pytest.fixture(scope="module")
def whole():
    """(the state before, the state and metrics after a step on the whole batch)."""
    state = jax.tree.map(lambda leaf: leaf[0], TOY.training.init((0,), TOY.one_seed())[0])
    return state, jax.jit(step())(state, {}, TOY.one_seed())


def step(gradient=None):
    return make_step(TOY.model, cross_entropy, TOY.tx, gradient=gradient)


def assert_same(found, expected):
    (state, metrics), (state_expected, metrics_expected) = found, expected
    chex.assert_trees_all_close(metrics, metrics_expected, rtol=1e-5)
    chex.assert_trees_all_close(state.opt_state, state_expected.opt_state, rtol=1e-4, atol=1e-7)  # its mean is the gradient


def test_four_parts_give_the_gradient_of_the_whole_batch(whole):
    """The weights are unequal, and some are 0."""
    state, expected = whole
    assert_same(jax.jit(step(Accumulate(4)))(state, {}, TOY.one_seed()), expected)
    part = jax.tree.map(lambda leaf: leaf[:4], TOY.one_seed())
    alone = jax.jit(step())(state, {}, part)[1]["loss"]
    assert abs(alone - expected[1]["loss"]) > 1e-3  # a part by itself has another loss


def test_two_parts_on_each_of_four_devices_give_the_same(whole):
    state, expected = whole
    parts = jax.tree.map(lambda leaf: leaf.reshape(4, 4, *leaf.shape[1:]), TOY.one_seed())
    run = jax.pmap(step(Accumulate(2)), SHARD, in_axes=(None, None, 0))
    assert_same(jax.tree.map(lambda leaf: leaf[0], run(state.replace(key=state.key), {}, parts)), expected)


def test_what_parts_cannot_do_is_refused(whole):
    state, _ = whole
    with pytest.raises(ValueError, match=r"Accumulate\.parts is 3; it must divide the 16 rows"):
        step(Accumulate(3))(state, {}, TOY.one_seed())
    with pytest.raises(ValueError, match=r"Accumulate\.parts is 0"):
        Accumulate(0)


def test_losses_that_compare_examples_are_refused(whole):
    state, _ = whole
    loss = WeightedLosses({"pairs": (InfoNCE("text.a", "text.b"), 1.0)})
    with pytest.raises(ValueError, match=r"Accumulate: InfoNCE compares the examples of a batch; use .*GradCache"):
        make_step(TOY.model, loss, TOY.tx, gradient=Accumulate(2))(state, {}, TOY.one_seed())
    found = [value for module in (contrastive, distributions) for value in vars(module).values() if isinstance(value, type)]
    assert {value for value in found if "__call__" in vars(value) and "losses" in value.__module__} == set(_COMPARING)


def test_an_average_of_parameters_follows_its_definition(whole):
    """d = min(.3, (1 + n) / (10 + n)): 2/11, 3/12, .3, .3."""
    state, _ = whole
    before = jax.tree.map(jnp.copy, state.params)
    averaging, plain = Average(0.3)(step()), step()
    averaged, expected = state.replace(average=before), jax.tree.map(np.asarray, before)
    run, run_plain = jax.jit(averaging), jax.jit(plain)
    for decay in (2 / 11, 3 / 12, 0.3, 0.3):
        averaged, _ = run(averaged, {}, TOY.one_seed())
        state, _ = run_plain(state, {}, TOY.one_seed())
        expected = jax.tree.map(lambda old, new, d=decay: d * old + (1 - d) * np.asarray(new), expected, state.params)
    chex.assert_trees_all_close(averaged.params, state.params, rtol=1e-6)  # training does not see the average
    chex.assert_trees_all_close(averaged.average, expected, rtol=1e-5)
    assert averaged.variables["params"] is averaged.average and state.variables["params"] is state.params
    with pytest.raises(ValueError, match=r"Average\.decay is 1.0; it must be at least 0 and below 1"):
        Average(1.0)


def test_a_training_starts_its_average_at_the_initial_parameters():
    training = replace(TOY.training, average=Average())
    state, _ = training.init((0, 1), TOY.one_seed())
    chex.assert_trees_all_equal(state.average, state.params)
    training.dry_run(TOY.one_seed())
