"""Gradients, SmoothGrad and integrated gradients of a score with respect to its inputs."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Key

__all__ = [
    "NODES", "Score", "completeness_gap", "gradient", "integrated_gradients", "integrated_gradients_to", "only", "per_feature",
    "smooth_gradient",
]  # fmt: skip

Score = Callable[[Any], Float[Array, " b"]]
"""Inputs, a pytree of float arrays [b ...] -> the score of each example, such as the logit of a class."""
NODES = 16  # of the Gauss-Legendre rule on each piece of the path


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


def integrated_gradients(score: Score, inputs: Any, baselines: Any, steps: int = 50, pieces: Any = 1) -> Any:
    """Integrated gradients (Sundararajan et al., 2017, equation 1), along the straight path from the baselines.

        (x - b) * integral of the gradient at b + a (x - b) over a from 0 to 1

    They add up to score(inputs) - score(baselines), as far as the integral is exact: see `completeness_gap`.

    baselines: a tree like `inputs`. steps: nodes of the Gauss-Legendre rule on each piece. pieces: of equal length; their number
    may be traced. With one piece of 50 nodes it is the default of Captum.
    """
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    node = jnp.asarray((nodes + 1) / 2, jnp.float32)
    weight = jnp.asarray(weights / 2, jnp.float32)
    path = jax.tree.map(jnp.subtract, inputs, baselines)
    pieces = jnp.asarray(pieces, jnp.int32)

    def add(number, total):
        at = (number // steps + node[number % steps]) / pieces
        point = jax.tree.map(lambda b, change: b + at * change, baselines, path)
        part = weight[number % steps] / pieces
        return jax.tree.map(lambda t, g: t + part * g, total, gradient(score, point))

    mean = lax.fori_loop(0, pieces * steps, add, jax.tree.map(jnp.zeros_like, path))
    return jax.tree.map(jnp.multiply, path, mean)


def integrated_gradients_to(
    score: Score, inputs: Any, baselines: Any, tolerance: float = 1e-3, max_pieces: int = 64
) -> tuple[Any, Float[Array, " b"]]:
    """(`integrated_gradients`, the gap of each example), with as many pieces as the largest gap needs.

    The number of pieces of 16 nodes is doubled until no gap exceeds tolerance * max(1, |score(inputs) - score(baselines)|), or
    `max_pieces` is reached; networks with kinks (ReLU) need more than smooth ones.
    """
    change = score(inputs) - score(baselines)
    allowed = tolerance * jnp.maximum(1, jnp.abs(change))

    def run(pieces):
        found = integrated_gradients(score, inputs, baselines, NODES, pieces)
        return pieces, found, jnp.abs(_sum(found) - change)

    insufficient = lambda state: jnp.any(state[2] > allowed) & (2 * state[0] <= max_pieces)
    _, found, gap = lax.while_loop(insufficient, lambda state: run(2 * state[0]), run(jnp.int32(1)))
    return found, gap


def completeness_gap(score: Score, attributions: Any, inputs: Any, baselines: Any) -> Float[Array, " b"]:
    """|sum of an example's attributions - (score(inputs) - score(baselines))|: the error of integrated gradients."""
    return jnp.abs(_sum(attributions) - (score(inputs) - score(baselines)))


def only(attributions: Any, valid: Any) -> Any:
    """The attributions with exact zeros where `valid` is False, whatever stands there, even NaN.

    valid: a tree like `attributions` of masks Bool[b] or Bool[b n ...], such as presence or steps that are no padding.
    """
    return jax.tree.map(lambda x, mask: jnp.where(_like(mask, x.ndim), x, 0), attributions, valid)


def per_feature(attribution: Float[Array, "b ..."], axes: int = 1) -> Float[Array, "b ..."]:
    """The sum over the last `axes` axes: of a pixel over its colours, of a word over its embedding."""
    return jnp.sum(attribution, axis=tuple(range(-axes, 0))) if axes else attribution


def _like(mask: Bool[Array, "b ..."], ndim: int) -> Bool[Array, "b ..."]:
    return mask.reshape(mask.shape + (1,) * (ndim - mask.ndim))


def _sum(attributions: Any) -> Float[Array, " b"]:
    return sum(jnp.sum(x.reshape(x.shape[0], -1), axis=1, dtype=jnp.float32) for x in jax.tree.leaves(attributions))
