"""The influence of every group of units on every metric, for all seeds, in one compiled program."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.types import Outcomes

LEFT_OUT = 100  # up to this number of groups, each is left out in turn; the gradient suffices for more
DRAWS = 400  # weights resampled for a metric that is not smooth
UNITS_AT_ONCE = 2**22  # units times weightings of one block: 16 MB of weights, and a few times that inside a metric


class Influence(NamedTuple):
    """Of one metric and s seeds.

    value: Float[s]. parts: Float[s k], the influence of each of k groups; Float[s r], the values under r random weightings, if
    the metric is not smooth. training: Float[s f], the value as a function of the seed on one fold.
    """

    value: Any
    parts: Any
    training: Any


@partial(jax.jit, static_argnames=("functions", "smooth", "folds"))
def influences(
    functions: tuple[Callable, ...],
    smooth: tuple[bool, ...],
    outcomes: Outcomes,
    weight: Any,
    group: Any,
    share: Any,
    draws: Any,
    fold: Any,
    folds: int,
) -> list[Influence]:
    """One `Influence` per function of (outcomes [u ...], weight [u]) -> Float[].

    outcomes: [s u ...]. weight: Float[u]. group: Int[u] in 0..k-1. share: Float[k], the weight of each group divided by the
    total. draws: Float[r k], random weights of the groups. fold: Int[u] in 0..folds-1.

    The influence of a group is the derivative of a smooth metric with respect to the weights, summed over the units of the
    group. For up to LEFT_OUT groups it is a finite difference, (1 - share) (metric - metric without the group): equal for a
    weighted mean, and more accurate for a curved metric such as a correlation on few groups. Where a metric is undefined
    without a group, the derivative remains.
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
        return whole, jnp.where(jnp.isfinite(without), (1 - share) * (whole - without), by_group)

    def of_metric(value: Callable, is_smooth: bool) -> Influence:
        values, parts = jax.vmap(partial(of_seed, value, is_smooth))(outcomes)
        training = values[:, None] if folds == 1 else _effects(value, outcomes, weight, fold, folds, len(values))
        return Influence(values, parts, training)

    return [of_metric(*metric) for metric in zip(functions, smooth)]


def _effects(value: Callable, outcomes: Outcomes, weight: Any, fold: Any, folds: int, seeds: int) -> jax.Array:
    """Float[s f]: the metric with seed s on fold f, averaged over the seeds on all other folds."""

    def mixed(i: jax.Array) -> jax.Array:
        own, f, other = i // (folds * seeds), i // seeds % folds, i % seeds
        chosen = jnp.where(fold == f, own, other)
        return value({name: x[chosen, jnp.arange(len(fold))] for name, x in outcomes.items()}, weight)

    values = _blocks(mixed, jnp.arange(seeds * folds * seeds), weight.size)
    return values.reshape(seeds, folds, seeds).mean(axis=2)


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
