"""Embeddings of one modality, or of the fused tokens of several, that are compared with those of another modality."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from mmjax.tasks.units import modality_of
from mmjax.types import Batch, Tokens


def modalities_of(output: str, other: str, fused: tuple[str, ...] | None, known: Sequence[str]) -> tuple[str, ...]:
    """The modalities that an output is computed from, sorted: its own one, or those that the fused tokens see.

    fused: the latter; None for all known modalities except that of the other output, which would give the answer away.
    """
    if modality_of(output):
        return (modality_of(output),)
    return tuple(sorted(fused or set(known) - {modality_of(other)}))


def embed(
    output: str,
    modalities: Sequence[str],
    apply: Callable,
    tokens: Mapping[str, Tokens],
    present: Mapping[str, Any],
    batch: Batch,
) -> Float[Array, "b d"]:
    """An output computed from these modalities alone; zeros where all of them are absent.

    An output of one modality is computed from the data's own presence, and one of the fused tokens under the subset `present`.
    The other arguments are those of `Task.predict`.
    """
    source = batch.present if modality_of(output) else present
    seen = {name: source[name] & (name in modalities) for name in source}
    any_present = jnp.stack([seen[name] for name in sorted(seen)]).any(axis=0)
    return jnp.where(any_present[:, None], apply(tokens, seen)[output].astype(jnp.float32), 0)
