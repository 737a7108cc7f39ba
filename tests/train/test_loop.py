"""A run that is stopped after any step and resumed is the run that was never stopped, bit for bit."""

import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from mmjax.train.checkpoint import CheckpointError, Checkpoints
from mmjax.train.loop import Schedule, Stopped, StopRequest, Watch, differences, fit
from mmjax.train.seeds import init_seeds
from tests.train.toy import Toy

SEEDS, STEPS = (0, 1), 5
SCHEDULE = Schedule(STEPS, evaluate_every=2, checkpoint_every=3)
ABOUT = {"optim": {"lr": 0.02}, "seeds": 2}


@pytest.fixture(scope="module")
def toy():
    return Toy(modalities=("image",), batch=4, steps=STEPS)


@pytest.fixture(scope="module")
def run(toy):
    """(folder, after which step to stop) -> (Fit, steps that the loop told of, points of the curves)."""
    leg, start = toy.leg(), init_seeds(toy.model, toy.tx, SEEDS, toy.one_seed())

    def validate(params):  # any function of the parameters will do; that of seed 0 goes up and down
        total = sum(jnp.sum(jnp.cos(40 * leaf), axis=range(1, leaf.ndim)) for leaf in jax.tree.leaves(params))
        return {"loss": np.asarray(total), "accuracy": np.round(np.asarray(jnp.sin(total)), 1)}

    def train(folder, stop_after=None, about=ABOUT, schedule=SCHEDULE, late=False):
        checkpoints, told, points, stop = Checkpoints(folder), [], [], StopRequest()

        def heard(step):
            told.append(step)
            stop.asked = stop.asked or late

        def batches(first):
            for step, batch in enumerate(toy.batches(SEEDS)(first), first + 1):
                stop.asked = stop.asked or step == stop_after  # while step `stop_after` runs
                yield batch

        state = jax.tree.map(jnp.copy, start)
        try:
            fitted = fit(
                lambda step: leg, state, batches, validate, schedule, checkpoints, about, stop, Watch(heard, points.append)
            )
        finally:
            checkpoints.close()
        return fitted, told, points

    return train


def contents(folder):
    """Names and bytes of every array in the newest checkpoint."""
    checkpoints = Checkpoints(folder)
    tree = checkpoints._manager.restore(checkpoints.latest(), args=ocp.args.Composite(tree=ocp.args.StandardRestore()))[
        "tree"
    ]
    checkpoints.close()
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): np.asarray(leaf).tobytes() for path, leaf in leaves}


@pytest.fixture(scope="module")
def undisturbed(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    return (*run(folder), contents(folder))


def assert_same(fitted, expected):
    assert fitted.curves == expected.curves
    bits = lambda fit: [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(fit.best)]
    assert bits(fitted) == bits(expected)


def test_the_loop_tells_what_it_did(undisturbed):
    fitted, told, points, saved = undisturbed
    assert told == [1, 2, 3, 4, 5]
    assert [point["step"] for point in points] == [2, 4, 5]  # every second, and the last
    assert fitted.curves == points
    assert any("params" in name for name in saved) and any("opt_state" in name for name in saved)
    # The training moved the parameters at every step, else "bit for bit" below would be nothing.
    losses = np.array([point["train_loss"] for point in points])
    assert len(set(losses.ravel())) == losses.size


@pytest.mark.parametrize("after", range(1, STEPS))
def test_stopped_and_resumed_equals_undisturbed(run, undisturbed, after, tmp_path):
    expected, _, _, saved = undisturbed
    with pytest.raises(Stopped, match=f"after step {after} of {STEPS}"):
        run(tmp_path, stop_after=after)
    fitted, told, _ = run(tmp_path)
    assert told == list(range(after + 1, STEPS + 1))  # no step is done twice
    assert_same(fitted, expected)
    assert contents(tmp_path) == saved
    assert fitted.seconds > 0


def test_stopped_after_every_step(run, undisturbed, tmp_path):
    for after in range(1, STEPS):
        with pytest.raises(Stopped):
            run(tmp_path, stop_after=after)
    fitted, told, _ = run(tmp_path)
    assert told == [STEPS]
    assert_same(fitted, undisturbed[0])


def test_a_finished_run_is_not_trained_again(run, undisturbed, tmp_path):
    run(tmp_path)
    fitted, told, points = run(tmp_path)
    assert told == points == []
    assert_same(fitted, undisturbed[0])


def test_asked_after_the_moment_of_saving_nothing_is_lost(run, undisturbed, tmp_path):
    """The signal may come between the saving of one step and the next: it then stops after the next, which is saved."""
    with pytest.raises(Stopped, match="after step 2 of"):
        run(tmp_path, late=True)
    fitted, told, _ = run(tmp_path)
    assert told == [3, 4, 5]
    assert_same(fitted, undisturbed[0])


def test_asked_during_the_last_step_it_just_ends(run, undisturbed, tmp_path):
    fitted, _, _ = run(tmp_path, stop_after=STEPS)
    assert_same(fitted, undisturbed[0])


def test_how_often_checkpoints_are_written_changes_nothing(run, undisturbed, tmp_path):
    fitted, _, _ = run(tmp_path, schedule=Schedule(STEPS, 2, 1))
    assert_same(fitted, undisturbed[0])


def test_another_experiment_is_refused_and_the_difference_named(run, tmp_path):
    with pytest.raises(Stopped):
        run(tmp_path, stop_after=1)
    with pytest.raises(CheckpointError, match=r"another experiment: optim\.lr was 0\.02 and is 0\.5\."):
        run(tmp_path, about={"optim": {"lr": 0.5}, "seeds": 2})


def test_signals_ask_and_do_not_kill():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    for number in (signal.SIGTERM, signal.SIGINT):
        with StopRequest() as stop:
            assert not stop.asked
            os.kill(os.getpid(), number)
            assert stop.asked
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_a_second_signal_acts_as_ever():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs start with it ignored
    try:
        _signal_twice()
    finally:
        signal.signal(signal.SIGINT, before)


def _signal_twice():
    with StopRequest() as stop, pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.asked
        os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(
    ("then", "now", "lines"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, ["a.c was 2 and is 3"]),
        ({"a": 1}, {}, ["a was 1 and is None"]),
        ({}, {"b": [1]}, ["b was None and is [1]"]),
        ({"a": [1, 2]}, {"a": [1, 3]}, ["a was [1, 2] and is [1, 3]"]),
        ({"a": {"x": 1}}, {"a": 2}, ["a was {'x': 1} and is 2"]),
    ],
)
def test_differences(then, now, lines):
    assert differences(then, now) == lines
