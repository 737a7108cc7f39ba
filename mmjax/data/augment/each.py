"""Helpers for augmentations that change one modality."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from mmjax.shards import example_keys
from mmjax.types import Batch, Padded

__all__ = ["for_each_example", "on_valid_steps"]


def for_each_example(change: Callable[[Array, Any], Any], batch: Batch, modality: str, key: Key[Array, ""]) -> Batch:
    """Replaces each example's input x of a modality by change(key, x); a batch without the modality does not change."""
    if modality not in batch.inputs:
        return batch
    keys = example_keys(key, batch.weight.shape[0])
    changed = jax.vmap(change)(keys, batch.inputs[modality])
    return batch.replace(inputs={**batch.inputs, modality: changed})


def on_valid_steps(change: Callable[[Array, Array], Array]) -> Callable[[Array, Any], Any]:
    """Extends change(key, x) from arrays x [n ...] of one example to Padded, where the padding does not change."""

    def change_one(key, x):
        if not isinstance(x, Padded):
            return change(key, x)
        valid = (jnp.arange(x.x.shape[0]) < x.length).reshape(-1, *(1,) * (x.x.ndim - 1))
        return x.replace(x=jnp.where(valid, change(key, x.x), x.x))

    return change_one
