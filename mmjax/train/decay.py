"""Weight decay of some parameters alone, chosen by their paths."""

import math
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from mmjax.train.stages import has_prefix

__all__ = ["MaskedDecay"]


@dataclass(frozen=True)
class MaskedDecay:
    """Adds decoupled weight decay, w <- w - lr decay w (Loshchilov and Hutter, 2019), to an optimiser, but not for all
    parameters.

    By default, biases and the scales of norms have none, as in the code of BERT (Devlin et al., 2019) and in He et al., "Bag of
    tricks for image classification", 2019, section 3.1.

    optim: an optimiser of `mmjax.train.optim` whose own decay is 0. decay: finite and at least 0, multiplied by the learning
    rate. without: the parameters without decay, as prefixes of their paths (see `Stage.learns`). Clipping and the other parts
    of the step stay those of `optim`. ValueError if optim has a decay or no schedule, or if the decay is out of range.

        MaskedDecay(AdamW(lr=1e-3, decay=0.0), decay=0.1)
    """

    optim: Any
    decay: float = 1e-2
    without: tuple[str, ...] = (".*/bias", ".*/scale")

    def __call__(self, steps: int) -> optax.GradientTransformation:
        own, name = getattr(self.optim, "decay", 0.0), type(self.optim).__name__
        if own != 0:
            raise ValueError(f"MaskedDecay: {name}.decay is {own}; it must be 0, since MaskedDecay.decay takes its place")
        if not (hasattr(self.optim, "schedule") and hasattr(self.optim, "lr")):
            raise ValueError(f"MaskedDecay: {name} has no learning rate and schedule; give an optimiser of mmjax.train.optim")
        if not (math.isfinite(self.decay) and self.decay >= 0):
            raise ValueError(f"MaskedDecay.decay is {self.decay}; it must be finite and at least 0")
        rate = self.optim.schedule(self.optim.lr, steps)

        def init(params):
            return optax.ScaleByScheduleState(count=jnp.zeros((), jnp.int32))

        def update(updates, state, params=None):
            factor, weights = rate(state.count) * self.decay, flatten_dict(dict(params), sep="/")
            changed = {
                path: change - factor * weights[path] if self.decays(path) else change
                for path, change in flatten_dict(dict(updates), sep="/").items()
            }
            return unflatten_dict(changed, sep="/"), optax.ScaleByScheduleState(optax.safe_increment(state.count))

        return optax.chain(self.optim(steps), optax.GradientTransformation(init, update))

    def decays(self, path: str) -> bool:
        """Whether the parameter with this path, such as "fusion/dense/kernel", has weight decay."""
        return not any(has_prefix(path, prefix) for prefix in self.without)
