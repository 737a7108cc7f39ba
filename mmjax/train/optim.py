"""Optimisers as values: called with the number of training steps they give an optax chain, schedule included.

lr: step size at its highest. decay: decoupled weight decay (but in `SGD`). clip: largest global norm of a gradient; what is
longer is shortened to it. schedule: (lr, steps) -> how the step size goes with the step. A field out of its range is a
ValueError that names it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import optax
import optax.contrib


@dataclass(frozen=True)
class Constant:
    """The same rate throughout."""

    def __call__(self, lr: float, steps: int) -> optax.Schedule:
        return optax.constant_schedule(lr)


def _warm(share: float, lr: float, steps: int, after: Callable[[int], optax.Schedule]) -> optax.Schedule:
    """A straight line from 0 to lr over a share of the steps, at least one of them, then `after(the steps left)`."""
    if not 0 <= share < 1:
        raise ValueError(f"schedule.warmup is {share}; it is a share of the training, at least 0 and below 1")
    warmup = min(max(int(share * steps), 1), steps - 1) if share else 0
    if warmup == 0:
        return after(steps)
    return optax.join_schedules([optax.linear_schedule(0.0, lr, warmup), after(steps - warmup)], [warmup])


@dataclass(frozen=True)
class Cosine:
    """Linear warm-up over a share of the steps, then half a cosine down to `end` times lr (Loshchilov and Hutter, 2017)."""

    warmup: float = 0.1
    end: float = 0.0

    def __call__(self, lr: float, steps: int) -> optax.Schedule:
        return _warm(self.warmup, lr, steps, lambda left: optax.cosine_decay_schedule(lr, left, self.end))


@dataclass(frozen=True)
class Linear:
    """Linear warm-up over a share of the steps, then a straight line down to `end` times lr (as BERT; Devlin et al., 2019)."""

    warmup: float = 0.1
    end: float = 0.0

    def __call__(self, lr: float, steps: int) -> optax.Schedule:
        return _warm(self.warmup, lr, steps, lambda left: optax.linear_schedule(lr, lr * self.end, left))


@dataclass(frozen=True)
class Steps:
    """lr times `factor` after each of some shares of the training, such as half and three quarters (He et al., 2016)."""

    at: tuple[float, ...] = (0.5, 0.75)
    factor: float = 0.1

    def __call__(self, lr: float, steps: int) -> optax.Schedule:
        if any(not 0 < share < 1 for share in self.at):
            raise ValueError(f"schedule.at is {self.at}; they are shares of the training, above 0 and below 1")
        return lambda count: lr * self.factor ** sum(count >= round(share * steps) for share in self.at)


RANGES = {
    "lr": (lambda x: x > 0, "above 0"),
    "clip": (lambda x: x > 0, "above 0"),
    "decay": (lambda x: x >= 0, "at least 0"),
    "momentum": (lambda x: 0 <= x < 1, "at least 0 and below 1"),
}


def _rate(optimiser: Any, steps: int) -> optax.Schedule:
    """The optimiser's schedule, once its fields are in their ranges."""
    for name, (right, words) in RANGES.items():
        if hasattr(optimiser, name) and not right(getattr(optimiser, name)):
            raise ValueError(f"{type(optimiser).__name__}.{name} is {getattr(optimiser, name)}; it must be {words}")
    return optimiser.schedule(optimiser.lr, steps)


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with momentum, v <- momentum v + g, w <- w - lr v; Nesterov's form looks one step ahead.

    decay: adds decay * w to the gradient (L2), as VGG and ResNet were trained (5e-4, 1e-4).
    """

    lr: float = 1e-2
    momentum: float = 0.9
    nesterov: bool = False
    decay: float = 0.0
    clip: float = 1.0
    schedule: Any = Constant()

    def __call__(self, steps: int) -> optax.GradientTransformation:
        rate = _rate(self, steps)
        momentum = self.momentum or None  # none: no state either
        sgd = optax.sgd(rate, momentum=momentum, nesterov=self.nesterov)
        return optax.chain(optax.clip_by_global_norm(self.clip), optax.add_decayed_weights(self.decay), sgd)


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba, 2015)."""

    lr: float = 1e-3
    clip: float = 1.0
    schedule: Any = Constant()

    def __call__(self, steps: int) -> optax.GradientTransformation:
        return optax.chain(optax.clip_by_global_norm(self.clip), optax.adam(_rate(self, steps)))


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019): a tenth of warm-up, then cosine decay to zero."""

    lr: float = 1e-3
    decay: float = 1e-2
    clip: float = 1.0
    schedule: Any = Cosine()

    def __call__(self, steps: int) -> optax.GradientTransformation:
        adamw = optax.adamw(_rate(self, steps), weight_decay=self.decay)
        return optax.chain(optax.clip_by_global_norm(self.clip), adamw)


@dataclass(frozen=True)
class Lion:
    """Lion (Chen et al., "Symbolic discovery of optimization algorithms", 2023): steps along the sign of the momentum.

    Its authors take an lr 3 to 10 times smaller than AdamW's, and a decay as many times larger.
    """

    lr: float = 1e-4
    decay: float = 1e-1
    clip: float = 1.0
    schedule: Any = Cosine()

    def __call__(self, steps: int) -> optax.GradientTransformation:
        lion = optax.lion(_rate(self, steps), weight_decay=self.decay)
        return optax.chain(optax.clip_by_global_norm(self.clip), lion)


@dataclass(frozen=True)
class Muon:
    """Muon (Jordan et al., 2024): the momentum of a matrix, orthogonalised by five Newton-Schulz steps.

    Updates are scaled to a root mean square of 0.2, so that lr and decay are AdamW's (Liu et al., "Muon is scalable for LLM
    training", 2025). What is no matrix (biases, kernels of convolutions, norms) is left to AdamW at the same lr and decay.
    """

    lr: float = 1e-3
    decay: float = 1e-2
    clip: float = 1.0
    schedule: Any = Cosine()

    def __call__(self, steps: int) -> optax.GradientTransformation:
        rate, decay = _rate(self, steps), self.decay
        muon = optax.contrib.muon(rate, weight_decay=decay, adam_weight_decay=decay, consistent_rms=0.2)
        return optax.chain(optax.clip_by_global_norm(self.clip), muon)
