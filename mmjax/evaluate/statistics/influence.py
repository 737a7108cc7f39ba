"""The influence of every group of units on every metric, for all seeds, in one compiled program."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.types import Outcomes

__all__ = ["DRAWS", "MAX_LEFT_OUT", "UNITS_AT_ONCE", "Influence", "draw_weights", "influences", "mean_influences"]

MAX_LEFT_OUT = 100  # up to this number of groups, each group is left out in turn; with more, the gradient is accurate enough
DRAWS = 400  # random weightings for a metric that is not smooth
UNITS_AT_ONCE = 2**22  # units times weightings of one block: 16 MB of weights, and a few times as much inside a metric


class Influence(NamedTuple):
    """The values of one metric for s seeds, and their dependence on groups and on trainings.

    value: Float[s]. parts: Float[s k], the influence of each of k groups; if the metric is not smooth, Float[s r], its values
    under r random weightings. training: Float[s f], the mean value with seed s on fold f and all seeds on the other folds.
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

    The influence of a group is the sum over its units of weight times the derivative of the metric with respect to the weight.
    For up to MAX_LEFT_OUT groups it is the finite difference (1 - share) (metric - metric without the group): equal for a
    weighted mean, and more accurate for a nonlinear metric, such as a correlation, on few groups. If the metric is undefined
    without a group, the derivative is used.
    """

    def of_seed(value: Callable, is_smooth: bool, outcomes: Outcomes) -> tuple[jax.Array, jax.Array]:
        of_weight = partial(value, outcomes)
        if not is_smooth:
            return of_weight(weight), _blocks(lambda draw: of_weight(weight * draw[group]), draws, weight.size)
        whole, gradient = jax.value_and_grad(of_weight)(weight)
        by_group = jax.ops.segment_sum(jnp.where(weight > 0, weight * gradient, 0), group, share.size)
        if share.size > MAX_LEFT_OUT:
            return whole, by_group
        without = _blocks(lambda i: of_weight(jnp.where(group == i, 0, weight)), jnp.arange(share.size), weight.size)
        return whole, jnp.where(jnp.isfinite(without), (1 - share) * (whole - without), by_group)

    def of_metric(value: Callable, is_smooth: bool) -> Influence:
        values, parts = jax.vmap(partial(of_seed, value, is_smooth))(outcomes)
        training = values[:, None] if folds == 1 else _by_fold(value, outcomes, weight, fold, folds, len(values))
        return Influence(values, parts, training)

    return [of_metric(*metric) for metric in zip(functions, smooth)]


def mean_influences(
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
    """The result of `influences` for the weighted mean of a single outcome [s u], in NumPy."""
    del functions, smooth, draws
    (x,), total = outcomes.values(), np.sum(weight, dtype=np.float64)
    weight = np.float64(weight) / total if total else np.full(len(weight), np.nan)
    value = x @ weight
    parts = np.stack([np.bincount(group, weight * (of - mean), len(share)) for of, mean in zip(x, value)])
    of_fold = np.stack([np.bincount(fold, weight * of, folds) for of in x])
    others = of_fold.mean(axis=0)
    return [Influence(value, parts, of_fold + others.sum() - others)]


def _by_fold(value: Callable, outcomes: Outcomes, weight: Any, fold: Any, folds: int, seeds: int) -> jax.Array:
    """Float[s f]: the metric with seed s on fold f and one seed on all other folds, averaged over the latter."""

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
    """Random weights of the groups with mean 1, Float32[DRAWS k]; a deterministic function of share Float[k].

    This is the Bayesian bootstrap over groups (Rubin, 1981) with Gamma weights of variance 1 / (1 - share), for which the
    variance of a weighted mean is the CR2 variance. No weight is 0, so no class disappears from a draw.
    """
    shape = np.clip(1 - share, 1e-6, 1)
    return np.float32(np.random.default_rng(0).gamma(shape, 1 / shape, (DRAWS, share.size)))
