"""Gradients, SmoothGrad and integrated gradients of a score with respect to its inputs."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Key

__all__ = [
    "NODES", "PIECES", "Score", "completeness_gap", "gradient", "integrated_gradients", "integrated_gradients_to", "only",
    "smooth_gradient",
]  # fmt: skip

Score = Callable[[Any], Float[Array, " b"]]
"""Inputs, a pytree of float arrays [b ...] -> the score of each example, such as the logit of a class."""
NODES, PIECES = 8, 4  # of the Gauss-Legendre rule on each piece of the path, and pieces at first


def gradient(score: Score, inputs: Any) -> Any:
    """The derivative of each example's score by its inputs (Simonyan et al., 2014, section 3), a tree like `inputs`."""
    return jax.grad(lambda inputs: jnp.sum(score(inputs)))(inputs)


def smooth_gradient(
    score: Score, inputs: Any, key: Key[Array, ""], deviation: Any = 0.15, samples: int = 16
) -> Any:
    """SmoothGrad (Smilkov et al., 2017, equation 1): the mean gradient at inputs with normal noise.

    deviation: of the noise, in the units of the inputs: a number, or a tree like `inputs` with one number for each array.
    samples: number of noisy copies, which are evaluated one after the other.
    """
    leaves, tree = jax.tree.flatten(inputs)
    deviations = jax.tree.leaves(deviation)
    deviations = deviations * len(leaves) if len(deviations) == 1 else deviations

    def add(total, key):
        keys = jax.random.split(key, len(leaves))
        noisy = [x + sd * jax.random.normal(k, x.shape, x.dtype) for x, sd, k in zip(leaves, deviations, keys, strict=True)]
        return jax.tree.map(jnp.add, total, gradient(score, tree.unflatten(noisy))), None

    total, _ = lax.scan(add, jax.tree.map(jnp.zeros_like, inputs), jax.random.split(key, samples))
    return jax.tree.map(lambda x: x / samples, total)


def integrated_gradients(score: Score, inputs: Any, baselines: Any, steps: int = 50) -> Any:
    """Integrated gradients (Sundararajan et al., 2017, equation 1), along the straight path from the baselines.

        (x - b) * integral of the gradient at b + a (x - b) over a from 0 to 1

    They add up to score(inputs) - score(baselines), as far as the integral is exact: see `completeness_gap`.

    baselines: a tree like `inputs`. steps: nodes of the Gauss-Legendre rule, which with 50 is the default of Captum.
    """
    nodes, weights = (jnp.asarray(x, jnp.float32) for x in np.polynomial.legendre.leggauss(steps))
    path = jax.tree.map(jnp.subtract, inputs, baselines)

    def add(total, pair):
        node, weight = pair
        point = jax.tree.map(lambda b, change: b + (node + 1) / 2 * change, baselines, path)
        return jax.tree.map(lambda t, g: t + weight / 2 * g, total, gradient(score, point)), None

    mean, _ = lax.scan(add, jax.tree.map(jnp.zeros_like, path), (nodes, weights))
    return jax.tree.map(jnp.multiply, path, mean)


