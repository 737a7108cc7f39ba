"""Criteria: (output [b ...], target [b ...]) -> Float[b], in float32.

Outputs may have more dimensions than one, such as [b n c] with a target for each of n words: the value of an example is the
mean over its entries that have a target. None is there where an integer is negative or a float is NaN; such an entry counts
0 and has gradient 0, and so has an example without any. A target of a wrong shape or dtype is a ValueError.
"""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float


@runtime_checkable
class Criterion(Protocol):
    """(output [b ...], target [b ...]) -> Float[b]."""

    def __call__(self, output: Any, target: Any) -> Float[Array, " b"]: ...


def is_integer(x: Any) -> bool:
    return jnp.issubdtype(x.dtype, jnp.integer)


def mean_of_entries(values: Float[Array, "b ..."], there: Bool[Array, "b ..."]) -> Float[Array, " b"]:
    """Mean over an example's entries that are there; 0 where none is."""
    axes = tuple(range(1, values.ndim))
    count = jnp.sum(there, axis=axes, dtype=jnp.float32)
    return jnp.sum(jnp.where(there, values, 0), axis=axes) / jnp.maximum(count, 1)


def _class_numbers(output: Any, target: Any) -> tuple[Array, Array, Array]:
    """output [b *n c], target Int[b *n] -> (float32 output, class numbers, which there are), zeros where there is none."""
    there = target >= 0
    return jnp.where(there[..., None], output.astype(jnp.float32), 0), jnp.where(there, target, 0), there


def _of_class(values: Float[Array, "b *n c"], label: Any) -> Float[Array, "b ..."]:
    """values[..., label]; NaN for a label that is too large, so that it shows."""
    return jnp.take_along_axis(values, label[..., None], axis=-1)[..., 0]


def _refuse(name: str, output: Any, target: Any, right: str) -> None:
    given = f"an output of shape {output.shape} with a target {target.dtype}{target.shape}"
    raise ValueError(f"{name} cannot compare {given}: {right}")


@dataclass(frozen=True)
class CrossEntropy:
    """- sum_c w_c q_c log p_c in nats, with p = softmax(output) and q = (1 - smoothing) target + smoothing / c.

    output [b ... c]; target Int[b ...], the class, or Float[b ... c], its probabilities (as MixUp makes them). smoothing:
    dimensionless, in [0, 1) (Szegedy et al., 2016, section 7). class_weights: w, one for each class; None for ones.
    """

    smoothing: float = 0.0
    class_weights: tuple[float, ...] | None = None

    def __call__(self, output: Any, target: Any) -> Float[Array, " b"]:
        if not 0 <= self.smoothing < 1:
            raise ValueError(f"CrossEntropy.smoothing is {self.smoothing}; it must be at least 0 and below 1")
        classes = output.shape[-1]
        if is_integer(target) and target.shape == output.shape[:-1]:
            output, label, there = _class_numbers(output, target)
            surprise = self._surprise(output)
            hit, total = _of_class(surprise, label), 1.0
        elif not is_integer(target) and target.shape == output.shape:
            there = ~jnp.isnan(target).any(axis=-1)
            q = jnp.where(there[..., None], target.astype(jnp.float32), 0)
            surprise = self._surprise(jnp.where(there[..., None], output.astype(jnp.float32), 0))
            hit, total = jnp.sum(q * surprise, axis=-1), jnp.sum(q, axis=-1)
        else:
            right = (
                "give Int[b ...] classes or Float[b ... c] probabilities; for other targets take On(name, SquaredError()) or "
                "On(name, SigmoidCrossEntropy())"
            )
            _refuse("CrossEntropy", output, target, right)
        spread = total * jnp.sum(surprise, axis=-1) / classes
        return mean_of_entries((1 - self.smoothing) * hit + self.smoothing * spread, there)

    def _surprise(self, output: Float[Array, "b *n c"]) -> Float[Array, "b *n c"]:
        """- w log softmax(output)."""
        surprise = -jax.nn.log_softmax(output)
        if self.class_weights is None:
            return surprise
        if len(self.class_weights) != output.shape[-1]:
            raise ValueError(f"CrossEntropy.class_weights has {len(self.class_weights)} entries for {output.shape[-1]} classes")
        return surprise * jnp.asarray(self.class_weights, jnp.float32).reshape((1,) * (output.ndim - 1) + (-1,))


