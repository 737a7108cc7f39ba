"""Encoders of precomputed feature vectors, one per example or one per step -> Tokens."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from mmjax.nn import Dropout
from mmjax.nn.checks import positive, rate
from mmjax.nn.context import Context
from mmjax.types import Padded, Tokens

__all__ = ["Contextual", "Features"]


class Features(nn.Module):
    """relu(W x + b) of each vector x: one token for [b d], one token per step for a Padded [b n d].

    width: of the tokens; None for the vectors themselves. dropout: rate on the vectors and on the tokens. dtype: of the
    matmul.
    """

    width: int | None = 64
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Padded | Float[Array, "b d"], *, train: bool = False) -> Tokens:
        positive(self, "width")
        rate(self, "dropout")
        steps = x if isinstance(x, Padded) else Padded(x[:, None], jnp.ones(x.shape[0], jnp.int32))
        if steps.x.ndim != 3:
            shape = f"Padded {steps.x.shape}" if isinstance(x, Padded) else str(x.shape)
            raise ValueError(f"Features takes vectors, [b d] or Padded [b n d], but the input is {shape}")
        y = Dropout(self.dropout, name="in_dropout")(steps.x, train=train)
        if self.width is not None:
            y = nn.relu(nn.Dense(self.width, dtype=self.dtype, name="dense")(y))
            y = Dropout(self.dropout, name="dropout")(y, train=train)
        return Tokens(y, steps.mask)


class Contextual(nn.Module):
    """One token per step of a Padded [b n d], each computed from several steps by `nn.context.Context`.

    layer: over the steps, such as `LSTM`, `Bidirectional` or `SelfAttention` of mmjax.nn. width: of a dense layer with ReLU
    at every step, None for no dense layer. dropout: rate on the steps and on the states. dtype: of the dense layer's matmul.
    """

    layer: nn.Module
    width: int | None = None
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, steps: Padded, *, train: bool = False) -> Tokens:
        positive(self, "width")
        rate(self, "dropout")
        context = Context(self.layer, self.width, self.dropout, self.dtype, name="context")
        return Tokens(context(steps.x, steps.mask, train=train), steps.mask)
