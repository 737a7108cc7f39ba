"""A run that is stopped and resumed equals the uninterrupted run, bit for bit; several steps per call equal single steps."""

import gc
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from mmjax.describe import differences
from mmjax.train.checkpoint import CheckpointError, Checkpoints
from mmjax.train.loop import Callbacks, Stopped, fit
from mmjax.train.stop import StopRequest, stopped_at_once
from mmjax.train.training import Schedule
from mmjax.types import Batch
from tests.train.toy import Toy

SEEDS, STEPS = (0, 1), 6
METADATA = {"optim": {"lr": 0.02}, "seeds": 2}


@pytest.fixture(scope="module")
def toy():
    return Toy(modalities=("image",), batch=4, steps=STEPS)


def validate(variables):
    """Any function of the parameters; the best step of seed 0 is not the last one."""
    total = sum(jnp.sum(jnp.cos(40 * leaf), axis=range(1, leaf.ndim)) for leaf in jax.tree.leaves(variables["params"]))
    return {"loss": np.asarray(total), "score": np.round(np.asarray(jnp.sin(total)), 1)}


@pytest.fixture(scope="module")
def run(toy):
    """(folder, call after which to stop) -> (Fit, steps reported, records reported)."""
    start, _ = toy.training.init(SEEDS, toy.one_seed())
    compiled = toy.training.plan.train(toy.training.step(0))  # shared by all runs
    plan = toy.training.plan._replace(train=lambda step: compiled)

    def train(folder, stop_after=None, metadata=METADATA, late=False, **changes):
        checkpoints, reported, records, asked = Checkpoints(folder, metadata), [], [], []
        schedule = replace(toy.training.schedule, **changes)
        training = replace(toy.training, schedule=schedule, plan=plan)

        def on_step(step):
            reported.append(step)
            if late:
                asked.append(step)

        callbacks = Callbacks(on_step, records.append, lambda: bool(asked) or (len(reported) + 1 == stop_after))
        state = jax.tree.map(jnp.copy, start)
        try:
            fitted = fit(training, state, {}, toy.train_data(SEEDS), validate, checkpoints, callbacks)
        finally:
            checkpoints.close()
        return fitted, reported, records

    return train


def contents(folder):
    """Paths and bytes of all arrays in the newest checkpoint."""
    checkpoints = Checkpoints(folder)
    step, args = checkpoints.latest(), ocp.args.Composite(tree=ocp.args.StandardRestore())
    tree = checkpoints._manager.restore(step, args=args)["tree"]
    checkpoints.close()
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): np.asarray(leaf).tobytes() for path, leaf in leaves}


