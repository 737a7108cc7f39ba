"""APGD: projected gradient descent with momentum and a step size that adapts to each example."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from mmjax.robust.attacks import (
    Changes,
    active,
    ascended,
    best_of,
    better,
    changed,
    loss_and_gradient,
    no_change,
    random_change,
)
from mmjax.robust.budgets import require
from mmjax.robust.changes import as_axis
from mmjax.types import Batch, Values

__all__ = ["APGD", "MOMENTUM", "SUFFICIENT", "checkpoints", "halved"]

MOMENTUM = 0.75  # alpha of equation 1
SUFFICIENT = 0.75  # rho of condition 1


def checkpoints(steps: int) -> tuple[int, ...]:
    """w_1, w_2, ... < steps, the steps after which step sizes may be halved (section 3.1):

    w_j = ceil(p_j steps), p_0 = 0, p_1 = 0.22, p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06).
    """
    shares = [0.0, 0.22]
    while shares[-1] < 1:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    return tuple(sorted({w for w in (math.ceil(share * steps - 1e-9) for share in shares[1:]) if w < steps}))


@dataclass(frozen=True)
class APGD:
    """Auto-PGD (Croce and Hein, ICML 2020, algorithm 1) on the loss of the experiment; with cross-entropy it is APGD-CE.

    A step moves by alpha (z - x) + (1 - alpha) (x - x_before), with z the projected steepest step and alpha = 0.75. The step
    size starts at twice the budget. At each of the `checkpoints`, it is halved for an example if fewer than three quarters of
    the steps since the last one increased its loss, or if neither its step size nor its best loss has changed since; the
    example then restarts from its best point. The result is the best point of each example over all steps and restarts.

    budgets: {modality: budget}, with one step size for all. steps: number of steps. random_start, restarts: as in `PGD`.
    """

    budgets: Mapping[str, Any]
    steps: int = 20
    random_start: bool = True
    restarts: int = 1

    def __post_init__(self):
        require(self.steps >= 0, f"APGD.steps is {self.steps}; it must be at least 0")
        require(self.restarts >= 1, f"APGD.restarts is {self.restarts}; it must be at least 1")
        useful = self.random_start or self.restarts == 1
        require(useful, f"APGD.restarts is {self.restarts}, but without random_start all starts are equal; give 1")

    def __call__(self, values: Values, batch: Batch, key: Key[Array, ""]) -> Batch:
        budgets = active(self.budgets, batch)
        if not budgets or self.steps == 0:
            return batch
        nothing = no_change(batch, budgets)

        def run(key):
            return self.ascend(values, batch, budgets, random_change(batch, budgets, key) if self.random_start else nothing)

        return changed(batch, budgets, best_of(self.restarts, run, nothing, key))

    def ascend(
        self, values: Values, batch: Batch, budgets: Mapping[str, Any], start: Changes
    ) -> tuple[Changes, Float[Array, " b"]]:
        """(changes of the highest loss, this loss) from one start."""
        loss, gradient = loss_and_gradient(values, batch, budgets, start)
        zeros = jnp.zeros(loss.shape, jnp.int32)
        state = {
            "here": (start, gradient),
            "before": start,
            "loss": loss,
            "best": ((start, gradient), loss),
            "size": jnp.full(loss.shape, 2.0),
            "improved": zeros,
            "last": (jnp.full(loss.shape, 2.0), loss),  # step size and best loss at the last checkpoint
        }
        at = checkpoints(self.steps)
        since = np.zeros(self.steps, np.int32)  # steps since the last checkpoint, 0 except at checkpoints
        since[np.array(at, int) - 1] = np.diff((0, *at))

        def step(number, state):
            (here, gradient), size = state["here"], state["size"]
            target = ascended(batch, budgets, here, gradient, size)
            share = jnp.where(number == 0, 1.0, MOMENTUM)  # the first step has no momentum

            def move(name, budget):
                ahead, back = target[name] - here[name], here[name] - state["before"][name]
                return budget.project(batch.inputs[name], here[name] + share * ahead + (1 - share) * back)

            there = {name: move(name, budget) for name, budget in budgets.items()}
            loss, gradient = loss_and_gradient(values, batch, budgets, there)
            state = state | {
                "here": (there, gradient),
                "before": here,
                "loss": loss,
                "best": better(((there, gradient), loss), state["best"]),
                "improved": state["improved"] + (loss > state["loss"]),
            }
            return halved(state, jnp.asarray(since)[number])

        (changes, _), loss = jax.lax.fori_loop(0, self.steps, step, state)["best"]
        return changes, loss


def halved(state: dict[str, Any], since: Int[Array, ""]) -> dict[str, Any]:
    """The state after a checkpoint, conditions 1 and 2 of the paper; unchanged if `since`, its distance to the last, is 0."""
    size, best_loss = state["size"], state["best"][1]
    too_few = state["improved"] < SUFFICIENT * since
    stuck = (size == state["last"][0]) & (best_loss == state["last"][1])
    checkpoint = since > 0
    halve = checkpoint & (too_few | stuck)
    keep = lambda a, b: jnp.where(as_axis(halve, a.ndim), a, b)
    return state | {
        "here": jax.tree.map(keep, state["best"][0], state["here"]),
        "loss": keep(best_loss, state["loss"]),
        "size": jnp.where(halve, size / 2, size),
        "improved": jnp.where(checkpoint, 0, state["improved"]),
        # The paper compares with the step size before the decision at the last checkpoint.
        "last": tuple(jnp.where(checkpoint, new, old) for new, old in zip((size, best_loss), state["last"])),
    }
