"""Predictions of all seeds for every subset of modalities: encoded once, decoded under each subset's presence, in one call."""

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from mmjax.data.order import in_order
from mmjax.types import Batch

Subset = tuple[str, ...]
MOST = 6  # modalities whose every subset is evaluated; 12 of them would have 4,095


def subsets_of(modalities: Sequence[str]) -> tuple[Subset, ...]:
    """Every non-empty subset, small ones first, names sorted: 7 of three modalities.

    Of more than MOST modalities: each alone, all but each, and all of them.
    """
    names = sorted(modalities)
    sizes = range(1, len(names) + 1) if len(names) <= MOST else (1, len(names) - 1, len(names))
    return tuple(chosen for size in sizes for chosen in combinations(names, size))


def subset_name(subset: Subset) -> str:
    """Its name in results: the modalities joined by "+"."""
    return "+".join(subset)


def logits_by_subset(
    model: nn.Module, subsets: Sequence[Subset], output: str
) -> Callable[[Any, Batch], Float[Array, "s k b *n c"]]:
    """(variables of all seeds [s ...], batch) -> logits of each seed s and subset k, in one compiled call."""
    names = sorted(model.encoders)
    masks = {name: jnp.array([name in subset for subset in subsets]) for name in names}

    def one_seed(variables, batch):
        tokens = model.apply(variables, batch, method="encode")

        def one_subset(mask):
            present = {name: batch.present[name] & mask[name] for name in names}
            return model.apply(variables, tokens, present, method="decode")[output]

        return jax.vmap(one_subset)(masks)

    return jax.jit(jax.vmap(one_seed, in_axes=(0, None)))


def predict(
    run: Callable[[Any, Batch], Float[Array, "s k b *n c"]],
    variables: Any,
    feed: Callable[[np.ndarray], Batch],
    rows: int,
    batch: int = 256,
) -> Float[np.ndarray, "s k rows *n c"]:
    """Logits of all `rows` rows, in their order; the padding of the last batch is cut off."""
    parts = [np.asarray(run(variables, feed(index))) for index in in_order(rows, min(batch, rows))]
    return np.concatenate(parts, axis=2)[:, :, :rows]
