"""BERT (Devlin et al., 2019): padded WordPiece ids, x Int[b n] -> Tokens."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from mmjax.nn.attention import Transformer, gelu
from mmjax.nn.checks import non_negative, positive, transformer_fields
from mmjax.nn.dropout import Dropout
from mmjax.types import Padded, Tokens

__all__ = ["BERT", "bert_base", "bert_large", "bert_medium", "bert_mini", "bert_small", "bert_tiny"]


class BERT(nn.Module):
    """Token, position and segment embeddings, a layer norm, and a post-norm Transformer.

    It returns all tokens; the paper classifies the first one, [CLS]. The pooler of the original code, a dense layer with tanh
    on [CLS], is not included. All tokens belong to the first segment.

    vocabulary: number of token ids. width, depth, heads, hidden, activation: of the Transformer.
    positions: rows of the position table. first: the position of the first token; 0 except in RoBERTa (Liu et al., 2019),
        which leaves the first rows of its table unused.
    types: number of segments; 0 for no segment embedding.
    epsilon: of the layer norms. dropout: rate on the embeddings and in the Transformer. dtype: of the matmuls; norms and
        tokens are float32.

    Raises ValueError if the input has more than positions - first tokens.
    """

    vocabulary: int = 30_522
    width: int = 768
    depth: int = 12
    heads: int = 12
    hidden: int = 3072
    positions: int = 512
    first: int = 0
    types: int = 2
    dropout: float = 0.1
    activation: Callable = gelu
    epsilon: float = 1e-12
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, ids: Padded, *, train: bool = False) -> Tokens:
        positive(self, "vocabulary", "positions")
        non_negative(self, "first", "types")
        transformer_fields(self)
        length, max_tokens = ids.x.shape[1], self.positions - self.first
        if length > max_tokens:
            raise ValueError(
                f"BERT.positions is {self.positions} and BERT.first {self.first}, for at most {max_tokens} tokens, but the "
                f"sequences are padded to {length} tokens; truncate them"
            )
        normal = nn.initializers.normal(0.02)
        x = nn.Embed(self.vocabulary, self.width, embedding_init=normal, name="word")(ids.x)
        position = self.param("position", normal, (self.positions, self.width))
        added = position[self.first : self.first + length]
        if self.types:
            added = added + self.param("type", normal, (self.types, self.width))[:1]
        x = nn.LayerNorm(self.epsilon, name="norm")(x + added[None])
        x = Dropout(self.dropout, name="dropout")(x, train=train)
        transformer = Transformer(
            self.depth,
            self.heads,
            self.hidden,
            dropout=self.dropout,
            pre_norm=False,
            activation=self.activation,
            epsilon=self.epsilon,
            dtype=self.dtype,
            name="transformer",
        )
        return Tokens(transformer(x, ids.mask, train=train), ids.mask)


def _sized(width: int, depth: int, fields: dict[str, Any]) -> BERT:
    """All published sizes have heads of width 64 and 4 * width hidden units."""
    return BERT(width=width, depth=depth, heads=width // 64, hidden=4 * width, **fields)


def bert_tiny(**fields: Any) -> BERT:
    """2 layers of width 128 (Turc et al., 2019); 4.4 million parameters. fields: any other field of BERT."""
    return _sized(128, 2, fields)


def bert_mini(**fields: Any) -> BERT:
    """4 layers of width 256 (Turc et al., 2019); 11.1 million parameters."""
    return _sized(256, 4, fields)


def bert_small(**fields: Any) -> BERT:
    """4 layers of width 512 (Turc et al., 2019); 28.5 million parameters."""
    return _sized(512, 4, fields)


def bert_medium(**fields: Any) -> BERT:
    """8 layers of width 512 (Turc et al., 2019); 41.1 million parameters."""
    return _sized(512, 8, fields)


def bert_base(**fields: Any) -> BERT:
    """12 layers of width 768 (Base in the paper); 108.9 million parameters."""
    return _sized(768, 12, fields)


def bert_large(**fields: Any) -> BERT:
    """24 layers of width 1024 (Large in the paper); 334 million parameters."""
    return _sized(1024, 24, fields)
