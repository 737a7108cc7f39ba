"""Words as inputs of attributions: the embeddings of token ids, and models that take other embeddings instead."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax.traverse_util import flatten_dict
from jaxtyping import Array, Float

from mmjax.nn.presence import encode
from mmjax.robust.embeddings import check_token_ids
from mmjax.types import Padded

__all__ = ["Path", "embeddings_of", "with_embeddings"]

Path = tuple[str, ...]
"""The place of a module in a model, as in its variables, such as ("encoders_text", "word")."""


def embeddings_of(encoder: nn.Module, variables: Any, ids: Padded) -> tuple[Float[Array, "b n d"], Path]:
    """(the embeddings that an encoder of token ids looks up, the path of its `nn.Embed`): of the one that receives the ids.

    variables: of the encoder. Padding is embedded as id 0. ValueError if no `nn.Embed` with parameters at its own path receives
    the ids as they are: not in `LoRA`, which applies an encoder to variables of its own.
    """
    check_token_ids("embeddings_of", ids)
    ids = Padded(jnp.where(ids.mask, ids.x, 0), ids.length)
    found, known = [], flatten_dict(variables.get("params", {}))

    def record(next_method, args, kwargs, context):
        output = next_method(*args, **kwargs)
        embeds = isinstance(context.module, nn.Embed) and context.method_name == "__call__"
        if embeds and args and args[0] is ids.x and (*context.module.path, "embedding") in known:
            found.append((output.astype(jnp.float32), context.module.path))
        return output

    with nn.intercept_methods(record):
        encoder.apply(variables, method=lambda module: encode(module, ids, jnp.ones(ids.x.shape[0], bool)))
    if not found:
        raise ValueError(f"{type(encoder).__name__} has no nn.Embed that takes the token ids, so its words have no embeddings")
    return found[0]


def with_embeddings(new: Mapping[Path, Float[Array, "b n d"]]) -> AbstractContextManager:
    """Inside it, models are applied with these embeddings as the output of the `nn.Embed` at each path."""

    def replace(next_method, args, kwargs, context):
        output = next_method(*args, **kwargs)
        other = new.get(context.module.path) if context.method_name == "__call__" else None
        return output if other is None else other.astype(output.dtype)

    return nn.intercept_methods(replace)