@pytest.fixture(scope="module")
def uninterrupted(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    return (*run(folder), contents(folder))


def assert_same(fitted, expected):
    assert fitted.curves == expected.curves
    bits = lambda fit: [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(fit.best)]
    assert bits(fitted) == bits(expected)


def test_callbacks_and_curves(uninterrupted):
    fitted, reported, records, saved = uninterrupted
    assert reported == [1, 2, 3, 4, 5, 6]
    assert [record["step"] for record in records] == [2, 4, 6]
    assert fitted.curves == records
    names = {"step", "train_loss", "gradient_norm", "update_norm", "validation_loss", "validation_score"}
    assert all(set(record) == names for record in records)
    assert any("params" in name for name in saved) and any("opt_state" in name for name in saved)
    # Every step changed the parameters, without which "bit for bit" below would be trivial.
    losses = np.array([record["train_loss"] for record in records])
    assert len(set(losses.ravel())) == losses.size and np.array([record["update_norm"] for record in records]).min() > 0


@pytest.mark.parametrize("after", range(1, STEPS))
def test_stopped_and_resumed_equals_uninterrupted(run, uninterrupted, after, tmp_path):
    expected, _, _, saved = uninterrupted
    with pytest.raises(Stopped, match=f"after step {after} of {STEPS}"):
        run(tmp_path, stop_after=after)
    fitted, reported, _ = run(tmp_path)
    assert reported == list(range(after + 1, STEPS + 1))  # no step is repeated
    assert_same(fitted, expected)
    assert contents(tmp_path) == saved
    assert fitted.seconds > 0


def test_stopped_after_every_step(run, uninterrupted, tmp_path):
    for _ in range(1, STEPS):
        with pytest.raises(Stopped):
            run(tmp_path, stop_after=1)
    fitted, reported, _ = run(tmp_path)
    assert reported == [STEPS]
    assert_same(fitted, uninterrupted[0])


def test_a_finished_run_is_not_trained_again(run, uninterrupted, tmp_path):
    run(tmp_path)
    fitted, reported, records = run(tmp_path)
    assert reported == [6] and records == []  # the progress shows that all steps are taken
    assert_same(fitted, uninterrupted[0])


def test_a_request_after_a_call_was_saved_stops_after_the_next_one(run, uninterrupted, tmp_path):
    with pytest.raises(Stopped, match="after step 2 of"):
        run(tmp_path, late=True)
    fitted, reported, _ = run(tmp_path)
    assert reported == [3, 4, 5, 6]
    assert_same(fitted, uninterrupted[0])


def test_a_request_during_the_last_step_changes_nothing(run, uninterrupted, tmp_path):
    fitted, _, _ = run(tmp_path, stop_after=STEPS)
    assert_same(fitted, uninterrupted[0])


def test_the_number_of_checkpoints_changes_nothing(run, uninterrupted, tmp_path):
    fitted, _, _ = run(tmp_path, checkpoint_every=1)
    assert_same(fitted, uninterrupted[0])


@pytest.fixture(scope="module")
def three_per_call(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("three")
    return (*run(folder, evaluate_every=3, steps_per_call=3), contents(folder))


def test_several_steps_per_call_equal_single_steps(run, three_per_call, tmp_path):
    fitted, reported, _, _ = three_per_call
    assert reported == [3, 6]
    single, _, _ = run(tmp_path, evaluate_every=3)
    chex.assert_trees_all_close(fitted.best.variables, single.best.variables, rtol=1e-4, atol=1e-5)
    for several, one in zip(fitted.curves, single.curves, strict=True):
        for name in ("step", "train_loss", "gradient_norm", "update_norm"):
            np.testing.assert_allclose(several[name], one[name], rtol=1e-4, err_msg=name)


def test_stopped_between_calls_of_several_steps(run, three_per_call, tmp_path):
    with pytest.raises(Stopped, match="after step 3 of 6"):
        run(tmp_path, stop_after=1, evaluate_every=3, steps_per_call=3)
    fitted, reported, _ = run(tmp_path, evaluate_every=3, steps_per_call=3)
    assert reported == [6]
    assert_same(fitted, three_per_call[0])
    assert contents(tmp_path) == three_per_call[3]


def test_chunks_by_hand():
    starts = lambda schedule, first, ends=(): [(c.start, c.stop) for c in schedule.chunks(first, ends)]
    assert starts(Schedule(6, 3, 6, 3), 0) == [(0, 3), (3, 6)]
    assert starts(Schedule(7, 4, 100, 3), 0) == [(0, 3), (3, 4), (4, 6), (6, 7)]
    assert starts(Schedule(7, 100, 100, 3), 0, (2, 7)) == [(0, 2), (2, 3), (3, 6), (6, 7)]
    assert starts(Schedule(7, 4, 100, 3), 4) == [(4, 6), (6, 7)]  # as in the run from step 0
    assert starts(Schedule(7, 4, 100, 3), 7) == []
    for name in ("steps", "evaluate_every", "checkpoint_every", "steps_per_call"):
        with pytest.raises(ValueError, match=f"{name} is 0; it must be at least 1"):
            replace(Schedule(1, 1, 1), **{name: 0})


def test_automatic_steps_per_call_divides_all_distances(toy):
    state, _ = toy.training.init(SEEDS, toy.one_seed())
    choose = lambda training: training.automatic_steps_per_call(state, {}, toy.one_seed())
    with_schedule = lambda *schedule: replace(toy.training, schedule=Schedule(*schedule))
    assert choose(toy.training) == 1  # evaluated every 2 steps, saved every 3
    assert choose(with_schedule(300, 25, 100)) == 25
    assert choose(with_schedule(1000, 100, 100)) == 25  # the largest divisor of 100 up to 32
    large = toy.training.automatic_steps_per_call
    assert large(state, {"params": np.zeros(5_000_000)}, toy.one_seed()) == 1
    images = Batch({"image": jax.ShapeDtypeStruct((5_000_000,), jnp.float32)}, {}, {}, np.ones(1))  # 20 MB, 40 for two seeds
    assert with_schedule(300, 25, 100).automatic_steps_per_call(state, {}, images) == 1


def test_another_experiment_is_refused_and_the_difference_named(run, tmp_path):
    with pytest.raises(Stopped):
        run(tmp_path, stop_after=1)
    with pytest.raises(CheckpointError, match=r"another experiment: optim\.lr was 0\.02 and is 0\.5\."):
        run(tmp_path, metadata={"optim": {"lr": 0.5}, "seeds": 2})


def test_the_best_step_is_on_the_host_and_selected_late(run, uninterrupted, tmp_path):
    assert all(type(leaf) is np.ndarray for leaf in jax.tree.leaves(uninterrupted[0].best))
    fitted, _, _ = run(tmp_path, select_after=4)
    assert fitted.best.step.tolist() == [6, 6]
    assert uninterrupted[0].best.step.tolist() != [6, 6]


def test_signals_ask_and_do_not_kill():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    for number in (signal.SIGTERM, signal.SIGINT):
        with StopRequest() as stop:
            assert not stop.asked
            os.kill(os.getpid(), number)
            assert stop.asked
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_acts_as_usual(first):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs start with it ignored
    try:
        with StopRequest() as stop, pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), first)
            assert stop.asked
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def interrupt(*phase):
    """A signal arrives while an object is finalized, or while garbage is collected."""
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.001)


