"""Occlusion, and curves of deletion and insertion, which measure an attribution by removing what it names."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

__all__ = ["STEPS", "OneScore", "area", "deletion", "insertion", "occlusion", "ranks"]

STEPS = 16  # of a curve

OneScore = Callable[[Float[Array, "b ..."]], Float[Array, " b"]]
"""The array of one modality [b ...] -> the score of each example; other modalities stay as they are."""


def occlusion(
    score: OneScore, x: Float[Array, "b ..."], baseline: Any, window: Sequence[int], stride: Sequence[int] | None = None
) -> Float[Array, "b ..."]:
    """The loss of score if a window is replaced by the baseline (Zeiler and Fergus, 2014, section 4.2), like x.

    Windows start at 0 and every `stride`, until they cover all of x; the last one of an axis may be cut off. A feature in
    several windows has the mean of their values, as in Captum.

    baseline: a number, or an array that broadcasts against x. window: its size along the axes of x after the first; a sensor
    channel is (steps, 1), a word (1, width), a time-frequency bin (1, 1). stride: None for that of the window.
    Raises ValueError if a window is larger than its axis or does not fit the number of axes, or a stride is larger than its
    window.
    """
    shape, stride = x.shape[1:], tuple(window if stride is None else stride)
    if not len(window) == len(stride) == len(shape):
        raise ValueError(f"occlusion: window {tuple(window)} and stride {stride} need {len(shape)} sizes, as the input has")
    for size, step, axis in zip(window, stride, shape):
        if not 1 <= step <= size <= axis:
            raise ValueError(
                f"occlusion: window {tuple(window)} with stride {stride} does not fit an input of {shape}; each stride must be "
                "at least 1 and at most its window, which must be at most its axis"
            )
    counts = [-(-(axis - size) // step) + 1 for size, step, axis in zip(window, stride, shape)]
    starts = jnp.asarray([*itertools.product(*(range(0, n * step, step) for n, step in zip(counts, stride)))], jnp.int32)
    whole, baseline = score(x), jnp.asarray(baseline, x.dtype)
    window = jnp.asarray(tuple(window), jnp.int32)

    def add(state, start):
        total, count = state
        inside = _box(start, start + window, shape)
        lost = whole - score(jnp.where(inside[None], _broadcast(baseline, x), x))
        lost = lost.reshape((-1,) + (1,) * len(shape)) * inside[None]
        return (total + lost, count + inside), None

    zeros = (jnp.zeros(x.shape, jnp.float32), jnp.zeros(shape, jnp.float32))
    (total, count), _ = lax.scan(add, zeros, starts)
    return total / count[None]


def deletion(
    score: OneScore,
    x: Float[Array, "b ..."],
    baseline: Any,
    attribution: Float[Array, "b ..."],
    valid: Bool[Array, "b ..."] | None = None,
    steps: int = STEPS,
) -> Float[Array, "b k"]:
    """The score while features are replaced by the baseline, the most important ones first (Petsiuk et al., 2018, "RISE").

    Value k is the score without the first k / steps of the features; a good attribution makes it fall fast. attribution: of
    the features, the leading axes of x; the remaining axes, such as colours, go together. valid: like attribution, False for
    padding, which stays; None for all. Returns steps + 1 values.
    """
    return _curve(score, x, baseline, attribution, valid, steps, lambda removed: removed)


def insertion(
    score: OneScore,
    x: Float[Array, "b ..."],
    baseline: Any,
    attribution: Float[Array, "b ..."],
    valid: Bool[Array, "b ..."] | None = None,
    steps: int = STEPS,
) -> Float[Array, "b k"]:
    """As `deletion`, but all features are replaced at first and come back, the most important ones first.

    A good attribution makes the score rise fast.
    """
    return _curve(score, x, baseline, attribution, valid, steps, jnp.logical_not)


def area(curve: Float[Array, "*n k"]) -> Float[Array, "*n"]:
    """The area under a curve of equally spaced values over [0, 1], by trapezoids."""
    return jnp.mean((curve[..., 1:] + curve[..., :-1]) / 2, axis=-1)


def ranks(
    attribution: Float[Array, "b ..."], valid: Bool[Array, "b ..."] | None = None
) -> tuple[Int[Array, "b f"], Int[Array, " b"]]:
    """(the place of each feature by falling attribution, the number of valid features); other features are last."""
    flat = attribution.reshape(attribution.shape[0], -1)
    valid = jnp.ones(flat.shape, bool) if valid is None else jnp.broadcast_to(valid, attribution.shape).reshape(flat.shape)
    order = jnp.argsort(jnp.where(valid, -flat, jnp.inf), axis=1, stable=True)
    return jnp.argsort(order, axis=1), valid.sum(axis=1)


def _curve(score, x, baseline, attribution, valid, steps, replaced_of):
    if attribution.shape != x.shape[: attribution.ndim]:
        raise ValueError(f"attribution has the shape {attribution.shape}, but the leading axes of the input are {x.shape}")
    place, count = ranks(attribution, valid)
    known = jnp.arange(place.shape[1])[None] < count[:, None]  # by place
    known = jnp.take_along_axis(known, place, axis=1)
    other = _broadcast(jnp.asarray(baseline, x.dtype), x)

    def at(step):
        replaced = replaced_of(place * steps < step * count[:, None]) & known
        replaced = replaced.reshape(attribution.shape + (1,) * (x.ndim - attribution.ndim))
        return score(jnp.where(replaced, other, x))

    return jax.lax.map(at, jnp.arange(steps + 1)).T


def _box(low: Int[Array, " d"], high: Int[Array, " d"], shape: tuple[int, ...]) -> Bool[Array, "..."]:
    """True for the entries of an array of this shape with low <= index < high."""
    inside = jnp.ones(shape, bool)
    for axis in range(len(shape)):
        index = lax.broadcasted_iota(jnp.int32, shape, axis)
        inside &= (low[axis] <= index) & (index < high[axis])
    return inside


def _broadcast(baseline: Array, x: Array) -> Array:
    return jnp.broadcast_to(baseline.reshape((1,) * (x.ndim - baseline.ndim) + baseline.shape), x.shape)
