"""All seeds at once give for each seed what a run of that seed alone gives."""

import functools
from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.data.order import shuffled
from mmjax.train.checkpoint import Checkpoints
from mmjax.train.loop import fit
from mmjax.train.seeds import Best, init_seeds, keep_best, no_best, orders, seed_keys
from mmjax.train.step import TrainState, init_state, weighted_mean
from tests.train.toy import Toy

SEEDS = (0, 1, 5)


@pytest.fixture(scope="module")
def toy():
    return Toy(batch=8, steps=6, options={"checkpoint_every": 100})


@pytest.fixture(scope="module")
def trained(toy, tmp_path_factory):
    """Seeds -> (Fit, variables at each evaluation); each set of seeds is trained once."""
    done = {}

    def of_one_seed(variables, batch):
        logits = toy.model.apply(variables, batch)["label"]
        loss = toy.training.loss({"label": logits}, batch)
        correct = (logits.argmax(-1) == batch.targets["label"]).astype(jnp.float32)
        return jnp.stack([weighted_mean(loss, batch.weight), correct.mean()])

    plan = toy.training.plan
    compiled = plan.train(toy.training.step(0))
    evaluate_of = functools.cache(lambda seeds: plan.evaluate(of_one_seed))  # a program has one number of seeds
    training = replace(toy.training, plan=plan._replace(train=lambda step: compiled))
    data = jax.tree.map(jnp.asarray, toy.data)

    def train(seeds):
        if seeds not in done:
            seen = []

            def validate(variables):
                seen.append(jax.tree.map(np.array, variables))
                loss, accuracy = np.asarray(evaluate_of(len(seeds))(variables, {}, data)).T
                return {"loss": loss, "score": accuracy}

            state, frozen = training.init(seeds, toy.one_seed())
            checkpoints = Checkpoints(tmp_path_factory.mktemp("checkpoints"))
            done[seeds] = fit(training, state, frozen, toy.train_data(seeds), validate, checkpoints), seen
            checkpoints.close()
        return done[seeds]

    return train


@pytest.mark.parametrize("place", range(len(SEEDS)))
def test_each_seed_trains_as_it_does_alone(trained, place):
    (together, seen), (alone, seen_alone) = trained(SEEDS), trained((SEEDS[place],))
    pick = lambda tree: jax.tree.map(lambda leaf: np.asarray(leaf)[place : place + 1], tree)
    assert len(seen) == len(seen_alone) == 3  # evaluated after 2, 4 and 6 of 6 steps
    chex.assert_trees_all_close(pick(seen[-1]), seen_alone[-1], rtol=1e-3, atol=1e-4)  # lr is 0.02
    assert [record["step"] for record in together.curves] == [2, 4, 6]
    for record, record_alone in zip(together.curves, alone.curves, strict=True):
        for name in record.keys() - {"step"}:
            np.testing.assert_allclose(record[name][place], record_alone[name][0], rtol=1e-3, err_msg=name)
    np.testing.assert_allclose(together.best.score[place], alone.best.score[0], rtol=1e-4)
    assert int(together.best.step[place]) == int(alone.best.step[0])
    chex.assert_trees_all_close(pick(together.best.variables), alone.best.variables, rtol=1e-3, atol=1e-4)


def test_seeds_differ_from_each_other(trained):
    """Otherwise the test above would pass with one seed trained three times."""
    fitted, seen = trained(SEEDS)
    first = [np.asarray(leaf) for leaf in jax.tree.leaves(seen[0])]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert max(np.abs(leaf[a] - leaf[b]).max() for leaf in first) > 0.1
    assert len(set(fitted.curves[0]["train_loss"])) == len(SEEDS)