@pytest.mark.parametrize("where", ["finalizer", "collection", "second"])
def test_a_signal_is_repeated_if_python_ignored_its_exception(where, capsys, monkeypatch):
    """second: of two signals in a `StopRequest`, whose thread must not take the repeated one for a third."""
    before, ended = signal.signal(signal.SIGINT, signal.default_int_handler), []
    monkeypatch.setattr(os, "_exit", ended.append)
    try:
        with pytest.raises(SystemExit) as end, stopped_at_once():
            if where == "collection":
                gc.callbacks.append(interrupt)
                gc.collect(0)
            with StopRequest() if where == "second" else nullcontext():
                if where == "second":
                    interrupt()
                if where != "collection":
                    type("Finalized", (), {"__del__": interrupt})()
                time.sleep(10)
            pytest.fail("the signal was lost")
    finally:
        gc.callbacks[:] = [callback for callback in gc.callbacks if callback is not interrupt]
        signal.signal(signal.SIGINT, before)
    assert end.value.code == 130 and not ended
    line = "stopped at once; continue from the last checkpoint with the same command and --resume"
    assert capsys.readouterr().err.splitlines() == [line]


def test_a_signal_is_acknowledged_while_the_interpreter_is_busy():
    """In a long call, such as a compilation, Python runs no signal handlers; a second signal ends the process."""
    code = """
import hashlib
from mmjax.train.stop import StopRequest
with StopRequest(lambda: print("acknowledged", flush=True)):
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 1_000_000_000)  # minutes in one call
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        time.sleep(1)  # until it is in the call
        for line in ("acknowledged\n", ""):
            process.send_signal(signal.SIGTERM)
            assert process.stdout.readline() == line
    assert process.returncode == 128 + signal.SIGTERM


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
