"""Changes of inputs as arrays: padding, norms, projections. Everything is computed per example.

x is the clean input, an array [b ...] or `Padded`; a change is an array [b ...]. radius: Float[b] or a float.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Key

from mmjax.types import Padded

__all__ = [
    "TINY",
    "array_of",
    "as_axis",
    "ball_draw",
    "ball_project",
    "ball_step",
    "changed_input",
    "channels",
    "in_range",
    "norms",
    "uniform",
    "valid_entries",
    "without_padding",
]

TINY = float(np.finfo(np.float32).tiny)


def array_of(x: Any) -> Array:
    """The array of an input."""
    return x.x if isinstance(x, Padded) else x


def as_axis(per_example: Any, ndim: int) -> Array:
    """Float[b] -> [b 1 1 ...] of this number of dimensions; a scalar is unchanged."""
    per_example = jnp.asarray(per_example)
    return per_example.reshape(per_example.shape + (1,) * (ndim - 1)) if per_example.ndim else per_example


def channels(values: Any, ndim: int) -> Array:
    """One number or one per channel, as an array that broadcasts against `ndim` dimensions."""
    return jnp.asarray(values, jnp.float32).reshape((1,) * (ndim - 1) + (-1,))


def valid_entries(x: Any, ndim: int) -> Bool[Array, "b ..."]:
    """True except in padding, [b n 1 ...] or [b 1 1 ...]."""
    mask = x.mask if isinstance(x, Padded) else jnp.ones((x.shape[0], 1), bool)
    return mask.reshape(mask.shape + (1,) * (ndim - 2)) if ndim > 1 else mask[:, 0]


def without_padding(x: Any, change: Array) -> Array:
    """The change with zeros in padding."""
    return jnp.where(valid_entries(x, change.ndim), change, 0)


def changed_input(x: Any, new: Array, live: Bool[Array, " b"]) -> Any:
    """x with the new values in the valid entries of live examples; everything else keeps its bits."""
    old = array_of(x)
    mask = valid_entries(x, old.ndim) & as_axis(live, old.ndim)
    new = jnp.where(mask, new.astype(old.dtype), old)
    return x.replace(x=new) if isinstance(x, Padded) else new


def norms(change: Array) -> Array:
    """The Euclidean norm of each example, [b 1 1 ...]. It is exact for very small numbers too."""
    axes = tuple(range(1, change.ndim))
    largest = jnp.maximum(jnp.max(jnp.abs(change), axis=axes, keepdims=True), TINY)
    return largest * jnp.sqrt(jnp.sum(jnp.square(change / largest), axis=axes, keepdims=True))


def uniform(keys: Key[Array, " b"], shape: tuple[int, ...]) -> Array:
    """Numbers in [-1, 1), one array of this shape per example."""
    return jax.vmap(lambda key: jax.random.uniform(key, shape, minval=-1.0, maxval=1.0))(keys)


def ball_step(x: Any, gradient: Array, radius: Any) -> Array:
    """The change of norm `radius` along the gradient; 0 where the gradient is 0."""
    gradient = without_padding(x, gradient)
    return as_axis(radius, gradient.ndim) * (gradient / jnp.maximum(norms(gradient), TINY))


def ball_project(x: Any, change: Array, radius: Any) -> Array:
    """Shortens changes that are longer than the radius."""
    change = without_padding(x, change)
    return change * jnp.minimum(1.0, as_axis(radius, change.ndim) / jnp.maximum(norms(change), TINY))


def ball_draw(x: Any, keys: Key[Array, " b"], shape: tuple[int, ...], radius: Any) -> Array:
    """A change drawn uniformly from the ball of each example."""

    def draw(key):
        direction, share = jax.random.split(key)
        return jax.random.normal(direction, shape[1:]), jax.random.uniform(share)

    direction, share = jax.vmap(draw)(keys)
    ones = jnp.broadcast_to(valid_entries(x, len(shape)), shape)
    size = jnp.sum(ones, axis=tuple(range(1, len(shape))), dtype=jnp.float32)
    return ball_step(x, direction, radius * share ** (1 / jnp.maximum(size, 1)))


def in_range(x: Array, change: Array, low: Any, high: Any, mean: Any = 0.0, deviation: Any = 1.0) -> Array:
    """Limits a change so that the original input, x * deviation + mean, remains within [low, high]; None for no bound.

    An input that is outside already is not moved further out, nor moved back.
    """
    original = x * channels(deviation, x.ndim) + channels(mean, x.ndim)
    if low is not None:
        change = jnp.maximum(change, jnp.minimum(channels(low, x.ndim) - original, 0))
    if high is not None:
        change = jnp.minimum(change, jnp.maximum(channels(high, x.ndim) - original, 0))
    return change
