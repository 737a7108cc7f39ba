"""Criteria: (output [b ...], target [b ...]) -> Float[b], in float32.

Outputs may have further dimensions, such as [b n c] with a target for each of n tokens: the value of an example is the mean
over its entries that have a target. A target is missing if it is negative (integers) or NaN (floats); such an entry has value
0 and gradient 0, and so does an example without any target. A target of the wrong shape or dtype raises ValueError.
"""

from dataclasses import dataclass
from typing import Any, NoReturn, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from mmjax.nn.factored_logits import FactoredLogits
from mmjax.types import Tokens

__all__ = [
    "AbsoluteError", "Criterion", "CrossEntropy", "Focal", "Huber", "SigmoidCrossEntropy", "SquaredError", "is_integer",
    "mean_of_entries",
]


@runtime_checkable
class Criterion(Protocol):
    """(output [b ...], target [b ...]) -> Float[b]."""

    def __call__(self, output: Any, target: Any) -> Float[Array, " b"]: ...


def is_integer(x: Any) -> bool:
    """Whether an array has an integer dtype: such targets are classes."""
    return jnp.issubdtype(x.dtype, jnp.integer)


def mean_of_entries(values: Float[Array, "b ..."], valid: Bool[Array, "b ..."]) -> Float[Array, " b"]:
    """The mean over the valid entries of each example; 0 if it has none."""
    axes = tuple(range(1, values.ndim))
    count = jnp.sum(valid, axis=axes, dtype=jnp.float32)
    return jnp.sum(jnp.where(valid, values, 0), axis=axes) / jnp.maximum(count, 1)


def _masked(output: Any, target: Any) -> tuple[Array, Array, Array]:
    """output [b *n c], target Int[b *n] -> (float32 output, classes, valid), zeros where the target is missing."""
    valid = target >= 0
    return jnp.where(valid[..., None], output.astype(jnp.float32), 0), jnp.where(valid, target, 0), valid


def _at_label(values: Float[Array, "b *n c"], label: Any) -> Float[Array, "b ..."]:
    """values[..., label]; NaN if the label is out of range, so that the mistake shows in the loss."""
    return jnp.take_along_axis(values, label[..., None], axis=-1)[..., 0]


def _reject(name: str, output: Any, target: Any, valid: str) -> NoReturn:
    given = f"an output of shape {output.shape} with a target {target.dtype}{target.shape}"
    raise ValueError(f"{name} cannot compare {given}: {valid}")


@dataclass(frozen=True)
class CrossEntropy:
    """- sum_c w_c q_c log p_c in nats, with p = softmax(output) and q = (1 - smoothing) target + smoothing / classes.

    output [b ... c], or the `FactoredLogits` [b m c] of a decoder, of which a chunk exists at a time; target Int[b ...], the
    class, or Float[b ... c], class probabilities (as from MixUp). smoothing: dimensionless, in [0, 1) (Szegedy et al., 2016,
    section 7). class_weights: w, one per class; None for ones.
    """

    smoothing: float = 0.0
    class_weights: tuple[float, ...] | None = None

    def __call__(self, output: Any, target: Any) -> Float[Array, " b"]:
        if not 0 <= self.smoothing < 1:
            raise ValueError(f"CrossEntropy.smoothing is {self.smoothing}; it must be at least 0 and below 1")
        if isinstance(output, Tokens):
            raise ValueError("CrossEntropy cannot compare Tokens: for the logits of heads.TokenLogits use On(name, CTC())")
        if isinstance(output, FactoredLogits):
            return self._of_factored(output, target)
        classes = output.shape[-1]
        if is_integer(target) and target.shape == output.shape[:-1]:
            output, label, valid = _masked(output, target)
            nats = self._nats(output)
            of_target, total = _at_label(nats, label), 1.0
        elif not is_integer(target) and target.shape == output.shape:
            valid = ~jnp.isnan(target).any(axis=-1)
            q = jnp.where(valid[..., None], target.astype(jnp.float32), 0)
            nats = self._nats(jnp.where(valid[..., None], output.astype(jnp.float32), 0))
            of_target, total = jnp.sum(q * nats, axis=-1), jnp.sum(q, axis=-1)
        else:
            accepted = (
                "give Int[b ...] classes or Float[b ... c] probabilities; for other targets use On(name, SquaredError()) or "
                "On(name, SigmoidCrossEntropy())"
            )
            _reject("CrossEntropy", output, target, accepted)
        uniform = total * jnp.sum(nats, axis=-1) / classes
        return mean_of_entries((1 - self.smoothing) * of_target + self.smoothing * uniform, valid)

    def _of_factored(self, output: FactoredLogits, target: Any) -> Float[Array, " b"]:
        if not is_integer(target) or target.shape != output.shape[:-1]:
            _reject("CrossEntropy", output.states, target, "factored logits need Int[b m] token ids")
        if self.class_weights is not None:
            raise ValueError("CrossEntropy.class_weights is given, but factored logits take none")
        valid = target >= 0
        states = jnp.where(valid[..., None], output.states, 0)
        of_label, mean = output.with_states(states).log_p(jnp.where(valid, target, 0))
        return mean_of_entries(-(1 - self.smoothing) * of_label - self.smoothing * mean, valid)

    def _nats(self, output: Float[Array, "b *n c"]) -> Float[Array, "b *n c"]:
        """- w log softmax(output)."""
        nats = -jax.nn.log_softmax(output)
        if self.class_weights is None:
            return nats
        if len(self.class_weights) != output.shape[-1]:
            raise ValueError(f"CrossEntropy.class_weights has {len(self.class_weights)} entries for {output.shape[-1]} classes")
        return nats * jnp.asarray(self.class_weights, jnp.float32).reshape((1,) * (output.ndim - 1) + (-1,))


