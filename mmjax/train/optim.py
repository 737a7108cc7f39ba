"""Optimisers as values: called with the number of training steps they give an optax chain, schedule included."""

from dataclasses import dataclass

import optax


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba, 2015) at a constant rate. lr: step size. clip: largest global norm of a gradient, dimensionless."""

    lr: float = 1e-3
    clip: float = 1.0

    def __call__(self, steps: int) -> optax.GradientTransformation:
        return optax.chain(optax.clip_by_global_norm(self.clip), optax.adam(self.lr))


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019): a tenth of warm-up, then cosine decay to zero."""

    lr: float = 1e-3
    decay: float = 1e-2
    clip: float = 1.0

    def __call__(self, steps: int) -> optax.GradientTransformation:
        warmup = min(max(steps // 10, 1), steps - 1) if steps > 1 else 0
        rate = optax.warmup_cosine_decay_schedule(0.0, self.lr, warmup, steps)
        return optax.chain(optax.clip_by_global_norm(self.clip), optax.adamw(rate, weight_decay=self.decay))
