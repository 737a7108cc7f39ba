"""Masked reductions over the tokens or the modalities of an example. All are finite if every entry is masked."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from mmjax.types import Tokens

__all__ = [
    "any_token", "first_token", "first_valid", "last_state", "last_token", "masked_max", "masked_mean", "masked_root_mean",
    "masked_softmax", "position_weighted_mean",
]


def masked_mean(tokens: Tokens) -> Float[Array, "b d"]:
    """The mean of the valid tokens, summed in float32; zero without a valid token."""
    valid = tokens.mask[..., None]
    total = jnp.sum(jnp.where(valid, tokens.x, 0), axis=1, dtype=jnp.float32)
    count = jnp.sum(valid, axis=1, dtype=jnp.float32)
    return (total / jnp.maximum(count, 1.0)).astype(tokens.x.dtype)


def masked_root_mean(tokens: Tokens) -> Float[Array, "b d"]:
    """The sum of the valid tokens divided by the square root of their number, in float32; zero without a valid token."""
    return masked_mean(tokens) * jnp.sqrt(jnp.sum(tokens.mask, axis=1, dtype=jnp.float32))[:, None].astype(tokens.x.dtype)


def position_weighted_mean(tokens: Tokens) -> Float[Array, "b d"]:
    """The mean of the valid tokens with weights 1, 2, 3, ... (Muennighoff, 2022, "SGPT"); zero without a valid token."""
    weight = jnp.where(tokens.mask, 1 + jnp.arange(tokens.mask.shape[1])[None], 0).astype(jnp.float32)
    total = jnp.sum(jnp.where(tokens.mask[..., None], tokens.x * weight[..., None], 0), axis=1, dtype=jnp.float32)
    return (total / jnp.maximum(jnp.sum(weight, axis=1), 1.0)[:, None]).astype(tokens.x.dtype)


def masked_max(tokens: Tokens) -> Float[Array, "b d"]:
    """The maximum of the valid tokens in each dimension; zero without a valid token."""
    valid = tokens.mask[..., None]
    lowest = jnp.finfo(tokens.x.dtype).min
    return jnp.where(valid.any(axis=1), jnp.max(jnp.where(valid, tokens.x, lowest), axis=1), 0)


def first_token(tokens: Tokens) -> Float[Array, "b d"]:
    """The first token, such as the class token of a Transformer."""
    return tokens.x[:, 0]


def first_valid(tokens: Tokens) -> Float[Array, "b d"]:
    """The first valid token, or the first token if none is valid."""
    return jnp.take_along_axis(tokens.x, jnp.argmax(tokens.mask, axis=1)[:, None, None], axis=1)[:, 0]


def last_token(tokens: Tokens) -> Float[Array, "b d"]:
    """The last valid token, or the first token if none is valid. Valid tokens must precede padding, as in `Padded`."""
    return last_state(tokens.x, jnp.sum(tokens.mask, axis=1))


def any_token(tokens: Tokens) -> Bool[Array, " b"]:
    """Bool[b], True for examples with at least one valid token."""
    return tokens.mask.any(axis=1)


def masked_softmax(scores: Float[Array, "*b k"], mask: Bool[Array, "*b k"]) -> Float[Array, "*b k"]:
    """Softmax over the valid entries of the last axis, in float32. Masked entries are 0; all are 0 if none is valid."""
    lowest = jnp.finfo(jnp.float32).min
    scores = jnp.where(mask, scores.astype(jnp.float32), lowest)
    top = lax.stop_gradient(jnp.max(scores, axis=-1, keepdims=True))
    weight = jnp.where(mask, jnp.exp(jnp.where(mask, scores - top, 0)), 0)  # exponents are at most 0
    return weight / jnp.maximum(jnp.sum(weight, axis=-1, keepdims=True), jnp.finfo(jnp.float32).tiny)


def last_state(states: Float[Array, "b n d"], length: Int[Array, " b"]) -> Float[Array, "b d"]:
    """The state at the last valid step, or at the first step if `length` is zero."""
    step = jnp.maximum(length - 1, 0)
    return jnp.take_along_axis(states, step[:, None, None], axis=1)[:, 0]
