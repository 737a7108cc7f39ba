"""Text encoders: padded token ids, x Int[b n] -> Tokens."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from mmjax.nn.checks import positive, rate
from mmjax.nn.dropout import Dropout
from mmjax.nn.pooling import masked_mean
from mmjax.nn.recurrent import LSTM, read
from mmjax.types import Padded, Tokens

__all__ = ["BagOfEmbeddings", "TextRNN", "WordEmbeddings"]


class BagOfEmbeddings(nn.Module):
    """The mean of the token embeddings (Iyyer et al., 2015, equation 1) as the single token. The paper's further layers belong
    to the head.

    vocabulary: number of token ids, 0 .. vocabulary - 1. embedding: width. dropout: rate on the embeddings. dtype: of the
    embeddings; the mean is computed in float32.
    """

    vocabulary: int
    embedding: int = 128
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, ids: Padded, *, train: bool = False) -> Tokens:
        positive(self, "vocabulary", "embedding")
        rate(self, "dropout")
        x = nn.Embed(self.vocabulary, self.embedding, dtype=self.dtype, name="embed")(ids.x)
        x = masked_mean(Tokens(Dropout(self.dropout, name="dropout")(x, train=train), ids.mask))
        return Tokens(x[:, None], (ids.length > 0)[:, None])


class TextRNN(nn.Module):
    """Token embeddings, then a recurrent layer. Its last state is the single token.

    vocabulary: number of token ids, 0 .. vocabulary - 1. embedding: width. layer: a recurrent layer of `mmjax.nn.recurrent`,
    or a module with the same methods. every_step: one token per step instead. dropout: rate on the embeddings and on the
    tokens. dtype: of the embeddings; the layer has its own.
    """

    vocabulary: int
    embedding: int = 128
    layer: nn.Module = LSTM(128)
    every_step: bool = False
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, ids: Padded, *, train: bool = False) -> Tokens:
        positive(self, "vocabulary", "embedding")
        rate(self, "dropout")
        x = nn.Embed(self.vocabulary, self.embedding, dtype=self.dtype, name="embed")(ids.x)
        x = Dropout(self.dropout, name="embed_dropout")(x, train=train)
        tokens = read(self.layer, Padded(x, ids.length), self.every_step, train=train)
        return tokens.replace(x=Dropout(self.dropout, name="dropout")(tokens.x, train=train))


class WordEmbeddings(nn.Module):
    """A token for each token id: its embedding, without a position. With the embeddings of a language model, a text among the
    vectors before the model's own text is read as if it were part of it.

        encoders={"question": WordEmbeddings(49_152, 576)}, weights={"encoders_question": "smollm2-135m-instruct#words"}

    vocabulary: number of token ids, 0 .. vocabulary - 1. width: of the embeddings. scale: of the embeddings, as in
    `decoders.LanguageModel.embedding_scale`.
    """

    vocabulary: int
    width: int = 128
    scale: float = 1.0

    @nn.compact
    def __call__(self, ids: Padded, *, train: bool = False) -> Tokens:
        positive(self, "vocabulary", "width")
        del train
        word = nn.Embed(self.vocabulary, self.width, embedding_init=nn.initializers.normal(0.02), name="word")
        return Tokens(word(jnp.where(ids.mask, ids.x, 0)) * self.scale, ids.mask)
