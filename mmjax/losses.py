"""Losses: ({head: outputs}, batch) -> one value per example. The step takes their weighted mean."""

from collections.abc import Mapping

import optax
from jaxtyping import Array, Float

from mmjax.types import Batch


def cross_entropy(outputs: Mapping[str, Array], batch: Batch) -> Float[Array, " b"]:
    """-log softmax(logits)[target] in nats, summed over the heads; each head's target is the batch's of the same name."""
    missing = sorted(set(outputs) - set(batch.targets))
    if missing:
        raise ValueError(f"the heads {missing} have no target of that name; the batch's targets are {sorted(batch.targets)}")
    return sum(
        optax.softmax_cross_entropy_with_integer_labels(logits, batch.targets[name])
        for name, logits in sorted(outputs.items())
    )
