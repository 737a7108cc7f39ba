"""DP-SGD: the noisy sum of clipped gradients of single examples."""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from mmjax.robust.privacy.accounting import PLD, Accountant
from mmjax.robust.privacy.clipping import Clip, Flat
from mmjax.shards import example_keys, sum_over_shards
from mmjax.train.step import SumOfLosses
from mmjax.types import Aux, Batch, Objective

__all__ = ["COUNT", "DPSGD", "EXAMPLES", "NOISE"]

EXAMPLES, NOISE, COUNT = 0x6578, 0x6E6F, 0x636F  # of `fold_in`, unlike the small numbers of other gradients


@dataclass(frozen=True)
class DPSGD:
    """Differentially private stochastic gradient descent (Abadi et al., CCS 2016, algorithm 1), a `types.Gradient`.

        gradient = (sum_i clip(w_i grad L_i) + N(0, (noise_multiplier C)^2 I)) / expected batch

    with C the bound of the clipped gradients, L_i the sum of the losses of example i by itself, and w_i its weight. Each
    example has its own dropout key. Padding (weight 0) contributes nothing; neither does an example whose gradient is not
    finite. The optimiser, momentum and weight decay only process this gradient, so any of them may follow.

    The guarantee needs `Poisson` sampling; an experiment is checked before it trains (`mmjax.robust.privacy.check`). Neighbours
    differ in one training row, which is added or removed.

    With clip None, it is switched off: the plain gradient of the sum of the losses, bit for bit, with any sampling, and without
    a guarantee.

    clip: `Flat`, `PerLayer`, `AdaptiveClip`, or None without noise. noise_multiplier: standard deviation of the noise divided
    by C; 0 for no noise. epsilon: target that determines the noise instead, for `delta`, the rows, batch and steps of the
    experiment. Give one of them. delta: below 1 / rows. microbatch: examples whose gradients are in memory at once. accountant:
    `PLD`, `RDP` or `ClassicRDP`. expected: expected examples per step; None for the experiment's batch.
    """

    clip: Clip | None = Flat()
    noise_multiplier: float | None = None
    epsilon: float | None = None
    delta: float = 1e-5
    microbatch: int = 16
    accountant: Accountant = PLD()
    expected: float | None = None

    def __post_init__(self):
        if (self.noise_multiplier is None) == (self.epsilon is None):
            raise ValueError("DPSGD needs either noise_multiplier or epsilon; give one of them")
        if self.noise_multiplier is not None and not 0 <= self.noise_multiplier < math.inf:
            raise ValueError(f"DPSGD.noise_multiplier is {self.noise_multiplier}; it must be finite and at least 0")
        if self.epsilon is not None and not 0 < self.epsilon < math.inf:
            raise ValueError(f"DPSGD.epsilon is {self.epsilon}; it must be finite and above 0; for none, noise_multiplier=0")
        if not 0 < self.delta < 1:
            raise ValueError(f"DPSGD.delta is {self.delta}; it must be between 0 and 1, and below 1 / rows")
        if self.microbatch < 1:
            raise ValueError(f"DPSGD.microbatch is {self.microbatch}; it must be at least 1")
        if self.clip is None and self.noise_multiplier != 0:
            raise ValueError("DPSGD.clip is None, but noise needs clipping; give Flat(1.0), or noise_multiplier=0.0")
        if self.noise_multiplier and isinstance(self.clip, Flat) and math.isinf(self.clip.norm):
            raise ValueError("DPSGD.clip.norm is inf, but noise needs a finite norm")

    def init(self, params: Any) -> Any:
        """The state of the clipping."""
        return () if self.clip is None else self.clip.init()

    def __call__(self, objective: Objective, params: Any, state: Any, batch: Batch, key: Key[Array, ""]) -> tuple:
        if self.clip is None:
            return SumOfLosses()(objective, params, state, batch, key)
        if self.noise_multiplier is None or self.expected is None:
            raise ValueError("DPSGD: the noise is not known yet; give noise_multiplier and expected, or train an `Experiment`")
        noise = self.clip.noise(self.noise_multiplier, self.expected)
        total, within, values, stats = self._sums(objective, params, state, batch, jax.random.fold_in(key, EXAMPLES))
        total, within = sum_over_shards((total, within))
        if noise.gradient:
            scale = noise.gradient * self.clip.bound(state)
            total = _with_noise(total, scale, jax.random.fold_in(key, NOISE))
        gradient = jax.tree.map(lambda leaf: leaf / self.expected, total)
        state = self.clip.next(state, within, self.expected, noise, jax.random.fold_in(key, COUNT))

        size = jnp.maximum(sum_over_shards(batch.weight.sum()), jnp.finfo(jnp.float32).tiny)
        # one private example must not stop the training, so its loss counts only if it is finite, as its gradient does
        values = {name: jnp.where(jnp.isfinite(one), one, 0) for name, one in values.items()}
        losses = {name: jnp.where(batch.weight > 0, one * batch.weight, 0).sum() / size for name, one in values.items()}
        return sum_over_shards(sum(losses.values())), gradient, Aux({}, stats, losses, values), state

    def _sums(self, objective: Objective, params: Any, state: Any, batch: Batch, key: Key[Array, ""]) -> tuple:
        """Over this shard's examples: (sum of clipped gradients, sum of (within - 1/2), losses {name: Float[b]}, stats)."""
        count = batch.weight.shape[0]
        size = min(self.microbatch, count)
        keys, padding = example_keys(key, count), -count % size
        whole = jnp.arange(count + padding).reshape(-1, size)  # positions; the last microbatch is filled with padding

        def microbatch(sums, position):
            real, at = position < count, jnp.minimum(position, count - 1)
            examples = jax.tree.map(lambda leaf: leaf[at], batch)
            examples = examples.replace(weight=jnp.where(real, examples.weight, 0))
            one = lambda example, key: self._of_example(objective, params, state, example, key)
            gradients, within, values, stats = jax.vmap(one)(examples, keys[at])
            added = jax.tree.map(lambda leaf: leaf.sum(axis=0), (gradients, within))
            return jax.tree.map(jnp.add, sums, added), (values, stats)

        zeros = jax.tree.map(jnp.zeros_like, params), jnp.float32(0)
        (total, within), (values, stats) = jax.lax.scan(microbatch, zeros, whole)
        values = {name: value.reshape(-1)[:count] for name, value in values.items()}
        return total, within, values, jax.tree.map(lambda leaf: leaf[0, 0], stats)

    def _of_example(self, objective: Objective, params: Any, state: Any, example: Batch, key: Key[Array, ""]) -> tuple:
        """(clipped gradient, within - 1/2, losses {name: Float[]}, stats) of one example [...]; zeros for weight 0."""
        one = jax.tree.map(lambda leaf: leaf[None], example)

        def loss(params):
            _, aux = objective(params, one, key)
            values = {name: value[0] for name, value in aux.values.items()}
            return sum(values.values()) * example.weight, (values, aux.stats)

        gradient, (values, stats) = jax.grad(loss, has_aux=True)(params)
        clipped, within = self.clip.clip(gradient, state)
        counts = example.weight > 0
        clipped = jax.tree.map(lambda leaf: jnp.where(counts, leaf, 0), clipped)
        return clipped, jnp.where(counts, within - 0.5, 0.0), values, stats


def _with_noise(tree: Any, scale: Any, key: Key[Array, ""]) -> Any:
    """The tree plus Gaussian noise with standard deviation `scale`, equal on all shards."""
    leaves, structure = jax.tree.flatten(tree)
    ends = np.cumsum([leaf.size for leaf in leaves])
    drawn: Float[Array, " n"] = jax.random.normal(key, (int(ends[-1]),))  # one draw compiles faster than many
    parts = jnp.split(drawn, ends[:-1])
    return jax.tree.unflatten(structure, [leaf + scale * part.reshape(leaf.shape) for leaf, part in zip(leaves, parts)])
