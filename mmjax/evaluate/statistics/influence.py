"""The influence of every group of units on every metric, for all seeds, in one compiled program."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.types import Outcomes

LEFT_OUT = 100  # up to this number of groups, each is left out in turn; the gradient suffices for more
DRAWS = 400  # weights resampled for a metric that is not smooth
UNITS_AT_ONCE = 2**22  # units times weightings of one block: 16 MB of weights, and a few times that inside a metric


@partial(jax.jit, static_argnames=("functions", "smooth"))
def influences(
    functions: tuple[Callable, ...],
    smooth: tuple[bool, ...],
    outcomes: Outcomes,
    weight: Any,
    group: Any,
    share: Any,
    draws: Any,
) -> list[tuple[jax.Array, jax.Array]]:
    """For each metric (its values Float[s], its influences).

    functions: of (outcomes [u ...], weight [u]) -> Float[]. outcomes: [s u ...]. weight: Float[u]. group: Int[u] in 0..k-1.
    share: Float[k], the weight of each group divided by the total. draws: Float[r k], random weights of the groups.

    The influences of a smooth metric are Float[s k]: the derivative of the metric with respect to the weights, summed over the
    units of a group. For up to LEFT_OUT groups they are finite differences, (1 - share) (metric - metric without the group):
    equal for a weighted mean, and more accurate for a curved metric such as a correlation on few groups. Where a metric is
    undefined without a group, the derivative remains. For a metric that is not smooth, the values Float[s r] of the draws.
    """

    def of_seed(value: Callable, is_smooth: bool, outcomes: Outcomes) -> tuple[jax.Array, jax.Array]:
        weigh = partial(value, outcomes)
        if not is_smooth:
            return weigh(weight), _blocks(lambda draw: weigh(weight * draw[group]), draws, weight.size)
        whole, gradient = jax.value_and_grad(weigh)(weight)
        by_group = jax.ops.segment_sum(jnp.where(weight > 0, weight * gradient, 0), group, share.size)
        if share.size > LEFT_OUT:
            return whole, by_group
        without = _blocks(lambda i: weigh(jnp.where(group == i, 0, weight)), jnp.arange(share.size), weight.size)
        change = (1 - share) * (whole - without)
        return whole, jnp.where(jnp.isfinite(without), change, by_group)

    return [jax.vmap(partial(of_seed, *metric))(outcomes) for metric in zip(functions, smooth)]


def _blocks(function: Callable, inputs: jax.Array, units: int) -> jax.Array:
    """`jax.vmap(function)(inputs)` in blocks that bound the memory."""
    at_once = max(1, UNITS_AT_ONCE // units)
    return jax.lax.map(function, inputs, batch_size=at_once) if at_once < len(inputs) else jax.vmap(function)(inputs)


def draw_weights(share: np.ndarray) -> np.ndarray:
    """share Float[k] -> Float32[DRAWS k]: random weights of the groups with mean 1, always the same for the same shares.

    This is the Bayesian bootstrap over groups (Rubin, 1981) with Gamma weights of variance 1 / (1 - share), which makes the
    variance of a weighted mean that of CR2. No weight is 0, so no class disappears from a draw.
    """
    shape = np.clip(1 - share, 1e-6, 1)
    return np.float32(np.random.default_rng(0).gamma(shape, 1 / shape, (DRAWS, share.size)))