@dataclass(frozen=True)
class Focal:
    """- (1 - p_t)^gamma log p_t, in nats, with p_t the softmax probability of the true class: downweights easy examples.

    Lin et al., "Focal loss for dense object detection", ICCV 2017, equation 4.

    output [b ... c] with c >= 2, target Int[b ...]. gamma: dimensionless, 0 for cross-entropy.
    """

    gamma: float = 2.0

    def __call__(self, output: Any, target: Any) -> Float[Array, " b"]:
        if not is_integer(target) or target.shape != output.shape[:-1] or output.shape[-1] < 2:
            _reject("Focal", output, target, "give Int[b ...] classes, and at least two logits")
        output, label, valid = _masked(output, target)
        log_p = jax.nn.log_softmax(output)
        of_label = jnp.arange(output.shape[-1]).reshape((1,) * label.ndim + (-1,)) == label[..., None]
        # log(1 - p_t) as a sum over the other classes: computed directly, 1 - p_t can round to 0, and the gradient is then NaN
        log_others = jax.nn.logsumexp(jnp.where(of_label, jnp.finfo(jnp.float32).min, log_p), axis=-1)
        return mean_of_entries(-jnp.exp(self.gamma * log_others) * _at_label(log_p, label), valid)


@dataclass(frozen=True)
class SigmoidCrossEntropy:
    """- y log p - (1 - y) log(1 - p) in nats with p = sigmoid(output), for multi-label classification.

    output [b ... c], target [b ... c] in 0..1, integers or floats; the value of an example is the mean over its known labels.
    """

    def __call__(self, output: Any, target: Any) -> Float[Array, " b"]:
        if target.shape != output.shape:
            _reject("SigmoidCrossEntropy", output, target, "give numbers in 0..1 in the output's shape")
        valid = target >= 0 if is_integer(target) else ~jnp.isnan(target)
        y = jnp.where(valid, target, 0).astype(jnp.float32)
        return mean_of_entries(optax.sigmoid_binary_cross_entropy(jnp.where(valid, output.astype(jnp.float32), 0), y), valid)


def _residual(name: str, output: Any, target: Any) -> tuple[Float[Array, "b ..."], Bool[Array, "b ..."]]:
    """(output - target, valid). Integer targets are classes and are compared as one-hot vectors."""
    output = output.astype(jnp.float32)
    if is_integer(target) and target.shape == output.shape[:-1] and output.shape[-1] > 1:
        valid = jnp.broadcast_to((target >= 0)[..., None], output.shape)
        target = jax.nn.one_hot(target, output.shape[-1])
    elif not is_integer(target) and target.shape in (output.shape, output.shape[:-1] if output.shape[-1] == 1 else None):
        target = target.reshape(output.shape).astype(jnp.float32)
        valid = ~jnp.isnan(target)
    else:
        accepted = "give floats in the output's shape (or Float[b] for an output [b 1]), or Int[b ...] classes for [b ... c]"
        _reject(name, output, target, accepted)
    return jnp.where(valid, output - jnp.where(valid, target, 0), 0), valid


@dataclass(frozen=True)
class SquaredError:
    """Mean of (output - target)^2, in squared units of the target; over one-hot vectors if the target is a class."""

    def __call__(self, output: Any, target: Any) -> Float[Array, " b"]:
        residual, valid = _residual("SquaredError", output, target)
        return mean_of_entries(jnp.square(residual), valid)


@dataclass(frozen=True)
class AbsoluteError:
    """Mean of |output - target|, in units of the target; over one-hot vectors if the target is a class."""

    def __call__(self, output: Any, target: Any) -> Float[Array, " b"]:
        residual, valid = _residual("AbsoluteError", output, target)
        return mean_of_entries(jnp.abs(residual), valid)


@dataclass(frozen=True)
class Huber:
    """Mean of r^2 / 2 if |r| = |output - target| is at most `delta`, else of delta (|r| - delta / 2) (Huber, 1964).

    delta: in units of the target, above 0.
    """

    delta: float = 1.0

    def __call__(self, output: Any, target: Any) -> Float[Array, " b"]:
        if not self.delta > 0:
            raise ValueError(f"Huber.delta is {self.delta}; it must be above 0")
        residual, valid = _residual("Huber", output, target)
        return mean_of_entries(optax.huber_loss(residual, delta=self.delta), valid)
