"""Words as inputs of attributions: the embeddings of token ids, and models that take other embeddings instead."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from mmjax.nn.presence import encode
from mmjax.robust.embeddings import ShiftedTokens, check_token_ids
from mmjax.types import Padded

__all__ = ["embeddings_of", "shifted"]


def embeddings_of(encoder: nn.Module, variables: Any, ids: Padded) -> Float[Array, "b n d"]:
    """The embeddings that an encoder of token ids looks up: the output of the `nn.Embed` that receives the ids.

    variables: of the encoder. Padding is embedded as id 0. ValueError if no `nn.Embed` receives the ids as they are.
    """
    check_token_ids("embeddings_of", ids)
    ids = Padded(jnp.where(ids.mask, ids.x, 0), ids.length)
    found = []

    def record(next_method, args, kwargs, context):
        output = next_method(*args, **kwargs)
        embeds = isinstance(context.module, nn.Embed) and context.method_name == "__call__"
        if embeds and args and args[0] is ids.x:
            found.append(output)
        return output

    with nn.intercept_methods(record):
        nn.apply(lambda module: encode(module, ids, jnp.ones(ids.x.shape[0], bool)), encoder)(variables)
    if not found:
        raise ValueError(f"{type(encoder).__name__} has no nn.Embed that takes the token ids, so its words have no embeddings")
    return found[0].astype(jnp.float32)


def shifted(ids: Padded, embedded: Float[Array, "b n d"], new: Float[Array, "b n d"]) -> ShiftedTokens:
    """The ids with other embeddings, as `robust.embeddings.SoftTokens` takes them. embedded: those of `embeddings_of`."""
    return ShiftedTokens(ids, new - embedded)
