"""Text encoders: a Sequence of token numbers, x Int[b n] -> Tokens."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from mmjax.nn import LSTM, Dropout, last_state
from mmjax.types import Sequence, Tokens


class TextLSTM(nn.Module):
    """Embedding, then an LSTM; its last state is the one token.

    vocabulary: how many token numbers there are, 0 .. vocabulary - 1. width: of the embedding and of the state.
    dropout: rate on the embedding and on the state. dtype: of the matmuls.
    """

    vocabulary: int
    width: int = 128
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, words: Sequence, *, train: bool = False) -> Tokens:
        x = nn.Embed(self.vocabulary, self.width, name="embed")(words.x)
        x = Dropout(self.dropout, name="embed_dropout")(x, train=train)
        states = LSTM(self.width, dtype=self.dtype, name="lstm")(x, words.mask)
        x = Dropout(self.dropout, name="dropout")(last_state(states, words.length), train=train)
        return Tokens(x[:, None], (words.length > 0)[:, None])
