"""Attention rollout: how much each output token of a Transformer depends on each input token, by its attention weights."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from mmjax.nn.attention import Attention, attention_weights

__all__ = ["attention_rollout", "self_attention"]


def attention_rollout(weights: Sequence[Float[Array, "b h n n"]]) -> Float[Array, "b n n"]:
    """The product of (A + I) / 2 over the layers, first layer to the right (Abnar and Zuidema, 2020, section 3, equation 1).

    weights: the attention of each layer; A is its mean over heads. Row i of the result sums to 1 if the rows of A do: it
    distributes output token i over the input tokens.
    """
    if not weights:
        raise ValueError("attention_rollout: there are no attention weights; the model needs self-attention")
    found = jnp.eye(weights[0].shape[-1])[None]
    for layer in weights:
        found = (jnp.mean(layer, axis=1) + jnp.eye(layer.shape[-1])[None]) / 2 @ found
    return found


def self_attention(run: Callable[[], Any]) -> list[Float[Array, "b h n n"]]:
    """The weights of every self-attention (`mmjax.nn.attention.Attention`) that `run()` applies, in the order of the calls.

    run: () -> anything; it applies a linen model. The weights are computed again from the inputs and the parameters of each
    layer, so the model needs no output for them.
    """
    found = []

    def record(next_method, args, kwargs, context):
        module, names = context.module, ("context", "mask")
        if isinstance(module, Attention) and context.method_name == "__call__":
            given = dict(zip(names, args[1:])) | {name: kwargs[name] for name in names if name in kwargs}
            if given.get("context") is None:
                found.append(_weights(module, args[0], given.get("mask")))
        return next_method(*args, **kwargs)

    with nn.intercept_methods(record):
        run()
    return found


def _weights(module: Attention, x: Float[Array, "b n d"], mask: Any) -> Float[Array, "b h n n"]:
    params, mask = module.variables["params"], jnp.ones(x.shape[:2], bool) if mask is None else mask

    def project(name):
        y = x.astype(module.dtype) @ params[name]["kernel"].astype(module.dtype)
        y = y + params[name]["bias"].astype(module.dtype)[None, None] if "bias" in params[name] else y
        return y.reshape(*y.shape[:2], module.heads, -1).swapaxes(1, 2)

    return attention_weights(project("query"), project("key"), mask)
