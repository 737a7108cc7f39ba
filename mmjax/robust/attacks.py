"""Attacks on the inputs of a trained model: FGSM, PGD, and attacks one after the other.

An attack is a `types.Attack`, `(values, batch, key) -> batch`, and sees the model through `values(batch)`, the loss of each
example, alone. It raises this loss within a budget for each modality: `Linf`, `L2` or `SNR` of `robust.budgets`, `Embeddings`
of `robust.embeddings`, or `Substitutions` of `robust.hotflip`.

Only the budgets' modalities change, in examples that have them and whose weight is positive. Examples are independent if
their losses are, as they are unless a loss compares examples. With empty budgets or no steps, the batch is returned as it is.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from mmjax.robust.budgets import Budget, require
from mmjax.robust.changes import as_axis
from mmjax.shards import example_keys
from mmjax.types import Attack, Batch, Values

__all__ = [
    "CHANGES",
    "FGSM",
    "PGD",
    "Changes",
    "InTurn",
    "active",
    "ascended",
    "best_of",
    "better",
    "changed",
    "live",
    "loss_and_gradient",
    "no_change",
    "random_change",
]

Changes = dict[str, Array]
CHANGES = "Linf, L2, SNR or Embeddings"


def active(budgets: Mapping[str, Any], batch: Batch, kind: type = Budget, valid: str = CHANGES) -> dict[str, Any]:
    """The budgets that allow a change, by modality. ValueError if one does not fit the inputs of the batch.

    kind: of the budgets; valid: its examples in words.
    """
    for name, budget in budgets.items():
        known = ", ".join(sorted(batch.inputs))
        require(name in batch.inputs, f"budgets.{name}: there is no modality {name!r}; the modalities are {known}")
        require(isinstance(budget, kind), f"budgets.{name} is {budget}, but this attack takes {valid}")
        try:
            budget.check(batch.inputs[name])
        except ValueError as error:
            raise ValueError(f"budgets.{name}: {error}") from error
    return {name: budgets[name] for name in sorted(budgets) if not budgets[name].empty}


def live(batch: Batch, modality: str) -> Bool[Array, " b"]:
    """True for the examples that have the modality and count."""
    return batch.present[modality] & (batch.weight > 0)


def changed(batch: Batch, budgets: Mapping[str, Any], changes: Changes) -> Batch:
    """The batch with changed inputs."""
    inputs = {name: budget.add(batch.inputs[name], changes[name], live(batch, name)) for name, budget in budgets.items()}
    return batch.replace(inputs={**batch.inputs, **inputs})


def no_change(batch: Batch, budgets: Mapping[str, Any]) -> Changes:
    """{modality: zeros}."""
    return {name: budget.zeros(batch.inputs[name]) for name, budget in budgets.items()}


def random_change(batch: Batch, budgets: Mapping[str, Any], key: Key[Array, ""]) -> Changes:
    """A random change of each modality within its budget and the range of its input."""
    found = {}
    for number, (name, budget) in enumerate(budgets.items()):
        x = batch.inputs[name]
        keys = example_keys(jax.random.fold_in(key, number), batch.weight.shape[0])
        found[name] = budget.project(x, budget.draw(x, keys))
    return found


def ascended(batch: Batch, budgets: Mapping[str, Any], changes: Changes, gradient: Changes, size: Any) -> Changes:
    """The changes after a step of `size` times the budgets along the gradient."""

    def one(name, budget):
        x = batch.inputs[name]
        return budget.project(x, changes[name] + budget.steepest(x, gradient[name], size))

    return {name: one(name, budget) for name, budget in budgets.items()}


def loss_and_gradient(
    values: Values, batch: Batch, budgets: Mapping[str, Any], changes: Changes
) -> tuple[Float[Array, " b"], Changes]:
    """The loss of each example, and its gradient with respect to the changes."""

    def total(changes):
        found = values(changed(batch, budgets, changes))
        return jnp.sum(found), found

    (_, found), gradient = jax.value_and_grad(total, has_aux=True)(changes)
    return found, gradient


def better(new: tuple[Any, Float[Array, " b"]], old: tuple[Any, Float[Array, " b"]]) -> tuple[Any, Float[Array, " b"]]:
    """(tree [b ...], loss) of each example from the one with the higher loss. NaN is never better."""
    wins = new[1] > old[1]
    return jax.tree.map(lambda a, b: jnp.where(as_axis(wins, a.ndim), a, b), new, old)


def best_of(restarts: int, run: Callable[[Key[Array, ""]], tuple[Any, Array]], nothing: Any, key: Key[Array, ""]) -> Any:
    """The changes of the best of several runs, for each example; of a single run, as they are.

    run: key -> (changes, loss). nothing: zeros for the changes.
    """

    def one(number, best):
        return better(run(jax.random.fold_in(key, number)), best)

    if restarts == 1:
        return run(key)[0]
    examples = jax.tree.leaves(nothing)[0].shape[0]
    return jax.lax.fori_loop(0, restarts, one, (nothing, jnp.full(examples, -jnp.inf)))[0]


@dataclass(frozen=True)
class FGSM:
    """The fast gradient sign method (Goodfellow et al., 2015): one step of the size of the budget along its steepest direction.

    budgets: {modality: budget}. The sign of the gradient for `Linf`, the normalised gradient for `L2`, `SNR`, `Embeddings`.
    """

    budgets: Mapping[str, Any]

    def __call__(self, values: Values, batch: Batch, key: Key[Array, ""]) -> Batch:
        return PGD(self.budgets, steps=1, step_size=1.0, random_start=False)(values, batch, key)


@dataclass(frozen=True)
class PGD:
    """Projected gradient descent (Madry et al., 2018): steps along the steepest direction, projected onto the budget.

    budgets: {modality: budget}. steps: number of steps. step_size: of a step, as a share of the budget. random_start: start at
    a random change. restarts: number of random starts; of the last steps of all starts, each example keeps the one of highest
    loss. A single start returns its last step.
    """

    budgets: Mapping[str, Any]
    steps: int = 10
    step_size: float = 0.25
    random_start: bool = True
    restarts: int = 1

    def __post_init__(self):
        require(self.steps >= 0, f"PGD.steps is {self.steps}; it must be at least 0")
        require(self.step_size > 0, f"PGD.step_size is {self.step_size}; it must be above 0")
        require(self.restarts >= 1, f"PGD.restarts is {self.restarts}; it must be at least 1")
        useful = self.random_start or self.restarts == 1
        require(useful, f"PGD.restarts is {self.restarts}, but without random_start all starts are equal; give 1")

    def __call__(self, values: Values, batch: Batch, key: Key[Array, ""]) -> Batch:
        budgets = active(self.budgets, batch)
        if not budgets or self.steps == 0:
            return batch

        def run(key):
            def step(_, changes):
                return ascended(batch, budgets, changes, loss_and_gradient(values, batch, budgets, changes)[1], self.step_size)

            start = random_change(batch, budgets, key) if self.random_start else no_change(batch, budgets)
            changes = jax.lax.fori_loop(0, self.steps, step, start)
            return changes, values(changed(batch, budgets, changes))

        return changed(batch, budgets, best_of(self.restarts, run, no_change(batch, budgets), key))


@dataclass(frozen=True)
class InTurn:
    """Several attacks, each on the result of the one before, such as `HotFlip` on the text and then `PGD` on the image.

    attacks: in order. Only one of them may have a budget of `Embeddings` for a modality, and none may attack it afterwards.
    """

    attacks: tuple[Attack, ...]

    def __call__(self, values: Values, batch: Batch, key: Key[Array, ""]) -> Batch:
        for number, attack in enumerate(self.attacks):
            batch = attack(values, batch, jax.random.fold_in(key, number))
        return batch
