"""The training loop: trains all seeds of one cell to the last step, resuming from its newest checkpoint."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from mmjax.train.checkpoint import Checkpoints
from mmjax.train.monitor import Monitor
from mmjax.train.seeds import Best, keep_best, no_best
from mmjax.train.step import TrainState
from mmjax.train.training import Training
from mmjax.types import Batch

__all__ = ["Callbacks", "Fit", "Stopped", "TrainData", "fit"]


class Stopped(Exception):
    """Training stopped on request, after a checkpoint."""


@dataclasses.dataclass(frozen=True)
class TrainData:
    """The batches of a training run.

    batches: chunks of steps -> one Batch [k s b ...] per chunk of k steps (see `data.feed.Feed.chunks`).
    rows: step -> Int[s b], the rows of the training split in a step's batches. seeds: their numbers, None for 0, 1, ...
    Error messages use both.
    """

    batches: Callable[[Sequence[range]], Iterator[Batch]]
    rows: Callable[[int], np.ndarray] | None = None
    seeds: Sequence[int] | None = None


@dataclasses.dataclass(frozen=True)
class Callbacks:
    """Callbacks of the training loop. step: called with the number of steps dispatched so far. evaluated: called with each new
    record of the learning curve. stop: whether to stop after the current call."""

    step: Callable[[int], None] = lambda step: None
    evaluated: Callable[[dict[str, Any]], None] = lambda record: None
    stop: Callable[[], bool] = lambda: False


@dataclasses.dataclass(frozen=True)
class Fit:
    """The result of training. best: each seed's best step. curves: one record per evaluation. seconds: of training, including
    the time before a resume."""

    best: Best
    curves: list[dict[str, Any]]
    seconds: float


def fit(
    training: Training,
    state: TrainState,
    frozen: Any,
    data: TrainData,
    validate: Callable[[Any], Mapping[str, np.ndarray]],
    checkpoints: Checkpoints,
    callbacks: Callbacks = Callbacks(),
) -> Fit:
    """Trains to the last step and returns the best variables of each seed.

    state: [s ...], from `Training.init` under the same plan; it may be overwritten. frozen: as placed by the plan. validate:
    placed variables -> {"score": Float[s], higher is better; "loss": Float[s]; further numbers Float[s]}. Score and loss select
    the best step (see `keep_best`).

    A record of the learning curve has "step" and, for each seed, "train_loss", "train_loss/<name>", "gradient_norm" and
    "update_norm", all means since the last evaluation, "skipped", the number of skipped steps, and "validation_<name>".

    Raises Stopped after a checkpoint if `callbacks.stop` asks for it, NonFiniteError at the first non-finite step (unless
    `skip_nonfinite` wraps the step), and CheckpointError.
    """
    schedule = training.schedule
    run = _Run(training, frozen, data, validate, checkpoints)
    chunks = schedule.chunks(run.restore(state), [steps.stop for _, steps in training.resolved])
    if not chunks:
        callbacks.step(schedule.steps)
    for chunk, batches in zip(chunks, data.batches(chunks)):
        run.train(chunk, batches)
        done, last = chunk.stop, chunk.stop == schedule.steps
        asked = callbacks.stop()  # read once: a later request is handled after the next call
        if done % schedule.evaluate_every == 0 or last:
            callbacks.evaluated(run.evaluate(done))
        if done % schedule.checkpoint_every == 0 or last or asked:
            run.save(done)
        callbacks.step(done)
        if asked or last:
            checkpoints.wait()
        if asked and not last:
            raise Stopped(f"stopped after step {done} of {schedule.steps}")
    return Fit(run.best, run.curves, run.seconds)


class _Run:
    """The mutable state of `fit`."""

    def __init__(self, training: Training, frozen: Any, data: TrainData, validate: Callable, checkpoints: Checkpoints):
        self.training, self.frozen, self.validate, self.checkpoints = training, frozen, validate, checkpoints
        self.monitor = Monitor(training.schedule.steps, data.rows, data.seeds)
        self.curves: list[dict[str, Any]] = []
        self.began, self.seconds_before = time.monotonic(), 0.0
        self.placed: Any = None
        self.run_steps: Callable | None = None

    @property
    def seconds(self) -> float:
        """Of training so far, including the time before a resume."""
        return self.seconds_before + time.monotonic() - self.began

    def restore(self, state: TrainState) -> int:
        """Restores the newest checkpoint, or starts from `state` without one. Returns the number of steps taken so far."""
        self.state, self.best = state, no_best(state)
        if self.checkpoints.latest() is None:
            return 0

        def like(step):
            number = self.training.stage_at(step - 1)
            return jax.eval_shape(jax.vmap(lambda one: self.training.reset(one, number)), state), self.best

        self.state, self.best, notes = self.checkpoints.restore(like)
        self.curves, self.monitor.sums, self.seconds_before = notes["curves"], notes["sums"], notes["seconds"]
        return int(np.ravel(self.state.step)[0])

    def train(self, chunk: range, batches: Batch) -> None:
        """Takes the steps of one chunk in one compiled call."""
        plan, number = self.training.plan, self.training.stage_at(chunk.start)
        starts = chunk.start == self.training.resolved[number][1].start > 0  # `Training.init` prepares the first stage
        if starts:
            placed = plan.place(self.state) if self.placed is None else self.placed
            self.state = plan.compute(jax.vmap(lambda one: self.training.reset(one, number)), placed)
        if starts or self.placed is None:
            self.placed, self.run_steps = plan.place(self.state), plan.train(self.training.step(number))
            self.state = None  # the steps overwrite it
        self.placed, metrics = self.run_steps(self.placed, self.frozen, batches)
        self.monitor.add(chunk, batches, metrics)

    def evaluate(self, done: int) -> dict[str, Any]:
        """Validates after `done` steps and updates the best step of each seed. Returns the new record of the learning curve."""
        means = self.monitor.means()
        scores = {name: np.asarray(value, np.float64) for name, value in self.validate(self.placed.variables).items()}
        if done > self.training.schedule.select_after:
            fetch = lambda: self.training.plan.fetch(self.placed.variables)
            self.best = keep_best(self.best, done, scores["score"], scores["loss"], fetch)
        record = means | {f"validation_{name}": value for name, value in scores.items()}
        self.curves.append({"step": done} | {name: value.tolist() for name, value in record.items()})
        return self.curves[-1]

    def save(self, done: int) -> None:
        """Begins to write a checkpoint, after the check that all steps so far were finite."""
        self.monitor.settle()
        notes = {"curves": self.curves, "sums": self.monitor.sums, "seconds": self.seconds}
        self.checkpoints.save(done, self.training.plan.fetch(self.placed), self.best, notes)
