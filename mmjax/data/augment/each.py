"""What all augmentations of one modality share."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from mmjax.shards import example_keys
from mmjax.types import Batch, Padded


def each(change: Callable[[Array, Any], Any], batch: Batch, modality: str, key: Key[Array, ""]) -> Batch:
    """`change`(key, one example's input without its batch dimension) on every input of that modality, if there is any."""
    if modality not in batch.inputs:
        return batch
    keys = example_keys(key, batch.weight.shape[0])
    changed = jax.vmap(change)(keys, batch.inputs[modality])
    return batch.replace(inputs={**batch.inputs, modality: changed})


def real_steps(change: Callable[[Array, Array], Array]) -> Callable[[Array, Any], Any]:
    """`change`(key, [n ...]) for one example that is an array or a Padded, of which what is beyond its length stays."""

    def one(key, x):
        if not isinstance(x, Padded):
            return change(key, x)
        real = (jnp.arange(x.x.shape[0]) < x.length).reshape(-1, *(1,) * (x.x.ndim - 1))
        return x.replace(x=jnp.where(real, change(key, x.x), x.x))

    return one