def test_best_variables_are_those_of_the_best_evaluation(trained):
    """Each step overwrites the state; `best` holds the values that validation saw."""
    fitted, seen = trained(SEEDS)
    for place, step in enumerate(fitted.best.step):
        expected = seen[int(step) // 2 - 1]
        best, expected = (jax.tree.map(lambda leaf, at=place: leaf[at], t) for t in (fitted.best.variables, expected))
        chex.assert_trees_all_equal(best, expected)


def test_each_seed_is_initialised_as_alone(toy):
    several = init_seeds(toy.model, toy.tx, SEEDS, toy.one_seed())
    alone = jax.jit(lambda key: init_state(toy.model, toy.tx, key, toy.one_seed()))(jax.random.key(SEEDS[2]))
    chex.assert_trees_all_close(jax.tree.map(lambda leaf: leaf[2], several.params), alone.params, atol=1e-6)
    assert jax.random.key_data(several.key[2]).tolist() == jax.random.key_data(alone.key).tolist()
    assert jax.random.key_data(seed_keys(SEEDS)[2]).tolist() == jax.random.key_data(jax.random.key(5)).tolist()


def test_each_seed_has_its_own_order_and_every_row_once_an_epoch():
    order = orders(SEEDS, rows=20, batch=8)
    for place, seed in enumerate(SEEDS):
        assert order(4)[place].tolist() == shuffled(seed, 4, 20, 8).tolist()
        rows = np.concatenate([order(step)[place] for step in range(5)])  # 40 places: two epochs
        assert sorted(rows[:20]) == sorted(rows[20:]) == list(range(20))
    assert order(0)[0].tolist() != order(0)[1].tolist()


def state_of(step: int, value: float, seeds: int = 3) -> TrainState:
    params = {"w": jnp.full((seeds, 2), value), "b": jnp.full(seeds, value)}
    return TrainState(jnp.full(seeds, step, jnp.int32), params, {}, (), (), seed_keys(range(seeds)))


def test_keep_best_by_hand():
    best = no_best(state_of(0, 0.0))
    nan = np.nan
    rounds = [  # (step and value of all parameters, scores and losses of seeds 0, 1 and 2)
        (1, [0.5, nan, 0.2], [1.0, 1.0, 1.0]),
        (2, [0.5, 0.1, nan], [1.0, 1.0, 0.0]),  # a full tie of seed 0 keeps the earlier step; NaN of seed 2 is not better
        (3, [0.4, nan, 0.3], [0.0, 1.0, 2.0]),  # the score comes before the loss
        (4, [0.5 - 4e-7, 0.1, 0.3], [0.9, nan, 2.5]),  # seed 0: a tie within 1e-6 and a lower loss
        (5, [0.5 - 1e-5, 0.1, 0.3], [0.0, 1.5, nan]),  # seed 0: not a tie
    ]
    for step, score, loss in rounds:
        best = keep_best(best, step, np.array(score), np.array(loss), lambda: state_of(step, float(step)).variables)
    assert best.step.tolist() == [4, 2, 3]
    np.testing.assert_allclose(best.score, [0.5, 0.1, 0.3], rtol=1e-5)
    np.testing.assert_array_equal(best.loss, [0.9, 1.0, 2.0])
    np.testing.assert_array_equal(best.variables["params"]["w"], [[4, 4], [2, 2], [3, 3]])
    np.testing.assert_array_equal(best.variables["params"]["b"], [4, 2, 3])
    assert all(type(leaf) is np.ndarray for leaf in jax.tree.leaves(best))


def test_ties_are_relative_for_large_scores():
    best = replace(no_best(state_of(0, 0.0)), score=np.array([1e4, -1e4, 0.0]), loss=np.ones(3))
    fetch = lambda: state_of(1, 1.0).variables
    found = keep_best(best, 1, np.array([1e4 - 5e-3, -1e4 - 5e-3, -5e-3]), np.full(3, 0.5), fetch)
    assert found.step.tolist() == [1, 1, 0]  # 5e-3 is below 1e-6 * 1e4, but not below 1e-6


def test_a_seed_with_only_nan_keeps_its_initialisation():
    best = no_best(state_of(0, 7.0))
    fetched = []
    best = keep_best(best, 1, np.full(3, np.nan), np.full(3, np.nan), lambda: fetched.append(1))
    assert best.step.tolist() == [0, 0, 0] and not fetched  # no seed is better, so nothing was copied from the device
    np.testing.assert_array_equal(best.variables["params"]["w"], np.full((3, 2), 7))


def test_best_does_not_share_memory_with_the_state():
    state = state_of(0, 1.0)
    before = no_best(state)
    kept = keep_best(before, 1, np.ones(3), np.ones(3), lambda: state.variables)
    overwrite = jax.jit(lambda params: jax.tree.map(lambda leaf: leaf * 0 - 1, params), donate_argnums=0)
    params = state.params
    overwrite(params)
    assert all(leaf.is_deleted() for leaf in params.values())
    for best in (before, kept):
        assert isinstance(best, Best)
        np.testing.assert_array_equal(best.variables["params"]["w"], np.ones((3, 2)))