def integrated_gradients_to(
    score: Score, inputs: Any, baselines: Any, tolerance: Any = 1e-3, max_pieces: int = 128
) -> tuple[Any, Float[Array, " b"]]:
    """(`integrated_gradients`, the gap of each example), with as many pieces of the path as each example needs.

    The gap is `completeness_gap` divided by max(1, |score(inputs) - score(baselines)|). On each piece the attributions must add
    up to the change of the score too; the piece with the largest error is halved until the gap is within the tolerance, or
    there are `max_pieces`. So the nodes gather at the kinks of a network with ReLU. The tolerance may be traced. It
    bounds the sum over the features: errors of single features may cancel in it.
    """
    change = score(inputs) - score(baselines)
    path = jax.tree.map(jnp.subtract, inputs, baselines)
    examples = jnp.arange(change.shape[0])
    error_of = lambda errors: jnp.abs(errors.sum(axis=1)) / jnp.maximum(1, jnp.abs(change))

    def first(number, state):
        total, low, high, errors = state
        ends = jnp.full(change.shape, number / PIECES), jnp.full(change.shape, (number + 1) / PIECES)
        found, error = _piece(score, baselines, path, *ends)
        put = lambda array, value: array.at[:, number].set(value)
        return jax.tree.map(jnp.add, total, found), put(low, ends[0]), put(high, ends[1]), put(errors, error)

    def halve(state):
        count, total, low, high, errors = state
        worst = jnp.argmax(jnp.abs(errors), axis=1)
        left, right = low[examples, worst], high[examples, worst]
        middle = (left + right) / 2
        ends = jnp.stack([left, left, middle]), jnp.stack([right, middle, right])
        found, (_, error, other) = lax.map(lambda ends: _piece(score, baselines, path, *ends), ends)
        total = jax.tree.map(lambda total, x: total - x[0] + x[1] + x[2], total, found)
        low, high = low.at[:, count].set(middle), high.at[:, count].set(right)
        high = high.at[examples, worst].set(middle)
        return count + 1, total, low, high, errors.at[examples, worst].set(error).at[:, count].set(other)

    ends = jnp.zeros((len(examples), max_pieces))
    start = jax.lax.fori_loop(0, PIECES, first, (jax.tree.map(jnp.zeros_like, path), ends, ends, ends))
    unfinished = lambda state: (state[0] < max_pieces) & jnp.any(error_of(state[4]) > tolerance)
    found = lax.while_loop(unfinished, halve, (jnp.int32(PIECES), *start))
    return found[1], error_of(found[4])


def _piece(score: Score, baselines: Any, path: Any, low: Array, high: Array) -> tuple[Any, Float[Array, " b"]]:
    """(the integrated gradients of a piece of each example's path, their sum minus the change of the score). low, high:
    Float[b]."""
    nodes, weights = (jnp.asarray(x, jnp.float32) for x in np.polynomial.legendre.leggauss(NODES))
    along = lambda at: jax.tree.map(lambda b, change: b + _like(at, change.ndim) * change, baselines, path)

    def add(total, pair):
        node, weight = pair
        found = gradient(score, along(low + (high - low) * (node + 1) / 2))
        return jax.tree.map(lambda t, g: t + _like((high - low) / 2, g.ndim) * weight * g, total, found), None

    mean, _ = lax.scan(add, jax.tree.map(jnp.zeros_like, path), (nodes, weights))
    found = jax.tree.map(jnp.multiply, path, mean)
    return found, _sum(found) - (score(along(high)) - score(along(low)))


def completeness_gap(score: Score, attributions: Any, inputs: Any, baselines: Any) -> Float[Array, " b"]:
    """|sum of an example's attributions - (score(inputs) - score(baselines))|: the error of integrated gradients."""
    return jnp.abs(_sum(attributions) - (score(inputs) - score(baselines)))


def only(attributions: Any, valid: Any) -> Any:
    """The attributions with exact zeros where `valid` is False, whatever stands there, even NaN.

    valid: a tree like `attributions` of masks Bool[b] or Bool[b n ...], such as presence or steps that are no padding.
    """
    return jax.tree.map(lambda x, mask: jnp.where(_like(mask, x.ndim), x, 0), attributions, valid)


def _like(mask: Array, ndim: int) -> Array:
    """[b ...] with axes of size 1 at the end, so that it has this number of axes."""
    return mask.reshape(mask.shape + (1,) * (ndim - mask.ndim))


def _sum(attributions: Any) -> Float[Array, " b"]:
    return sum(jnp.sum(x.reshape(x.shape[0], -1), axis=1, dtype=jnp.float32) for x in jax.tree.leaves(attributions))
