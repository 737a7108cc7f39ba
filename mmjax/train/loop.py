"""Trains all seeds of one cell to the end of its budget, from wherever its checkpoints left off."""

import dataclasses
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.train.checkpoint import CheckpointError, Checkpoints
from mmjax.train.parallel import Plan
from mmjax.train.seeds import Best, keep_best, no_best
from mmjax.train.step import TrainState
from mmjax.types import Batch


class Stopped(Exception):
    """Training was asked to stop; everything up to this moment is in a checkpoint."""


class StopRequest:
    """While entered, SIGINT and SIGTERM do not kill: they set `asked`, and the loop stops after a checkpoint."""

    asked = False

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        signal.signal(number, self._before[number])  # a second signal acts as ever

    def __enter__(self) -> "StopRequest":
        self._before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *error: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


@dataclasses.dataclass(frozen=True)
class Schedule:
    """steps in all; evaluate_every, checkpoint_every: steps in between. The last step is always evaluated."""

    steps: int
    evaluate_every: int
    checkpoint_every: int


@dataclasses.dataclass(frozen=True)
class Fit:
    """What training gives: the best variables of each seed [s ...], and how it went; seconds counts all parts of the run."""

    best: Best
    curves: list[dict[str, Any]]
    seconds: float


@dataclasses.dataclass(frozen=True)
class Watch:
    """Whom the loop tells: step(step) after each one, evaluated(record of the learning curve)."""

    step: Callable[[int], None] = lambda step: None
    evaluated: Callable[[dict[str, Any]], None] = lambda record: None


class Leg(NamedTuple):
    """One stage as the loop runs it. first: its first step; begin: state [s ...] -> the same with a fresh optimiser's state;
    plan: how its steps run."""

    first: int
    begin: Callable[[TrainState], TrainState]
    plan: Plan


def fit(
    leg_at: Callable[[int], Leg],
    state: TrainState,
    batches_from: Callable[[int], Iterator[Batch]],
    validate: Callable[[Any], Mapping[str, np.ndarray]],
    schedule: Schedule,
    checkpoints: Checkpoints,
    about: Mapping[str, Any],
    stop: StopRequest,
    watch: Watch,
    eligible: int = 0,
) -> Fit:
    """Trains to the end and returns each seed's best variables on validation; raises Stopped after a checkpoint.

    eligible: the step after which an evaluation may be the best one; before it, what is scored has not begun to learn.

    leg_at: step -> the stage in which it lies. state: of all seeds [s ...], before the first step.
    batches_from: step -> batches [s b ...] from that step on.
    validate: variables [s ...] -> {"loss", "accuracy"} Float[s]; the best step is that of the highest accuracy, and among
    equals of the lowest loss. about: JSON that must be equal for a checkpoint to be continued.
    """
    best, window = no_best(state), jnp.zeros(state.step.shape)
    curves, first, spent, began = [], 0, 0.0, time.monotonic()
    if checkpoints.latest() is not None:

        def like(notes):
            _check_same(about, notes["about"], checkpoints)  # before the stages of another experiment are asked for
            return leg_at(notes["next_step"] - 1).begin(state), best, window

        (state, best, window), notes = checkpoints.restore(like)
        curves, first, spent = notes["curves"], notes["next_step"], notes["seconds"]
    seconds = lambda: spent + time.monotonic() - began

    def save(done: int, placed: Any) -> None:
        notes = {"about": about, "curves": curves, "next_step": done, "seconds": seconds()}
        checkpoints.save(done, (leg.plan.fetch(placed), best, window), notes)

    placed, since = None, curves[-1]["step"] if curves else 0
    for step, batch in zip(range(first, schedule.steps), batches_from(first)):
        jax.block_until_ready(window)  # one step ahead of the device is enough, and what the progress shows is true
        leg = leg_at(step)
        if step == leg.first:
            state = leg.begin(state if placed is None else leg_at(step - 1).plan.fetch(placed))
        if placed is None or step == leg.first:
            placed = leg.plan.place(state)
        placed, loss = leg.plan.run(placed, batch)
        window, done = window + loss, step + 1
        if done % schedule.evaluate_every == 0 or done == schedule.steps:
            state = leg.plan.fetch(placed)
            scores = validate(state.variables)
            if done > eligible:
                best = keep_best(best, state, jnp.asarray(_score(scores)))
            curves.append(_record(done, window / (done - since), scores))
            window, since = jnp.zeros_like(window), done
            watch.evaluated(curves[-1])
        asked = stop.asked  # read once: who asks after this is heard after the next step, when it is saved too
        if done % schedule.checkpoint_every == 0 or done == schedule.steps or asked:
            save(done, placed)
        watch.step(done)
        if asked and done < schedule.steps:
            raise Stopped(f"stopped after step {done} of {schedule.steps}")
    return Fit(jax.block_until_ready(best), curves, seconds())


def _score(scores: Mapping[str, np.ndarray]) -> np.ndarray:
    """Accuracy; among equals the lower loss: up to 1e-4, which is less than one of 10,000 validation examples."""
    return scores["accuracy"] - 1e-6 * np.minimum(scores["loss"], 100)


def _record(step: int, loss: Any, scores: Mapping[str, np.ndarray]) -> dict[str, Any]:
    numbers = {"train_loss": loss} | {f"validation_{name}": value for name, value in scores.items()}
    return {"step": step} | {name: np.asarray(value, np.float64).tolist() for name, value in numbers.items()}


def _check_same(now: Mapping[str, Any], then: Mapping[str, Any], checkpoints: Checkpoints) -> None:
    differing = differences(then, now)
    if differing:
        raise CheckpointError(
            f"{checkpoints.folder} belongs to another experiment: {'; '.join(differing[:5])}. Give the same values to "
            "resume it, or another --out"
        )


def differences(then: Any, now: Any, path: str = "") -> list[str]:
    """Where two JSON values differ, in words: "optim.lr was 0.001 and is 0.01"."""
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        return [
            line
            for key in sorted(then.keys() | now.keys())
            for line in differences(then.get(key), now.get(key), f"{path}.{key}" if path else key)
        ]
    return [] if then == now else [f"{path} was {then} and is {now}"]
