"""Training as a value: model, loss, optimiser, stages and schedule."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import unflatten_dict

from mmjax.train.average import Average
from mmjax.train.parallel import Plan, single
from mmjax.train.seeds import init_seeds
from mmjax.train.stages import Stage, frozen_paths, resolve
from mmjax.train.step import Step, TrainState, init_state, make_step, reset_optimizer
from mmjax.types import Augment, Batch, Gradient, Loss, Optimizer

__all__ = ["MAX_BATCH_BYTES", "MAX_STEPS_PER_CALL", "SMALL", "Schedule", "Training"]

MAX_STEPS_PER_CALL = 32
SMALL = 4_000_000  # parameters of all seeds; in larger models, the time to dispatch a step is negligible
MAX_BATCH_BYTES = 64_000_000  # of the batches of one call


@dataclass(frozen=True)
class Schedule:
    """When a training evaluates and saves. ValueError if a number is below 1.

    steps: number of training steps. evaluate_every, checkpoint_every: steps between evaluations and between checkpoints; both
    also happen after the last step. steps_per_call: steps in one compiled call. select_after: evaluations up to this step
    cannot select the best step.
    """

    steps: int
    evaluate_every: int
    checkpoint_every: int
    steps_per_call: int = 1
    select_after: int = 0

    def __post_init__(self):
        for name in ("steps", "evaluate_every", "checkpoint_every", "steps_per_call"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")

    def chunks(self, first: int, ends: Sequence[int]) -> list[range]:
        """The steps from `first` on, cut into calls. ends: the last steps of stages.

        Cuts depend on the absolute step alone: at multiples of steps_per_call, evaluate_every and checkpoint_every, and at the
        ends of stages. So a resumed run makes the same calls as one without interruption.
        """
        chunks, start = [], first
        while start < self.steps:
            every = (self.steps_per_call, self.evaluate_every, self.checkpoint_every)
            cuts = [(start // n + 1) * n for n in every] + [end for end in (*ends, self.steps) if end > start]
            chunks.append(range(start, min(cuts)))
            start = min(cuts)
        return chunks


@dataclass(frozen=True)
class Training:
    """A training: model, loss, optimiser, schedule, stages and plan.

    optim: number of steps -> optax transformation. stages: in order; () for one stage in which everything learns.
    augment: {name: (batch, key) -> batch}, applied in order. gradient: how the gradient is computed, None for that of the
    sum of the losses. wrappers: functions of a step, such as `skip_nonfinite`, the first one innermost. average: an `Average`
    of the parameters to evaluate and save, None for the parameters. plan: how steps run on devices.
    """

    model: nn.Module
    loss: Loss
    optim: Optimizer
    schedule: Schedule
    stages: tuple[Stage, ...] = ()
    augment: Mapping[str, Augment] = field(default_factory=dict)
    gradient: Gradient | None = None
    wrappers: tuple[Callable[[Step], Step], ...] = ()
    average: Average | None = None
    plan: Plan = field(default_factory=single)

    @property
    def resolved(self) -> tuple[tuple[Stage, range], ...]:
        """The stages with their ranges of steps."""
        return resolve(self.stages, self.schedule.steps)

    def stage_at(self, step: int) -> int:
        """The index of the stage of a step."""
        return next(number for number, (_, steps) in enumerate(self.resolved) if step in steps)

    def optimizer(self, number: int) -> optax.GradientTransformation:
        """The optimiser of a stage. number: its index."""
        stage, steps = self.resolved[number]
        return (stage.optim or self.optim)(len(steps))

    def step(self, number: int) -> Step:
        """The training step of a stage."""
        stage, _ = self.resolved[number]
        tx, loss = self.optimizer(number), stage.loss or self.loss
        step = make_step(self.model, loss, tx, self.augment, self.gradient, stage.learns, self.plan.gather)
        for wrap in self.wrappers:
            step = wrap(step)
        return step if self.average is None else self.average(step)

    def reset(self, state: TrainState, number: int) -> TrainState:
        """The state of one seed at the start of a stage."""
        return reset_optimizer(state, self.optimizer(number), self.resolved[number][0].learns, self.gradient)

    def init(
        self, seeds: Sequence[int], batch: Batch, pretrained: Mapping[str, Any] | None = None
    ) -> tuple[TrainState, dict[str, Any]]:
        """(states of all seeds [s ...], frozen variables without a seed axis); both for `Plan.place`.

        batch: [b ...], of one seed: arrays, or shapes and dtypes alone. pretrained: {path: array}, such as
        `pretrained.init.read_weights` returns. The pretrained variables that never change (see `frozen_paths`) are the frozen
        variables.
        """
        pretrained, shared = dict(pretrained or {}), self._shared(batch, pretrained)
        copied = {path: leaf for path, leaf in pretrained.items() if path not in shared}
        learns = self.resolved[0][0].learns
        arguments = self.model, self.optimizer(0), seeds, batch, self.gradient, learns, copied, shared
        state = init_seeds(*arguments, plan=self.plan)
        if self.average is not None:
            state = state.replace(average=jax.tree.map(jnp.copy, state.params))
        return state, self.frozen(batch, pretrained)

    def frozen(self, batch: Batch, pretrained: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The frozen variables that `init` returns, without computing a state."""
        return unflatten_dict({path: pretrained[path] for path in sorted(self._shared(batch, pretrained))}, sep="/")

    def _shared(self, batch: Batch, pretrained: Mapping[str, Any] | None) -> frozenset[str]:
        """The paths of the frozen variables."""
        if not pretrained:
            return frozenset()
        shapes = jax.eval_shape(self.model.init, jax.random.key(0), batch)
        return frozen_paths(shapes, pretrained, [stage for stage, _ in self.resolved])

    def dry_run(self, batch: Batch) -> TrainState:
        """One step of each stage by shapes alone. Errors of modules, losses, optimisers and stages pass through."""

        def run(batch):
            state = init_state(self.model, self.optimizer(0), jax.random.key(0), batch, self.gradient)
            for number in range(len(self.resolved)):
                state, _ = self.step(number)(self.reset(state, number), {}, batch)
            return state

        return jax.eval_shape(run, batch)

    def automatic_steps_per_call(self, state: TrainState, frozen: Any, batch: Batch) -> int:
        """Steps per call by the size of the model: several for small models, where dispatch takes a noticeable share of a
        step; 1 for large ones. The number divides all distances between evaluations, checkpoints and stages, so that one
        program is compiled per stage. batch: [b ...], of one seed."""
        size = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))
        seeds = state.step.shape[0]
        batch_bytes = seeds * sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(batch))
        if size((state.params, frozen)) > SMALL:
            return 1
        schedule = self.schedule
        distance = math.gcd(schedule.evaluate_every, schedule.checkpoint_every, *(steps.stop for _, steps in self.resolved))
        limit = min(MAX_STEPS_PER_CALL, MAX_BATCH_BYTES // max(batch_bytes, 1))
        return max((n for n in range(1, limit + 1) if distance % n == 0), default=1)
