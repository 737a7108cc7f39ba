"""Audio encoders: a Sequence of spectral frames, x Float[b n mels] (`data.audio.LogMel` makes them) -> Tokens."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from mmjax.nn import LSTM, Dropout, last_state
from mmjax.types import Sequence, Tokens


class FrameLSTM(nn.Module):
    """A dense layer with ReLU on each frame, then an LSTM; its last state is the one token.

    width: of the dense layer and of the state. dropout: rate on the frames' features and on the state. dtype: of the matmuls.
    """

    width: int = 128
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, frames: Sequence, *, train: bool = False) -> Tokens:
        x = nn.relu(nn.Dense(self.width, dtype=self.dtype, name="frame")(frames.x))
        x = Dropout(self.dropout, name="frame_dropout")(x, train=train)
        states = LSTM(self.width, dtype=self.dtype, name="lstm")(x, frames.mask)
        x = Dropout(self.dropout, name="dropout")(last_state(states, frames.length), train=train)
        return Tokens(x[:, None], (frames.length > 0)[:, None])
