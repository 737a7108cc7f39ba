"""What the two towers of CLIP and SigLIP have beside ViT: a text Transformer, and one token for all of an encoder's."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool

from mmjax.nn.attention import Transformer, causal, gelu
from mmjax.nn.dropout import Dropout
from mmjax.nn.pooling import first_token
from mmjax.nn.presence import encode, takes_present
from mmjax.types import Padded, Tokens


class TextTransformer(nn.Module):
    """Embeddings of word and position, a pre-norm Transformer, and a final norm: a Padded of numbers, x Int[b n] -> Tokens.

    one_way: each word sees those up to itself, as in CLIP (Radford et al., 2021), whose text is known at its last token; else
    all words see each other, as in SigLIP (Zhai et al., 2023), whose texts include their padding.

    vocabulary: how many token numbers there are. width, depth, heads; hidden: of the MLPs, with their activation. positions:
    the longest sequence. epsilon: of the layer norms. dropout: rate on the embeddings and in the Transformer. dtype: of the
    matmuls; norms and tokens are float32.
    """

    vocabulary: int = 49_408
    width: int = 512
    depth: int = 12
    heads: int = 8
    hidden: int = 2048
    positions: int = 77
    one_way: bool = True
    activation: Callable = gelu
    epsilon: float = 1e-5
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, words: Padded, *, train: bool = False) -> Tokens:
        length = words.x.shape[1]
        if length > self.positions:
            raise ValueError(
                f"TextTransformer.positions is {self.positions}, and the sequences are padded to {length}: cut them"
            )
        x = nn.Embed(self.vocabulary, self.width, embedding_init=nn.initializers.normal(0.02), name="word")(words.x)
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
        x = transformer(x, causal(words.mask) if self.one_way else words.mask, train=train)
        return Tokens(nn.LayerNorm(epsilon=self.epsilon, name="norm")(x), words.mask)


class Pooled(nn.Module):
    """Any encoder with one token in place of all; it is there where any of them was.

    pool: tokens -> Float[b d]: `first_token`, `last_token` or `masked_mean` of `mmjax.nn`, or a module such as `AttentionPool`.
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