@dataclass(frozen=True)
class Focal:
    """- (1 - p_t)^gamma log p_t, with p_t the softmax probability of the true class: easy examples count less.

    Lin et al., "Focal loss for dense object detection", ICCV 2017, equation 4. output [b ... c], target Int[b ...].
    """

    gamma: float = 2.0

    def __call__(self, output: Any, target: Any) -> Float[Array, " b"]:
        if not is_integer(target) or target.shape != output.shape[:-1] or output.shape[-1] < 2:
            _refuse("Focal", output, target, "give Int[b ...] classes, two at least")
        output, label, there = _class_numbers(output, target)
        log_p = jax.nn.log_softmax(output)
        of_label = jnp.arange(output.shape[-1]).reshape((1,) * label.ndim + (-1,)) == label[..., None]
        # log(1 - p_t) as the sum over the other classes: 1 - p_t itself would be 0 for a sure model, and its power's slope NaN
        log_others = jax.nn.logsumexp(jnp.where(of_label, jnp.finfo(jnp.float32).min, log_p), axis=-1)
        return mean_of_entries(-jnp.exp(self.gamma * log_others) * _of_class(log_p, label), there)


@dataclass(frozen=True)
class SigmoidCrossEntropy:
    """- y log p - (1 - y) log(1 - p) in nats with p = sigmoid(output), for labels that do not exclude each other.

    output [b ... c], target [b ... c] in 0..1, integers or floats; an example's value is the mean over its known labels.
    """

    def __call__(self, output: Any, target: Any) -> Float[Array, " b"]:
        if target.shape != output.shape:
            _refuse("SigmoidCrossEntropy", output, target, "give one number in 0..1 for each label, of the output's shape")
        there = target >= 0 if is_integer(target) else ~jnp.isnan(target)
        y = jnp.where(there, target, 0).astype(jnp.float32)
        return mean_of_entries(optax.sigmoid_binary_cross_entropy(jnp.where(there, output.astype(jnp.float32), 0), y), there)


def _residual(name: str, output: Any, target: Any) -> tuple[Float[Array, "b ..."], Bool[Array, "b ..."]]:
    """output - target, and where there is a target; integers are classes, and are compared as one-hot vectors."""
    output = output.astype(jnp.float32)
    if is_integer(target) and target.shape == output.shape[:-1] and output.shape[-1] > 1:
        there = jnp.broadcast_to((target >= 0)[..., None], output.shape)
        target = jax.nn.one_hot(target, output.shape[-1])
    elif not is_integer(target) and target.shape in (output.shape, output.shape[:-1] if output.shape[-1] == 1 else None):
        target = target.reshape(output.shape).astype(jnp.float32)
        there = ~jnp.isnan(target)
    else:
        right = "give floats of the output's shape (or Float[b] for an output [b 1]), or Int[b ...] classes for one [b ... c]"
        _refuse(name, output, target, right)
    return jnp.where(there, output - jnp.where(there, target, 0), 0), there


@dataclass(frozen=True)
class SquaredError:
    """Mean of (output - target)^2, in squared units of the target; over one-hot vectors where the target is a class."""

    def __call__(self, output: Any, target: Any) -> Float[Array, " b"]:
        residual, there = _residual("SquaredError", output, target)
        return mean_of_entries(jnp.square(residual), there)


@dataclass(frozen=True)
class AbsoluteError:
    """Mean of |output - target|, in units of the target; over one-hot vectors where the target is a class."""

    def __call__(self, output: Any, target: Any) -> Float[Array, " b"]:
        residual, there = _residual("AbsoluteError", output, target)
        return mean_of_entries(jnp.abs(residual), there)


@dataclass(frozen=True)
class Huber:
    """Mean of r^2 / 2 where |r| = |output - target| is at most `delta`, and delta (|r| - delta / 2) beyond (Huber, 1964)."""

    delta: float = 1.0

    def __call__(self, output: Any, target: Any) -> Float[Array, " b"]:
        if self.delta <= 0:
            raise ValueError(f"Huber.delta is {self.delta}; it must be above 0")
        residual, there = _residual("Huber", output, target)
        return mean_of_entries(optax.huber_loss(residual, delta=self.delta), there)
