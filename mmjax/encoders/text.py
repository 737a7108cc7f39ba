"""Text encoders: a Padded of token numbers, x Int[b n] -> Tokens."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from mmjax.nn.dropout import Dropout
from mmjax.nn.pooling import masked_mean
from mmjax.nn.recurrent import LSTM, read
from mmjax.types import Padded, Tokens


class BagOfEmbeddings(nn.Module):
    """The mean of the words' embeddings (Iyyer et al., 2015, equation 1); the one token. Their layers above it are the head's.

    vocabulary: how many token numbers there are, 0 .. vocabulary - 1. embedding: width. dropout: rate on each embedding.
    dtype: of the embeddings; the mean is taken in float32.
    """

    vocabulary: int
    embedding: int = 128
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, words: Padded, *, train: bool = False) -> Tokens:
        x = nn.Embed(self.vocabulary, self.embedding, dtype=self.dtype, name="embed")(words.x)
        x = masked_mean(Tokens(Dropout(self.dropout, name="dropout")(x, train=train), words.mask))
        return Tokens(x[:, None], (words.length > 0)[:, None])


class TextRNN(nn.Module):
    """Embedding, then a recurrent layer; its last state is the one token, or every state is one.

    vocabulary: how many token numbers there are, 0 .. vocabulary - 1. embedding: width. layer: LSTM, GRU, RNN, Bidirectional,
    Stack, or anything with their two methods (`mmjax.nn.recurrent`). dropout: rate on the embeddings and on the tokens.
    dtype: of the embeddings; the layer has its own.
    """

    vocabulary: int
    embedding: int = 128
    layer: nn.Module = LSTM(128)
    every_step: bool = False
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, words: Padded, *, train: bool = False) -> Tokens:
        x = nn.Embed(self.vocabulary, self.embedding, dtype=self.dtype, name="embed")(words.x)
        x = Dropout(self.dropout, name="embed_dropout")(x, train=train)
        tokens = read(self.layer, Padded(x, words.length), self.every_step, train=train)
        return tokens.replace(x=Dropout(self.dropout, name="dropout")(tokens.x, train=train))
