"""The text encoder of CLIP and SigLIP, and pooling of an encoder's tokens to one."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool

from mmjax.nn.attention import Transformer, causal, gelu
from mmjax.nn.checks import positive, transformer_fields
from mmjax.nn.dropout import Dropout
from mmjax.nn.pooling import first_token
from mmjax.nn.presence import encode, takes_present
from mmjax.types import Padded, Tokens

__all__ = ["Pooled", "TextTransformer"]


class TextTransformer(nn.Module):
    """Token and position embeddings, a pre-norm Transformer, and a final norm: padded ids, x Int[b n] -> Tokens.

    vocabulary: number of token ids. width, depth, heads, hidden, activation: of the Transformer. positions: the longest
        sequence, in tokens.
    causal: causal attention, as in CLIP (Radford et al., 2021), which represents a text by its last token; otherwise full
        attention, as in SigLIP (Zhai et al., 2023), whose texts include their padding.
    epsilon: of the layer norms. dropout: rate on the embeddings and in the Transformer. dtype: of the matmuls; norms and
        tokens are float32.

    Raises ValueError if the input has more tokens than `positions`.
    """

    vocabulary: int = 49_408
    width: int = 512
    depth: int = 12
    heads: int = 8
    hidden: int = 2048
    positions: int = 77
    causal: bool = True
    activation: Callable = gelu
    epsilon: float = 1e-5
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, ids: Padded, *, train: bool = False) -> Tokens:
        positive(self, "vocabulary", "positions")
        transformer_fields(self)
        length = ids.x.shape[1]
        if length > self.positions:
            raise ValueError(
                f"TextTransformer.positions is {self.positions}, but the sequences are padded to {length} tokens; truncate them"
            )
        x = nn.Embed(self.vocabulary, self.width, embedding_init=nn.initializers.normal(0.02), name="word")(ids.x)
        position = self.param("position", nn.initializers.normal(0.01), (self.positions, self.width))
        x = Dropout(self.dropout, name="dropout")(x + position[None, :length], train=train)
        transformer = Transformer(
            self.depth,
            self.heads,
            self.hidden,
            dropout=self.dropout,
            activation=self.activation,
            epsilon=self.epsilon,
            dtype=self.dtype,
            name="transformer",
        )
        x = transformer(x, causal(ids.mask) if self.causal else ids.mask, train=train)
        return Tokens(nn.LayerNorm(epsilon=self.epsilon, name="norm")(x), ids.mask)


class Pooled(nn.Module):
    """An encoder whose tokens are pooled to one. It is valid if one of them is.

    pool: Tokens -> Float[b d]: `first_token`, `last_token` or `masked_mean` of `mmjax.nn`, or a module such as `AttentionPool`.
    """

    encoder: nn.Module
    pool: Callable = first_token

    @property
    def takes_present(self) -> bool:
        return takes_present(self.encoder)

    @nn.compact
    def __call__(self, x: Any, *, train: bool = False, present: Bool[Array, " b"] | None = None) -> Tokens:
        tokens = encode(self.encoder, x, present, train=train)
        return Tokens(self.pool(tokens)[:, None], tokens.mask.any(axis=1, keepdims=True))
