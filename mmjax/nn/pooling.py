"""Masked reductions: over the tokens of an example, or over its modalities. All are finite where nothing is there."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from mmjax.types import Tokens


def masked_mean(tokens: Tokens) -> Float[Array, "b d"]:
    """Mean over the tokens that are there, summed in float32; zero where there is none."""
    there = tokens.mask[..., None]
    total = jnp.sum(jnp.where(there, tokens.x, 0), axis=1, dtype=jnp.float32)
    count = jnp.sum(there, axis=1, dtype=jnp.float32)
    return (total / jnp.maximum(count, 1.0)).astype(tokens.x.dtype)


def first_token(tokens: Tokens) -> Float[Array, "b d"]:
    """The first token: the class token where the encoder puts one."""
    return tokens.x[:, 0]


def last_token(tokens: Tokens) -> Float[Array, "b d"]:
    """The last token that is there; the first one where none is. Tokens lie as in a `Sequence`."""
    return last_state(tokens.x, jnp.sum(tokens.mask, axis=1))


def any_token(tokens: Tokens) -> Bool[Array, " b"]:
    """Bool[b]: does the example have at least one token?"""
    return tokens.mask.any(axis=1)


def masked_softmax(scores: Float[Array, "*b k"], mask: Bool[Array, "*b k"]) -> Float[Array, "*b k"]:
    """Softmax over the last axis among the entries that are there, in float32: 0 elsewhere, and 0 throughout where none is."""
    lowest = jnp.finfo(jnp.float32).min
    scores = jnp.where(mask, scores.astype(jnp.float32), lowest)
    top = lax.stop_gradient(jnp.max(scores, axis=-1, keepdims=True))
    weight = jnp.where(mask, jnp.exp(jnp.where(mask, scores - top, 0)), 0)  # no exponent is ever above zero
    return weight / jnp.maximum(jnp.sum(weight, axis=-1, keepdims=True), jnp.finfo(jnp.float32).tiny)


def last_state(states: Float[Array, "b n d"], length: Int[Array, " b"]) -> Float[Array, "b d"]:
    """The state at the last real step; the first one where `length` is zero."""
    at = jnp.maximum(length - 1, 0)
    return jnp.take_along_axis(states, at[:, None, None], axis=1)[:, 0]
