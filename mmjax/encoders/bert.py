"""BERT (Devlin et al., 2019): a Padded of WordPiece numbers, x Int[b n] -> Tokens."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from mmjax.nn.attention import Transformer, gelu
from mmjax.nn.dropout import Dropout
from mmjax.types import Padded, Tokens


class BERT(nn.Module):
    """Embeddings of word, position and segment, their layer norm, and a post-norm Transformer; all tokens.

    The first token, [CLS] where the tokeniser puts it, is what the paper classifies by; the original's pooler, a dense layer
    with tanh upon it, is not part of this. All words belong to the first segment.

    vocabulary: how many token numbers there are. width, depth, heads; hidden: of the MLPs, with their activation. positions:
    how many the table has; first: the one of the first word, 0 but in RoBERTa (Liu et al., 2019), whose tables begin with
    positions that no word has. types: segments, 0 for none. epsilon: of the layer norms. dropout: rate on the embeddings and in
    the Transformer. dtype: of the matmuls; norms and tokens are float32.
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
    def __call__(self, words: Padded, *, train: bool = False) -> Tokens:
        length, longest = words.x.shape[1], self.positions - self.first
        if length > longest:
            less = f" less the first {self.first}" if self.first else ""
            raise ValueError(f"BERT.positions is {self.positions}{less}, and the sequences are padded to {length}: cut them")
        normal = nn.initializers.normal(0.02)
        x = nn.Embed(self.vocabulary, self.width, embedding_init=normal, name="word")(words.x)
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
        return Tokens(transformer(x, words.mask, train=train), words.mask)


def _sized(width: int, depth: int, fields: dict[str, Any]) -> BERT:
    """Heads are 64 wide and MLPs four times the width, in all published sizes."""
    return BERT(width=width, depth=depth, heads=width // 64, hidden=4 * width, **fields)


def bert_tiny(**fields: Any) -> BERT:
    """2 layers of 128 (Turc et al., 2019); 4.4 million parameters. fields: any other field of BERT."""
    return _sized(128, 2, fields)


def bert_mini(**fields: Any) -> BERT:
    """4 layers of 256 (Turc et al., 2019); 11.1 million parameters."""
    return _sized(256, 4, fields)


def bert_small(**fields: Any) -> BERT:
    """4 layers of 512 (Turc et al., 2019); 28.5 million parameters."""
    return _sized(512, 4, fields)


def bert_medium(**fields: Any) -> BERT:
    """8 layers of 512 (Turc et al., 2019); 41.1 million parameters."""
    return _sized(512, 8, fields)


def bert_base(**fields: Any) -> BERT:
    """12 layers of 768, the paper's Base; 108.9 million parameters."""
    return _sized(768, 12, fields)


def bert_large(**fields: Any) -> BERT:
    """24 layers of 1024, the paper's Large; 334 million parameters."""
    return _sized(1024, 24, fields)
