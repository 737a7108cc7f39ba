"""Optimisers as values: number of training steps -> optax transformation, with its schedule.

Fields, all dimensionless: lr, the peak learning rate; decay, decoupled weight decay (except in `SGD`); clip, the maximal global
norm of the gradient, to which longer gradients are scaled; schedule, (lr, steps) -> optax schedule. A field that is not finite
or out of its range raises ValueError.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import optax
import optax.contrib

__all__ = [
    "FRACTION", "INSIDE", "NOT_NEGATIVE", "RANGES", "SGD", "Adam", "AdamW", "Constant", "Cosine", "Linear", "Lion", "Muon",
    "Steps",
]


@dataclass(frozen=True)
class Constant:
    """A constant learning rate."""

    def __call__(self, lr: float, steps: int) -> optax.Schedule:
        return optax.constant_schedule(lr)


def _check(schedule: Any, **ranges: tuple[Callable[[float], bool], str]) -> None:
    """ValueError if a field of a schedule is not finite or out of its range."""
    for name, (is_valid, words) in ranges.items():
        values = getattr(schedule, name)
        for value in values if isinstance(values, tuple) else (values,):
            if not (math.isfinite(value) and is_valid(value)):
                raise ValueError(f"schedule.{name} is {values}; it must be {words}")


FRACTION = (lambda x: 0 <= x < 1, "a fraction of the training, at least 0 and below 1")
INSIDE = (lambda x: 0 < x < 1, "fractions of the training, above 0 and below 1")
NOT_NEGATIVE = (lambda x: x >= 0, "finite and at least 0")


def _with_warmup(fraction: float, lr: float, steps: int, after: Callable[[int], optax.Schedule]) -> optax.Schedule:
    """A linear increase from 0 to lr over a fraction of the steps, at least one step, then `after(remaining steps)`."""
    warmup = min(max(int(fraction * steps), 1), steps - 1) if fraction else 0
    if warmup == 0:
        return after(steps)
    return optax.join_schedules([optax.linear_schedule(0.0, lr, warmup), after(steps - warmup)], [warmup])


@dataclass(frozen=True)
class Cosine:
    """Linear warm-up over a fraction of the steps, then cosine decay to `end` times lr (Loshchilov and Hutter, 2017).

    warmup: fraction of the steps. end: the last learning rate, relative to lr.
    """

    warmup: float = 0.1
    end: float = 0.0

    def __call__(self, lr: float, steps: int) -> optax.Schedule:
        _check(self, warmup=FRACTION, end=NOT_NEGATIVE)
        return _with_warmup(self.warmup, lr, steps, lambda left: optax.cosine_decay_schedule(lr, left, self.end))


@dataclass(frozen=True)
class Linear:
    """Linear warm-up over a fraction of the steps, then linear decay to `end` times lr (as in BERT; Devlin et al., 2019)."""

    warmup: float = 0.1
    end: float = 0.0

    def __call__(self, lr: float, steps: int) -> optax.Schedule:
        _check(self, warmup=FRACTION, end=NOT_NEGATIVE)
        return _with_warmup(self.warmup, lr, steps, lambda left: optax.linear_schedule(lr, lr * self.end, left))


@dataclass(frozen=True)
class Steps:
    """Multiplies lr by `factor` after given fractions of the training, such as half and three quarters (He et al., 2016).

    at: fractions of the training, between 0 and 1. factor: of the rate, at least 0.
    """

    at: tuple[float, ...] = (0.5, 0.75)
    factor: float = 0.1

    def __call__(self, lr: float, steps: int) -> optax.Schedule:
        _check(self, at=INSIDE, factor=NOT_NEGATIVE)
        return lambda count: lr * self.factor ** sum(count >= round(fraction * steps) for fraction in self.at)


RANGES = {
    "lr": (lambda x: x > 0, "finite and above 0"),
    "clip": (lambda x: x > 0, "finite and above 0; a large value, such as 1e9, switches clipping off"),
    "decay": NOT_NEGATIVE,
    "momentum": (lambda x: 0 <= x < 1, "at least 0 and below 1"),
}


def _learning_rate(optimizer: Any, steps: int) -> optax.Schedule:
    """The schedule of the learning rate. ValueError if a field of the optimiser is not finite or out of its range."""
    for name, (is_valid, words) in RANGES.items():
        value = getattr(optimizer, name, None)
        if value is not None and not (math.isfinite(value) and is_valid(value)):
            raise ValueError(f"{type(optimizer).__name__}.{name} is {value}; it must be {words}")
    return optimizer.schedule(optimizer.lr, steps)


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with momentum, v <- momentum v + g, w <- w - lr v; optionally Nesterov momentum.

    lr: learning rate. momentum: share of the last update that is kept. nesterov: use Nesterov momentum. clip: largest norm of
    the gradient. schedule: of the learning rate.
    decay: adds decay * w to the gradient (L2 regularisation), as for VGG (5e-4) and ResNet (1e-4).
    """

    lr: float = 1e-2
    momentum: float = 0.9
    nesterov: bool = False
    decay: float = 0.0
    clip: float = 1.0
    schedule: Any = Constant()

    def __call__(self, steps: int) -> optax.GradientTransformation:
        rate = _learning_rate(self, steps)
        momentum = self.momentum or None  # None: no optimiser state
        sgd = optax.sgd(rate, momentum=momentum, nesterov=self.nesterov)
        return optax.chain(optax.clip_by_global_norm(self.clip), optax.add_decayed_weights(self.decay), sgd)


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba, 2015).

    lr: learning rate. clip: largest norm of the gradient. schedule: of the learning rate.
    """

    lr: float = 1e-3
    clip: float = 1.0
    schedule: Any = Constant()

    def __call__(self, steps: int) -> optax.GradientTransformation:
        return optax.chain(optax.clip_by_global_norm(self.clip), optax.adam(_learning_rate(self, steps)))


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019); by default 10 % warm-up, then cosine decay to zero.

    lr: learning rate. decay: weight decay, multiplied by the learning rate. clip: largest norm of the gradient. schedule: of
    the learning rate.
    """

    lr: float = 1e-3
    decay: float = 1e-2
    clip: float = 1.0
    schedule: Any = Cosine()

    def __call__(self, steps: int) -> optax.GradientTransformation:
        adamw = optax.adamw(_learning_rate(self, steps), weight_decay=self.decay)
        return optax.chain(optax.clip_by_global_norm(self.clip), adamw)


