"""From criteria to losses: which output meets which target, for which examples it counts, and how several add up.

An output "label" comes from the fused tokens, "image.label" from those of modality "image" alone; both are compared with the
target "label". The second counts only in examples that have the modality. Where an output does not count, and in padding
(weight 0), its value and its gradient are 0 whatever it holds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mmjax.losses.criteria import Criterion, CrossEntropy
from mmjax.types import Batch


def counted(output: str, batch: Batch) -> Bool[Array, " b"]:
    """Bool[b]: the examples in which an output of this name counts."""
    modality = output.rpartition(".")[0]
    real = batch.weight > 0
    if not modality:
        return real
    if modality not in batch.present:
        raise ValueError(f"output {output!r} is of modality {modality!r}, and the batch has {sorted(batch.present)}")
    return real & batch.present[modality]


def pick(outputs: Mapping[str, Any], name: str) -> Any:
    """outputs[name], or a ValueError that says what there is."""
    if name not in outputs:
        raise ValueError(f"there is no output {name!r} to learn from; the outputs are {sorted(outputs)}")
    return outputs[name]


def blank(x: Any, there: Bool[Array, " b"]) -> Array:
    """x [b ...] with zeros in the examples that do not count, so that NaN there reaches neither value nor gradient."""
    return jnp.where(there.reshape(there.shape + (1,) * (x.ndim - 1)), x, jnp.zeros((), x.dtype))


@dataclass(frozen=True)
class On:
    """A criterion on one output and its target: Float[b], 0 in the examples where the output does not count."""

    output: str
    criterion: Criterion = CrossEntropy()

    def __call__(self, outputs: Mapping[str, Array], batch: Batch) -> Float[Array, " b"]:
        output, target = pick(outputs, self.output), self.output.rpartition(".")[2]
        if target not in batch.targets:
            known = sorted(batch.targets)
            raise ValueError(f"output {self.output!r} has no target {target!r}; the batch's targets are {known}")
        there = counted(self.output, batch)
        try:
            values = self.criterion(blank(output, there), blank(batch.targets[target], there))
        except ValueError as error:
            raise ValueError(f"output {self.output!r}: {error}") from error
        return jnp.where(there, values, 0)


def cross_entropy(outputs: Mapping[str, Array], batch: Batch) -> Float[Array, " b"]:
    """- log softmax(logits)[target] in nats, summed over all outputs whose target the batch has, each with weight 1."""
    names = [name for name in sorted(outputs) if name.rpartition(".")[2] in batch.targets]
    if not names:
        raise ValueError(f"none of the outputs {sorted(outputs)} has a target; the batch's targets are {sorted(batch.targets)}")
    return sum(On(name)(outputs, batch) for name in names[1:]) + On(names[0])(outputs, batch)


@dataclass(frozen=True)
class Tasks:
    """Several losses side by side, {task: weight * loss}: their sum is trained on, unless a balance says otherwise.

    losses: {task: loss, or (loss, weight)}; a weight alone stands for the cross-entropy of the output of the task's name. So
    unimodal auxiliary losses (as in Wang et al., "What makes training multi-modal classification networks hard?", CVPR 2020)
    are the outputs of heads that the model has under `unimodal_heads`:

        Tasks({"label": 1.0, "image.label": 0.3, "text.label": 0.3})
    """

    losses: Mapping[str, Any]

    def __hash__(self) -> int:
        return hash(frozenset(self.losses.items()))

    def __call__(self, outputs: Mapping[str, Array], batch: Batch) -> dict[str, Float[Array, " b"]]:
        if not self.losses:
            raise ValueError("Tasks.losses is empty; give at least one task")
        return {task: _one(task, entry, outputs, batch) for task, entry in self.losses.items()}


def _one(task: str, entry: Any, outputs: Mapping[str, Array], batch: Batch) -> Float[Array, " b"]:
    if isinstance(entry, (int, float)):
        entry = On(task), entry
    loss, weight = entry if isinstance(entry, tuple) else (entry, 1.0)
    if not callable(loss):
        raise ValueError(f"Tasks.losses[{task!r}] is {entry!r}; give a loss such as On({task!r}), (loss, weight), or a weight")
    return weight * loss(outputs, batch)


@dataclass(frozen=True)
class Uncertainty:
    """exp(-s_t) L_t + s_t / 2 for each task t, with s_t = log sigma_t^2 learned by the head `LogVariances`.

    Kendall, Gal and Cipolla, "Multi-task learning using uncertainty to weigh losses", CVPR 2018, equation 10, where L_t is a
    cross-entropy, or half a squared error (weight 0.5). With the best s_t = log(2 L_t) a task is worth (1 + log(2 L_t)) / 2:
    its scale no longer matters. The term s_t / 2 is in every example, as L_t is a mean over all of them.

    tasks: a loss that gives {task: Float[b]}. log_variance: the output of that head, whose tasks must be the same.
    """

    tasks: Tasks
    log_variance: str = "log_variance"

    def __call__(self, outputs: Mapping[str, Array], batch: Batch) -> dict[str, Float[Array, " b"]]:
        values, s = self.tasks(outputs, batch), pick(outputs, self.log_variance)
        if s.shape[-1] != len(values):
            raise ValueError(
                f"output {self.log_variance!r} has {s.shape[-1]} columns for the {len(values)} tasks {sorted(values)}; "
                f"the head is LogVariances({tuple(sorted(values))})"
            )
        columns = {task: s[:, k] for k, task in enumerate(sorted(values))}  # the order of LogVariances
        return {task: jnp.exp(-columns[task]) * value + columns[task] / 2 for task, value in values.items()}
