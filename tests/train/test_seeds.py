"""All seeds at once give for each seed what a run of that seed alone gives."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.data.order import shuffled
from mmjax.evaluate.subsets import logits_by_subset, predict
from mmjax.losses import cross_entropy
from mmjax.train.checkpoint import Checkpoints
from mmjax.train.loop import Schedule, StopRequest, Watch, fit
from mmjax.train.seeds import Best, init_seeds, keep_best, no_best, orders, seed_keys
from mmjax.train.step import TrainState, init
from tests.train.toy import ROWS, Toy

SEEDS = (0, 1, 5)


@pytest.fixture(scope="module")
def toy():
    return Toy(batch=8, steps=6)


@pytest.fixture(scope="module")
def trained(toy, tmp_path_factory):
    """Seeds -> (Fit, last parameters), by the loop that experiments use; each set of seeds is trained once."""
    run = logits_by_subset(toy.model, [("image", "text")], "label")
    leg = toy.leg()
    done = {}

    def validate(params):
        logits = predict(
            run, params, lambda index: jax.tree.map(lambda leaf: jnp.asarray(leaf[index]), toy.data), ROWS, 10
        )[:, 0]
        data = jax.tree.map(jnp.asarray, toy.data)
        loss = np.stack([np.asarray(cross_entropy({"label": jnp.asarray(one)}, data)).mean() for one in logits])
        return {"loss": loss, "accuracy": (logits.argmax(-1) == toy.data.targets["label"]).mean(-1)}

    def train(seeds):
        if seeds not in done:
            params = []
            checkpoints = Checkpoints(tmp_path_factory.mktemp("checkpoints"))
            done[seeds] = (
                fit(
                    lambda step: leg,
                    init_seeds(toy.model, toy.tx, seeds, toy.one_seed()),
                    toy.batches(seeds),
                    lambda p: (params.append(jax.tree.map(np.array, p)), validate(p))[1],
                    Schedule(toy.steps, 2, 100),
                    checkpoints,
                    {},
                    StopRequest(),
                    Watch(),
                ),
                params,
            )
            checkpoints.close()
        return done[seeds]

    return train


@pytest.mark.parametrize("place", range(len(SEEDS)))
def test_each_seed_is_what_it_is_alone(trained, place):
    (together, params), (alone, params_alone) = trained(SEEDS), trained((SEEDS[place],))
    pick = lambda tree: jax.tree.map(lambda leaf: np.asarray(leaf)[place : place + 1], tree)
    assert len(params) == len(params_alone) == 3  # evaluated after 2, 4 and 6 of 6 steps
    chex.assert_trees_all_close(pick(params[-1]), params_alone[-1], rtol=1e-3, atol=1e-4)  # lr is 0.02
    assert [point["step"] for point in together.curves] == [2, 4, 6]
    for point, point_alone in zip(together.curves, alone.curves, strict=True):
        for name in ("train_loss", "validation_loss", "validation_accuracy"):
            np.testing.assert_allclose(point[name][place], point_alone[name][0], rtol=1e-4, err_msg=name)
    np.testing.assert_allclose(together.best.score[place], alone.best.score[0], rtol=1e-4)
    assert int(together.best.step[place]) == int(alone.best.step[0])
    chex.assert_trees_all_close(pick(together.best.variables), alone.best.variables, rtol=1e-3, atol=1e-4)


def test_seeds_differ_from_each_other(trained):
    """Else the test above would pass with one seed trained three times."""
    fitted, params = trained(SEEDS)
    first = [np.asarray(leaf) for leaf in jax.tree.leaves(params[0])]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert max(np.abs(leaf[a] - leaf[b]).max() for leaf in first) > 0.1
    assert len(set(fitted.curves[0]["train_loss"])) == len(SEEDS)


def test_best_parameters_are_those_of_the_best_evaluation(trained):
    """`fit` gives the state away to be overwritten at each step; what `best` holds must be what validation saw then."""
    fitted, params = trained(SEEDS)
    for place, step in enumerate(np.asarray(fitted.best.step)):
        seen = params[int(step) // 2 - 1]
        best, seen = (jax.tree.map(lambda leaf, at=place: np.asarray(leaf)[at], t) for t in (fitted.best.variables, seen))
        chex.assert_trees_all_equal(best, seen)


def test_initialisation_is_that_of_the_seed_alone(toy):
    several = init_seeds(toy.model, toy.tx, SEEDS, toy.one_seed())
    alone = jax.jit(lambda key: init(toy.model, toy.tx, key, toy.one_seed()))(jax.random.key(SEEDS[2]))
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
    rounds = [  # (step and value of every seed's parameters, scores of seeds 0, 1 and 2)
        (1, [0.5, np.nan, 0.2]),
        (2, [0.5, 0.1, np.nan]),  # an equal score of seed 0 comes too late; NaN of seed 2 does not win
        (3, [0.4, np.nan, 0.3]),
    ]
    for step, score in rounds:
        best = keep_best(best, state_of(step, float(step)), jnp.array(score))
    assert best.step.tolist() == [1, 2, 3]
    np.testing.assert_array_equal(best.score, np.float32([0.5, 0.1, 0.3]))
    np.testing.assert_array_equal(best.variables["params"]["w"], [[1, 1], [2, 2], [3, 3]])
    np.testing.assert_array_equal(best.variables["params"]["b"], [1, 2, 3])


def test_a_seed_that_only_ever_had_nan_keeps_its_initialisation():
    best = no_best(state_of(0, 7.0))
    best = keep_best(best, state_of(1, 1.0), jnp.full(3, jnp.nan))
    assert best.step.tolist() == [0, 0, 0]
    np.testing.assert_array_equal(best.variables["params"]["w"], np.full((3, 2), 7))


def test_best_survives_the_overwriting_of_the_state_it_came_from():
    state = state_of(0, 1.0)
    before = no_best(state)
    overwrite = jax.jit(lambda state: jax.tree.map(lambda leaf: leaf * 0 - 1, state), donate_argnums=0)
    params = state.params
    kept = keep_best(before, state, jnp.ones(3))
    overwrite(params)
    assert all(leaf.is_deleted() for leaf in params.values())  # they were given away indeed
    for best in (before, kept):
        assert isinstance(best, Best)
        np.testing.assert_array_equal(best.variables["params"]["w"], np.ones((3, 2)))
