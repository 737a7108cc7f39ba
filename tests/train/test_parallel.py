"""One device and four give the same training and evaluation, with all randomness switched on and unequal weights."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.data.feed import DeviceFeed
from mmjax.shards import SHARD
from mmjax.train import parallel
from mmjax.train.parallel import pmapped, single
from mmjax.train.seeds import orders
from mmjax.train.sharded import Mesh, sharded
from tests.train.toy import AUGMENT, ROWS, Toy

SEEDS = (0, 1)


@pytest.fixture(scope="module")
def toy():
    return Toy(batch=8, steps=3)


@pytest.fixture(scope="module")
def start(toy):
    return toy.training.init(SEEDS, toy.one_seed())[0]


def train(plan, toy, start, calls=((0,), (1,), (2,))):
    """(state after all steps, metrics [steps s]); calls: the steps of each compiled call."""
    run, placed, metrics = plan.train(toy.step()), plan.place(jax.tree.map(jnp.copy, start)), []
    feed = plan.feed(DeviceFeed(toy.data.inputs, toy.rows))
    chunks = [range(steps[0], steps[-1] + 1) for steps in calls]
    where = lambda: jax.tree.map(lambda leaf: leaf.sharding, placed)
    for batches in feed.chunks(orders(SEEDS, ROWS, toy.batch), chunks):
        before = where()
        placed, found = run(placed, plan.place({}, seeds=False), batches)
        assert where() == before  # otherwise the step is compiled again
        metrics.append(jax.tree.map(np.asarray, found))
    joined = jax.tree.map(lambda *parts: np.concatenate(parts), *metrics)
    return jax.tree.map(np.asarray, plan.fetch(placed).replace(key=None)), joined


@pytest.fixture(scope="module")
def on_one(toy, start):
    return train(single(), toy, start)


def assert_same_training(found, expected):
    (state, metrics), (state_expected, metrics_expected) = found, expected
    chex.assert_trees_all_close(metrics, metrics_expected, rtol=1e-4)
    # Adam divides a gradient by its size, so one near rounding may move a parameter anywhere within lr: 2 % of 0.02
    chex.assert_trees_all_close(state.params, state_expected.params, atol=4e-4)
    chex.assert_trees_all_close(state.opt_state, state_expected.opt_state, rtol=1e-3, atol=1e-5)


def test_four_devices_train_as_one_does_and_three_steps_in_one_call(toy, start, on_one):
    assert jax.local_device_count() == 4
    four = train(pmapped(), toy, start, calls=((0, 1, 2),))
    assert_same_training(four, on_one)
    assert on_one[0].step.tolist() == four[0].step.tolist() == [toy.steps] * len(SEEDS)
    assert four[1]["loss"].shape == (3, 2) and four[1]["finite"].all()


def test_a_step_that_does_not_fit_is_refused_under_pmap(monkeypatch):
    monkeypatch.setattr("os.sysconf", lambda name: 64)  # pages of 64 bytes, 64 of them
    plan, step = pmapped(), lambda state, frozen, batch: (state + jnp.sum(batch), {})
    arguments = plan.place(jnp.zeros((2, 5000))), plan.place({}, seeds=False), jnp.ones((1, 2, 8))
    with pytest.raises(MemoryError, match=r"a training step needs .* but this machine has 4.1e-06 GB"):
        plan.train(step)(*arguments)


def test_the_comparison_can_fail(toy, start, on_one):
    """Without dropout, augmentation or unequal weights, the losses differ by more than the tolerance above."""
    _, metrics = on_one
    batch = toy.batch_of(SEEDS, 0)
    no_dropout = Toy(dropout=0.0, batch=toy.batch, steps=toy.steps)
    others = {
        "no dropout": (no_dropout.step(), batch),
        "no augmentation": (toy.step(None), batch),
        "equal weights": (toy.step(), batch.replace(weight=np.ones_like(batch.weight))),
    }
    run = jax.jit(lambda state, batch, step: jax.vmap(step, (0, None, 0))(state, {}, batch)[1]["loss"], static_argnums=2)
    for what, (step, given) in others.items():
        different = np.asarray(run(start, given, step))
        assert (np.abs(different / metrics["loss"][0] - 1) > 1e-3).all(), what


def test_evaluation_is_the_same_under_all_plans(toy, start, monkeypatch):
    """Rows stay in order, on the axis that the function declares, and frozen variables are merged."""
    monkeypatch.setattr("mmjax.train.sharded.MIN_SIZE", 8)  # the toy has small arrays
    batch = toy.one_seed()
    params = dict(start.params)
    one_seed = jax.tree.map(lambda leaf: np.asarray(leaf)[0], params.pop("heads_label"))
    frozen = {"params": {"heads_label": one_seed}}
    results = []
    for plan in (single(), pmapped(), sharded(Mesh(data=2, fsdp=2))):
        run = plan.evaluate(lambda variables, batch: jnp.stack([toy.model.apply(variables, batch)["label"]] * 2), axis=1)
        results.append(run(plan.place({"params": params}), plan.place(frozen, seeds=False), batch))
    for other in results[1:]:
        chex.assert_trees_all_close(np.asarray(other), np.asarray(results[0]), rtol=1e-5, atol=1e-6)
    chex.assert_shape(results[1], (len(SEEDS), 2, toy.batch, 3))
    both = {"params": {**jax.tree.map(lambda leaf: leaf[1], params), **frozen["params"]}}
    chex.assert_trees_all_close(results[1][1, 0], jax.jit(toy.model.apply)(both, batch)["label"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", AUGMENT)
def test_augmentation_depends_on_the_position_in_the_whole_batch(toy, name):
    """Each device changes its part bit for bit as one device changes those examples."""
    batch = toy.one_seed()
    key = jax.random.key(5)
    whole = jax.tree.map(np.asarray, AUGMENT[name](jax.tree.map(jnp.asarray, batch), key))
    parts = jax.tree.map(lambda leaf: leaf.reshape(4, -1, *leaf.shape[1:]), batch)
    split = jax.pmap(lambda part: AUGMENT[name](part, key), axis_name=SHARD)(parts)
    joined = jax.tree.map(lambda leaf: np.asarray(leaf).reshape(-1, *leaf.shape[2:]), split)
    chex.assert_trees_all_equal(joined, whole)
    changed = jax.tree.leaves(jax.tree.map(lambda a, b: not np.array_equal(a, b), whole, batch))
    assert any(changed)


def test_a_batch_that_does_not_split_names_both_numbers(toy, start):
    odd = Toy(batch=6, steps=1)
    plan = pmapped()
    with pytest.raises(ValueError, match=r"batch is 6.*over 4 devices.*multiple of 4"):
        plan.train(odd.step())(plan.place(jax.tree.map(jnp.copy, start)), {}, odd.chunk_of(SEEDS, (0,)))


MESHES = {"fsdp and tensor": Mesh(data=1, fsdp=2, tensor=2), "seeds and data": Mesh(seeds=2)}  # others are slow tests


@pytest.mark.parametrize("mesh", MESHES.values(), ids=MESHES)
def test_a_mesh_trains_as_one_device_does(toy, start, on_one, mesh, monkeypatch):
    monkeypatch.setattr("mmjax.train.sharded.MIN_SIZE", 8)  # the toy has small arrays
    assert_same_training(train(sharded(mesh), toy, start, calls=((0, 1, 2),)), on_one)


def test_only_programs_with_convolutions_have_their_options(monkeypatch):
    given = []
    monkeypatch.setattr(parallel, "compiler_options", lambda: given.append(1) or {})
    x = jnp.ones((1, 1, 4, 4))
    convolved = lambda state, frozen, batches: state + jax.lax.conv(batches, jnp.ones((1, 1, 3, 3)), (1, 1), "SAME").sum()
    multiplied = lambda state, frozen, batches: state + (batches @ batches).sum()
    for function, count in ((multiplied, 0), (convolved, 1)):
        parallel.checked(jax.jit(function), jax.local_devices()[:1])(jnp.zeros(()), {}, x)
        assert len(given) == count
