"""One device and four give the same training, with everything random switched on and unequal weights."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.shards import SHARD
from mmjax.train.parallel import PLANS, pmapped, single
from mmjax.train.seeds import init_seeds
from tests.train.toy import AUGMENT, Toy

SEEDS = (0, 1)


@pytest.fixture(scope="module")
def toy():
    return Toy(batch=8, steps=3)


@pytest.fixture(scope="module")
def start(toy):
    return init_seeds(toy.model, toy.tx, SEEDS, toy.one_seed())


def train(plan, toy, start):
    """(state after all steps, losses Float[steps s])."""
    placed, losses = plan.place(jax.tree.map(jnp.copy, start)), []
    for step in range(toy.steps):
        placed, loss = plan.run(placed, toy.batch_of(SEEDS, step))
        losses.append(np.asarray(loss))
    return jax.tree.map(np.asarray, plan.fetch(placed).replace(key=None)), np.stack(losses)


@pytest.fixture(scope="module")
def on_one(toy, start):
    return train(single(toy.step()), toy, start)


def test_four_devices_train_as_one_does(toy, start, on_one):
    assert jax.local_device_count() == 4
    (one, losses), (four, losses_of_four) = on_one, train(pmapped(toy.step()), toy, start)
    np.testing.assert_allclose(losses_of_four, losses, rtol=1e-5)
    # Adam divides a gradient by its size, so one near rounding may move a parameter anywhere within lr: 2 % of 0.02
    chex.assert_trees_all_close(four.params, one.params, atol=4e-4)
    chex.assert_trees_all_close(four.opt_state, one.opt_state, rtol=1e-3, atol=1e-5)
    assert one.step.tolist() == four.step.tolist() == [toy.steps] * len(SEEDS)


def test_the_comparison_can_fail(toy, start, on_one):
    """Without dropout, augmentation or unequal weights the losses are others, by more than was allowed above."""
    _, losses = on_one
    batch = toy.batch_of(SEEDS, 0)
    no_dropout = Toy(dropout=0.0, batch=toy.batch, steps=toy.steps)
    others = {
        "no dropout": (no_dropout.step(), batch),
        "no augmentation": (toy.step(None), batch),
        "equal weights": (toy.step(), batch.replace(weight=np.ones_like(batch.weight))),
    }
    run = jax.jit(lambda state, batch, step: jax.vmap(step)(state, batch)[1], static_argnums=2)
    for what, (step, given) in others.items():
        different = np.asarray(run(start, given, step))
        assert (np.abs(different / losses[0] - 1) > 1e-3).all(), what


@pytest.mark.parametrize("name", AUGMENT)
def test_augmentation_belongs_to_the_place_in_the_whole_batch(toy, name):
    """Bit for bit, part by part: what a device does to its part is what one device does to those examples."""
    batch = toy.one_seed()
    key = jax.random.key(5)
    whole = jax.tree.map(np.asarray, AUGMENT[name](jax.tree.map(jnp.asarray, batch), key))
    parts = jax.tree.map(lambda leaf: leaf.reshape(4, -1, *leaf.shape[1:]), batch)
    split = jax.pmap(lambda part: AUGMENT[name](part, key), axis_name=SHARD)(parts)
    joined = jax.tree.map(lambda leaf: np.asarray(leaf).reshape(-1, *leaf.shape[2:]), split)
    chex.assert_trees_all_equal(joined, whole)
    changed = jax.tree.leaves(jax.tree.map(lambda a, b: not np.array_equal(a, b), whole, batch))
    assert any(changed)  # it did do something


def test_a_batch_that_does_not_split_names_both_numbers(toy, start):
    odd = Toy(batch=6, steps=1)
    plan = pmapped(odd.step())
    with pytest.raises(ValueError, match=r"batch is 6.*over 4 devices.*multiple of 4"):
        plan.run(plan.place(jax.tree.map(jnp.copy, start)), odd.batch_of(SEEDS, 0))


def test_plans_are_named_as_the_command_line_names_them():
    assert PLANS == {"single": single, "pmap": pmapped}
