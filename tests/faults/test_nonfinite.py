"""NaN and infinity in data, losses and gradients: training stops at the first such step and names the cause, or skips it."""

from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.train.finite import NonFiniteError, diagnose, nonfinite_examples, skip_nonfinite
from mmjax.train.optim import SGD
from mmjax.train.seeds import orders
from mmjax.train.step import TrainState
from mmjax.types import Batch, Padded
from tests.faults.nonfinite import BAD, ROWS, SEEDS, SIZE, STEPS, Trainer, assert_stopped_at, first_draw, rows, spoiled


@pytest.fixture(scope="module")
def run():
    return Trainer()


@pytest.fixture(scope="module")
def training(run):
    return run.training


@pytest.fixture(scope="module")
def start(run):
    return run.start


@pytest.mark.parametrize("steps_per_call", [1, 3])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_bad_data_stop_training_at_the_first_step_that_draws_them(run, value, steps_per_call):
    every = {"steps_per_call": 3, "checkpoint_every": 3, "evaluate_every": 3} if steps_per_call == 3 else {}
    error, saved = run(spoiled(value), **every)
    assert 1 < first_draw()[0] < STEPS
    assert_stopped_at(BAD, "audio", error, saved)
    assert "not finite: gradient norm, loss, update norm." in str(error)


def test_absent_modalities_may_be_anything(run):
    data = rows()
    for name, x in data.inputs.items():
        x[~data.present[name]] = np.nan
    fitted, saved = run(data)
    assert len(fitted.curves) == 3 and max(saved) == STEPS
    chex.assert_tree_all_finite(saved)


def test_divergence_with_finite_data_advises_another_learning_rate(training, start):
    huge = replace(training, optim=SGD(lr=1e38, clip=1e30))
    state, batch = jax.tree.map(lambda leaf: leaf[0], start), jax.tree.map(lambda leaf: leaf[:SIZE], rows())
    step = jax.jit(huge.step(0))
    metrics = []
    for _ in range(4):
        state, found = step(state, {}, batch)
        metrics.append(found)
    bad = next(number for number, found in enumerate(metrics) if not found["finite"])
    message = diagnose(f"step {bad + 1}, seed 0", metrics[bad], batch)
    assert message.startswith(f"step {bad + 1}, seed 0: not finite: ")
    assert message.endswith("The data of this batch are finite, so training diverged: lower optim.lr or optim.clip")


def test_a_gradient_that_is_not_finite_with_a_finite_loss_is_found(training, start):
    """sqrt(0) is 0, with an infinite gradient; 0 * inf is NaN."""
    rooted = replace(training, loss=lambda outputs, batch: jnp.sqrt(0 * outputs["label"].sum(axis=-1)))
    state, batch = jax.tree.map(lambda leaf: leaf[0], start), jax.tree.map(lambda leaf: leaf[:SIZE], rows())
    _, metrics = jax.jit(rooted.step(0))(state, {}, batch)
    assert metrics["loss"] == 0 and not metrics["finite"]
    assert "not finite: gradient norm, update norm." in diagnose("step 1", metrics, batch)


def test_skipped_steps_leave_the_state_and_are_counted(run):
    fitted, saved = run(spoiled(), wrappers=(skip_nonfinite,))
    step, seed = first_draw()
    order = orders(SEEDS, ROWS, SIZE)
    skipped = np.array([[BAD in order(k)[place] for place in range(2)] for k in range(STEPS)])
    assert skipped.sum() == 2  # once per seed
    counts = np.array([record["skipped"] for record in fitted.curves])
    np.testing.assert_array_equal(counts, skipped.reshape(3, 2, 2).sum(axis=1))
    chex.assert_tree_all_finite([saved, [record["train_loss"] for record in fitted.curves]])
    for k in range(2, STEPS + 1):  # checkpoints of every step
        for place in range(2):
            pick = lambda step, at=place: jax.tree.map(lambda leaf: leaf[at], saved[step])
            same = all(jax.tree.leaves(jax.tree.map(np.array_equal, pick(k - 1), pick(k))))
            assert same == skipped[k - 1, place], (k, place)
    assert skipped[step - 1, seed]


def test_skipping_changes_nothing_for_finite_steps(run):
    plain, skipping = run(rows())[0], run(rows(), wrappers=(skip_nonfinite,))[0]
    chex.assert_trees_all_close(plain.best.variables, skipping.best.variables, rtol=1e-6)
    assert all(record["skipped"] == [0, 0] for record in skipping.curves)


def test_skipping_everything_is_an_error(run):
    data = rows()
    data.inputs["image"][:] = np.nan
    error, saved = run(data, wrappers=(skip_nonfinite,))
    assert isinstance(error, NonFiniteError) and not [step for step in saved if step > 1]
    assert "seed 0: all steps since the last evaluation were skipped as non-finite" in str(error)


def test_skipped_updates_are_not_applied_to_any_part_of_the_state():
    key = jax.random.key(3)
    state = lambda step, x: TrainState(jnp.int32(step), {"w": x}, {"mean": x + 1}, (x + 2,), {"b": x + 3}, key)
    before, bad = state(4, jnp.ones(2)), state(5, jnp.full(2, jnp.nan))
    for finite in (True, False):
        metrics = {"loss": jnp.array(jnp.nan), "finite": jnp.array(finite)}
        step = skip_nonfinite(lambda state, frozen, batch, metrics=metrics: (bad, metrics))
        after, metrics = jax.jit(step)(before, {}, Batch({}, {}, {}, jnp.ones(1)))
        assert after.step == 5 and metrics["skipped"] == (0 if finite else 1)
        chex.assert_trees_all_equal(after.replace(step=0, key=0), (bad if finite else before).replace(step=0, key=0))


def test_which_examples_count():
    x = np.zeros((4, 3, 2), np.float32)
    x[0, 2], x[1, 0, 1], x[2, 1], x[3, 0] = np.nan, np.inf, np.nan, np.nan
    inputs = {"audio": Padded(x, np.array([2, 2, 3, 3])), "text": Padded(np.zeros((4, 3), int), np.full(4, 3))}
    present = {"audio": np.array([True, True, False, True]), "text": np.ones(4, bool)}
    targets = {"score": np.array([np.nan, 0, -np.inf, 1.0]), "label": np.array([-1, 0, 1, 2])}
    found = nonfinite_examples(Batch(inputs, present, targets, np.array([1, 1, np.nan, 0.0])))
    # audio: beyond its length, within it, absent, of weight 0. A missing score is NaN.
    expected = {"input 'audio'": [1, 3], "input 'text'": [], "target 'score'": [2], "target 'label'": [], "the weight": [2]}
    assert {name: np.flatnonzero(bad).tolist() for name, bad in found.items()} == expected


def test_many_rows_are_shortened():
    x = np.full((12, 2), np.nan, np.float32)
    batch = Batch({"image": x}, {"image": np.ones(12, bool)}, {}, np.ones(12))
    line = diagnose("step 1, seed 0", {"loss": np.nan}, batch, np.arange(100, 112))
    assert "input 'image' in rows 100, 101, 102, 103, 104, 105, 106, 107 and 4 more." in line
    assert "input 'image' in positions in the batch 0, 1" in diagnose("step 1, seed 0", {"loss": np.nan}, batch)