@dataclass(frozen=True)
class Lion:
    """Lion (Chen et al., "Symbolic discovery of optimization algorithms", 2023): steps along the sign of the momentum.

    The authors recommend an lr 3 to 10 times smaller, and a decay 3 to 10 times larger, than for AdamW.
    """

    lr: float = 1e-4
    decay: float = 1e-1
    clip: float = 1.0
    schedule: Any = Cosine()

    def __call__(self, steps: int) -> optax.GradientTransformation:
        lion = optax.lion(_learning_rate(self, steps), weight_decay=self.decay)
        return optax.chain(optax.clip_by_global_norm(self.clip), lion)


@dataclass(frozen=True)
class Muon:
    """Muon (Jordan et al., 2024): momentum of matrices, orthogonalised by five Newton-Schulz steps.

    Updates are scaled to a root mean square of 0.2, so that lr and decay of AdamW apply (Liu et al., "Muon is scalable for LLM
    training", 2025). Other parameters (biases, kernels of convolutions, norms) are trained by AdamW with the same lr and decay.
    """

    lr: float = 1e-3
    decay: float = 1e-2
    clip: float = 1.0
    schedule: Any = Cosine()

    def __call__(self, steps: int) -> optax.GradientTransformation:
        rate, decay = _learning_rate(self, steps), self.decay
        muon = optax.contrib.muon(rate, weight_decay=decay, adam_weight_decay=decay, consistent_rms=0.2)
        return optax.chain(optax.clip_by_global_norm(self.clip), muon)
