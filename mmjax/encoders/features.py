"""Encoders of vectors that somebody has computed already, one for an example or one for every step -> Tokens."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from mmjax.nn import Dropout
from mmjax.nn.context import Context
from mmjax.types import Padded, Tokens


class Features(nn.Module):
    """relu(W x + b) of each vector: one token for [b d], one for every step of a Padded [b n d].

    width: of the tokens; None gives the vectors themselves. dropout: rate on the vectors and on the tokens.
    dtype: of the matmul.
    """

    width: int | None = 64
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Padded | Float[Array, "b d"], *, train: bool = False) -> Tokens:
        steps = x if isinstance(x, Padded) else Padded(x[:, None], jnp.ones(x.shape[0], jnp.int32))
        if steps.x.ndim != 3:
            raise ValueError(f"Features needs vectors, [b d] or a Padded [b n d], and got a Padded {steps.x.shape}")
        y = Dropout(self.dropout, name="in_dropout")(steps.x, train=train)
        if self.width is not None:
            y = nn.relu(nn.Dense(self.width, dtype=self.dtype, name="dense")(y))
            y = Dropout(self.dropout, name="dropout")(y, train=train)
        return Tokens(y, steps.mask)


class Contextual(nn.Module):
    """A token for every step of a Padded [b n d], from all that the layer lets it see of the others: `nn.context.Context`.

    layer: over the steps: `LSTM`, `Bidirectional`, `SelfAttention` of mmjax.nn. width: of a dense layer with ReLU at every
    step, None for none. dropout: rate on the steps and on the states. dtype: of the dense layer's matmul.
    """

    layer: nn.Module
    width: int | None = None
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, steps: Padded, *, train: bool = False) -> Tokens:
        context = Context(self.layer, self.width, self.dropout, self.dtype, name="context")
        return Tokens(context(steps.x, steps.mask, train=train), steps.mask)
