"""Layers that add context: an output for every step of a sequence that depends on other steps."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from mmjax.nn.attention import Transformer
from mmjax.nn.checks import divides, non_negative, positive, rate
from mmjax.nn.dropout import Dropout

__all__ = ["Context", "SelfAttention", "sinusoids"]


class Context(nn.Module):
    """Dropout, a layer over the steps, dropout, and relu(W h_t + b) at every step t: [b n d] -> [b n width], float32.

    The contextual network of Poria et al. (2017), "Context-dependent sentiment analysis in user-generated videos", section
    3.2: their sc-LSTM with a unidirectional LSTM, bc-LSTM with a bidirectional one, h-LSTM without the dense layer.

    layer: (x [b n d], mask Bool[b n], train) -> [b n h], such as `LSTM` or `SelfAttention`. width: of the dense layer, None
    for no dense layer. dropout: rate on the input and on the states. dtype: of the dense layer's matmul.
    """

    layer: nn.Module
    width: int | None = None
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n d"], mask: Bool[Array, "b n"], *, train: bool = False
    ) -> Float[Array, "b n h"]:
        positive(self, "width")
        rate(self, "dropout")
        x = Dropout(self.dropout, name="in_dropout")(x, train=train)
        x = Dropout(self.dropout, name="dropout")(self.layer(x, mask, train=train), train=train)
        if self.width is not None:
            x = nn.relu(nn.Dense(self.width, dtype=self.dtype, name="dense")(x))
        return x.astype(jnp.float32)


class SelfAttention(nn.Module):
    """A dense layer, sinusoidal positions, pre-norm Transformer blocks and a layer norm: [b n d] -> [b n features], float32.

    features: width of the output. depth: number of blocks. heads: of each block; it divides `features`. The perceptrons have
    2 * features hidden units. dropout: rate inside the blocks. dtype: of the matmuls.
    """

    features: int
    depth: int = 1
    heads: int = 4
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n d"], mask: Bool[Array, "b n"], *, train: bool = False
    ) -> Float[Array, "b n f"]:
        divides(self, "heads", "features")
        non_negative(self, "depth")
        rate(self, "dropout")
        x = nn.Dense(self.features, dtype=self.dtype, name="input")(x).astype(jnp.float32)
        x = x + sinusoids(x.shape[1], self.features)[None]
        blocks = Transformer(self.depth, self.heads, 2 * self.features, self.dropout, dtype=self.dtype, name="blocks")
        return nn.LayerNorm(name="norm")(blocks(x, mask, train=train))


def sinusoids(steps: int, features: int) -> Float[Array, "n d"]:
    """Sinusoidal positions for steps 0 .. steps - 1: the sines sin(t / 10000^(2i/d)), then the cosines of the same angles.

    Vaswani et al. (2017, section 3.5) interleave sines and cosines instead.
    """
    rate = 10_000 ** (-np.arange(-(-features // 2)) * 2 / features)
    angle = np.arange(steps)[:, None] * rate[None]
    return jnp.asarray(np.concatenate([np.sin(angle), np.cos(angle)], axis=1)[:, :features], jnp.float32)
