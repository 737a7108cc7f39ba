"""What all augmentations of one modality share."""

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array, Key

from mmjax.shards import example_keys
from mmjax.types import Batch


def each(change: Callable[[Array, Any], Any], batch: Batch, modality: str, key: Key[Array, ""]) -> Batch:
    """`change`(key, one example's input without its batch dimension) on every input of that modality, if there is any."""
    if modality not in batch.inputs:
        return batch
    keys = example_keys(key, batch.weight.shape[0])
    changed = jax.vmap(change)(keys, batch.inputs[modality])
    return batch.replace(inputs={**batch.inputs, modality: changed})
