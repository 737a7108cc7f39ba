"""The sanity check of Adebayo et al. (2018): an explanation must depend on the weights of the model that it explains."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

__all__ = ["LIMIT", "middle_ranks", "randomized", "rank_correlation"]

LIMIT = 0.2  # a smaller absolute rank correlation: random weights destroyed the explanation


def randomized(variables: Any, key: Key[Array, ""]) -> Any:
    """The variables with the entries of every array in random order, so that each keeps its distribution.

    Arrays with one value stay as they are. The paper draws the weights again from their initial distribution; a permutation
    needs no initialiser, so it also serves published weights.
    """
    leaves, tree = jax.tree.flatten(variables)
    keys = jax.random.split(key, len(leaves))
    mix = lambda key, x: jax.random.permutation(key, jnp.asarray(x).reshape(-1)).reshape(jnp.shape(x))
    return tree.unflatten([mix(k, x) for k, x in zip(keys, leaves)])


def rank_correlation(
    a: Float[Array, "b ..."], b: Float[Array, "b ..."], valid: Bool[Array, "b ..."] | None = None
) -> Float[Array, " b"]:
    """Spearman's rank correlation of two attributions of each example over its valid features; ties have their mean rank.

    The paper compares absolute values (section 3.1), which is up to the caller. NaN if one of them is constant.
    """
    flat = lambda x: x.reshape(x.shape[0], -1)
    mask = jnp.ones(a.shape, bool) if valid is None else jnp.broadcast_to(valid, a.shape)

    def one(a, b, mask):
        a, b = (jnp.where(mask, middle_ranks(x, mask), 0) for x in (a, b))
        count = jnp.maximum(mask.sum(), 1)
        a, b = (jnp.where(mask, x - x.sum() / count, 0) for x in (a, b))
        spread = jnp.sqrt(jnp.sum(a * a)) * jnp.sqrt(jnp.sum(b * b))
        return jnp.where(spread > 0, jnp.sum(a * b) / jnp.maximum(spread, 1e-30), jnp.nan)

    return jax.vmap(one)(flat(a), flat(b), flat(mask))


def middle_ranks(x: Float[Array, " n"], mask: Bool[Array, " n"]) -> Float[Array, " n"]:
    """The rank of each valid value among the valid ones, from 0; equal values have their mean rank."""
    x = jnp.where(mask, x, jnp.inf)
    ordered, count = jnp.sort(x), mask.sum()
    low, high = jnp.searchsorted(ordered, x, side="left"), jnp.searchsorted(ordered, x, side="right")
    return (low + jnp.minimum(high, count) - 1).astype(jnp.float32) / 2
