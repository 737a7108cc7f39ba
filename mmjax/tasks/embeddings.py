"""Embeddings that are compared by their dot products: outputs of one modality, or of the fused tokens of several."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from mmjax.tasks.units import modality_of
from mmjax.types import Batch, Tokens

__all__ = ["embed", "modalities_of"]


def modalities_of(output: str, other: str, fused: tuple[str, ...] | None, known: Sequence[str]) -> tuple[str, ...]:
    """The modalities that an output is computed from, sorted: its own modality, or those of the fused tokens.

    output: compared with the output `other`. fused: the modalities of the fused tokens; None: all known modalities except the
    one of `other`, which would reveal the answer.
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

    An output of one modality uses the presence in the data; an output of fused tokens uses `present`, the subset that is
    scored. The other arguments are those of `Task.predict`.
    """
    source = batch.present if modality_of(output) else present
    used = {name: source[name] & (name in modalities) for name in source}
    any_present = jnp.stack([used[name] for name in sorted(used)]).any(axis=0)
    return jnp.where(any_present[:, None], apply(tokens, used)[output].astype(jnp.float32), 0)
