"""From criteria to losses: pairs each output with its target, masks invalid examples, and combines several losses.

The output "label" comes from the fused tokens, "image.label" from the tokens of modality "image" alone; both are compared
with the target "label". A unimodal output counts only in examples that have the modality. Where an output does not count, and
in padding (weight 0), its loss and its gradient are 0 even if its values are NaN.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mmjax.losses.criteria import Criterion, CrossEntropy
from mmjax.nn.factored_logits import FactoredLogits
from mmjax.types import Batch

__all__ = ["On", "Uncertainty", "WeightedLosses", "counted", "cross_entropy", "pick", "zero_invalid"]


def counted(output: str, batch: Batch) -> Bool[Array, " b"]:
    """True for the examples in which this output enters the loss: those of positive weight that have its modality.

    ValueError if the batch lacks the modality.
    """
    modality = output.rpartition(".")[0]
    real = batch.weight > 0
    if not modality:
        return real
    if modality not in batch.present:
        raise ValueError(f"output {output!r} is of modality {modality!r}, but the batch has {sorted(batch.present)}")
    return real & batch.present[modality]


def pick(outputs: Mapping[str, Any], name: str) -> Any:
    """outputs[name]. ValueError, which lists all outputs, if there is no such output."""
    if name not in outputs:
        raise ValueError(f"the model has no output {name!r}; its outputs are {sorted(outputs)}")
    return outputs[name]


def zero_invalid(x: Any, valid: Bool[Array, " b"]) -> Any:
    """x, arrays [b ...], with zeros in invalid examples, so that NaN there reaches neither loss nor gradient."""
    zero = lambda x: jnp.where(valid.reshape(valid.shape + (1,) * (x.ndim - 1)), x, jnp.zeros((), x.dtype))
    if isinstance(x, FactoredLogits):  # the table belongs to no example
        return x.with_states(zero(x.states))
    return jax.tree.map(zero, x)


@dataclass(frozen=True)
class On:
    """A criterion on one output and its target: Float[b], 0 in the examples where the output does not count.

    target: its name; None for the last part of the output's name ("label" of "image.label").

    ValueError if the model lacks the output, the batch lacks the target, or the criterion rejects their shapes.
    """

    output: str
    criterion: Criterion = CrossEntropy()
    target: str | None = None

    def __call__(self, outputs: Mapping[str, Any], batch: Batch) -> Float[Array, " b"]:
        output, target = pick(outputs, self.output), self.target or self.output.rpartition(".")[2]
        if target not in batch.targets:
            known = sorted(batch.targets)
            raise ValueError(f"output {self.output!r} has no target {target!r}; the batch's targets are {known}")
        valid = counted(self.output, batch)
        try:
            values = self.criterion(zero_invalid(output, valid), zero_invalid(batch.targets[target], valid))
        except ValueError as error:
            raise ValueError(f"output {self.output!r}: {error}") from error
        return jnp.where(valid, values, 0)


def cross_entropy(outputs: Mapping[str, Any], batch: Batch) -> Float[Array, " b"]:
    """- log softmax(logits)[target] in nats, summed with weight 1 over all outputs that have a target in the batch.

    ValueError if no output has one.
    """
    names = [name for name in sorted(outputs) if name.rpartition(".")[2] in batch.targets]
    if not names:
        raise ValueError(f"none of the outputs {sorted(outputs)} has a target; the batch's targets are {sorted(batch.targets)}")
    return sum(On(name)(outputs, batch) for name in names[1:]) + On(names[0])(outputs, batch)


@dataclass(frozen=True)
class WeightedLosses:
    """Several losses with fixed weights, {name: weight * loss}. Their sum is minimised unless a `Gradient` combines them.

    losses: {name: loss or (loss, weight)}. A number alone is the weight of the cross-entropy of the output of that name. For
    example, a fused head with unimodal auxiliary losses (Wang et al., "What makes training multi-modal classification networks
    hard?", CVPR 2020), whose heads are in `Multimodal.unimodal_heads`:

        WeightedLosses({"label": 1.0, "image.label": 0.3, "text.label": 0.3})

    ValueError if there is no loss or an entry is neither a loss nor a number.
    """

    losses: Mapping[str, Any]

    def __hash__(self) -> int:
        return hash(frozenset(self.losses.items()))

    def __call__(self, outputs: Mapping[str, Any], batch: Batch) -> dict[str, Float[Array, " b"]]:
        if not self.losses:
            raise ValueError("WeightedLosses.losses is empty; give at least one loss")
        return {name: _weighted(name, entry, outputs, batch) for name, entry in self.losses.items()}


def _weighted(name: str, entry: Any, outputs: Mapping[str, Any], batch: Batch) -> Float[Array, " b"]:
    if isinstance(entry, (int, float)):
        entry = On(name), entry
    loss, weight = entry if isinstance(entry, tuple) else (entry, 1.0)
    if not callable(loss):
        raise ValueError(
            f"WeightedLosses.losses[{name!r}] is {entry!r}; give a loss such as On({name!r}), (loss, weight), or a weight"
        )
    return weight * loss(outputs, batch)


@dataclass(frozen=True)
class Uncertainty:
    """exp(-s_i) L_i + s_i / 2 for each loss L_i, with s_i = log sigma_i^2 learned by `heads.LogVariances`.

    Kendall, Gal and Cipolla, "Multi-task learning using uncertainty to weigh losses", CVPR 2018, equation 10, where L_i is a
    cross-entropy or half a squared error (weight 0.5). At the optimum s_i = log(2 L_i) the value is (1 + log(2 L_i)) / 2, so
    the scale of a loss does not matter. The term s_i / 2 is added in every example, since L_i is a mean over all examples.

    losses: a loss that gives {name: Float[b]}. log_variance: the name in `Multimodal.loss_parameters` of a `LogVariances` with
    the same names. ValueError if their numbers differ.
    """

    losses: WeightedLosses
    log_variance: str = "log_variance"

    def __call__(self, outputs: Mapping[str, Any], batch: Batch) -> dict[str, Float[Array, " b"]]:
        values, s = self.losses(outputs, batch), pick(outputs, self.log_variance)
        if s.shape != (len(values),):
            raise ValueError(
                f"output {self.log_variance!r} has shape {list(s.shape)}, but there are {len(values)} losses {sorted(values)}; "
                f"give loss_parameters={{{self.log_variance!r}: LogVariances({tuple(sorted(values))})}}"
            )
        s = dict(zip(sorted(values), s))  # the order of LogVariances
        return {name: jnp.exp(-s[name]) * value + s[name] / 2 for name, value in values.items()}
