"""A block of a language model: x + attention(norm(x)), then x + perceptron(norm(x)).

Attention is causal; several heads share keys and values, and queries and keys are rotated by their positions.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mmjax.decoders.prefix import updated
from mmjax.decoders.transformer import KeysValues
from mmjax.nn.dense import Dense
from mmjax.nn.dropout import Dropout
from mmjax.nn.factored_logits import soft_cap
from mmjax.nn.norm import RMSNorm
from mmjax.nn.pooling import masked_softmax
from mmjax.nn.rotary import Rotation, rotate

__all__ = ["DENSE_LAYERS", "POST_NORMS", "PRE_NORMS", "QK_NORMS", "GroupedAttention", "LanguageBlock"]

PRE_NORMS = ("norm1", "norm2")  # before attention and perceptron
POST_NORMS = ("post_norm1", "post_norm2")  # on their outputs, before the residual sum
QK_NORMS = ("query_norm", "key_norm")  # on each head's queries and keys, before the rotation
DENSE_LAYERS = ("query", "key", "value", "out", "gate", "up", "down")


class GroupedAttention(nn.Module):
    """Causal attention with rotated queries and keys (Ainslie et al., 2023): heads / kv_heads heads share keys and values.

    The fields are those of `LanguageModel`.
    """

    width: int
    heads: int
    kv_heads: int
    head_width: int
    norms: tuple[str, ...]
    biases: tuple[str, ...]
    epsilon: float
    norm_offset: float
    query_scale: float | None
    attention_cap: float | None
    dtype: Any

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b n d"],
        rotation: Rotation,
        mask: Bool[Array, "b n m"],
        past: KeysValues | None,
        count: Int[Array, ""] | int,
    ) -> tuple[Float[Array, "b n d"], KeysValues | None]:
        """mask: True for slots that are attended to. past: keys and values Float[b h m k], which get those of x from slot
        `count` on; None if x has all slots."""

        def heads(name, number):
            dense = Dense(number * self.head_width, use_bias=name in self.biases, dtype=self.dtype, name=name)
            y = dense(x).reshape(*x.shape[:2], number, self.head_width).swapaxes(1, 2)
            if f"{name}_norm" in self.norms:
                y = RMSNorm(self.epsilon, self.norm_offset, name=f"{name}_norm")(y).astype(self.dtype)
            return y if name == "value" else rotate(y, rotation)

        query, new = heads("query", self.heads), (heads("key", self.kv_heads), heads("value", self.kv_heads))
        if past is not None:
            past = new = updated(past, new, count)
        keys, values = new
        query = query.reshape(query.shape[0], self.kv_heads, -1, *query.shape[2:])
        scale = self.head_width**-0.5 if self.query_scale is None else self.query_scale
        scores = jnp.einsum("bgrnk,bgmk->bgrnm", query, keys, preferred_element_type=jnp.float32) * scale
        mask = jnp.broadcast_to(mask[:, None, None], scores.shape)
        weights = masked_softmax(soft_cap(scores, self.attention_cap), mask).astype(self.dtype)
        y = jnp.einsum("bgrnm,bgmk->bngrk", weights, values).reshape(*x.shape[:2], -1)
        return Dense(self.width, use_bias="out" in self.biases, dtype=self.dtype, name="out")(y), past


class LanguageBlock(nn.Module):
    """Attention, then a gated perceptron (Shazeer, 2020, "GLU variants improve Transformer"), each with a residual connection.

    attention: `GroupedAttention`. The other fields are those of `LanguageModel`.
    """

    attention: nn.Module
    width: int
    hidden: int
    activation: Callable
    dropout: float
    norms: tuple[str, ...]
    biases: tuple[str, ...]
    epsilon: float
    norm_offset: float
    dtype: Any

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b n d"],
        rotation: Rotation,
        mask: Bool[Array, "b n m"],
        past: KeysValues | None,
        count: Int[Array, ""] | int,
        train: bool,
    ) -> tuple[Float[Array, "b n d"], KeysValues | None]:
        def norm(name, y):
            return RMSNorm(self.epsilon, self.norm_offset, name=name)(y) if name in self.norms else y

        def dense(name, size):
            return Dense(size, use_bias=name in self.biases, dtype=self.dtype, name=name)

        y, past = self.attention(norm("norm1", x).astype(self.dtype), rotation, mask, past, count)
        x = x + Dropout(self.dropout, name="dropout1")(norm("post_norm1", y).astype(jnp.float32), train=train)
        y = norm("norm2", x).astype(self.dtype)
        y = dense("down", self.width)(self.activation(dense("gate", self.hidden)(y)) * dense("up", self.hidden)(y))
        return x + Dropout(self.dropout, name="dropout2")(norm("post_norm2", y).astype(jnp.float32), train=train), past
