"""Post-norm sublayers, LN(x + f(x)), as in BERT (Devlin et al., 2019); `nn.Block` has two of them, other layers more."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mmjax.nn.attention import Attention, gelu
from mmjax.nn.dense import Dense
from mmjax.nn.dropout import Dropout

__all__ = ["PostNormAttention", "PostNormPerceptron"]


class PostNormAttention(nn.Module):
    """LN(x + A(x, c)) with multi-head attention A to a context c, or to x without one.

    heads, dtype: as in `Attention`. features: width of queries, keys and values; None for the width of x. dropout: rate on the
    attention weights and on the output of A. epsilon: of the norm. `__call__` takes mask: as in `Attention`.
    """

    heads: int
    features: int | None = None
    dropout: float = 0.0
    epsilon: float = 1e-12
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b n d"],
        context: Float[Array, "b m e"] | None = None,
        mask: Bool[Array, "b m"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "b n d"]:
        width = x.shape[-1]
        attention = Attention(self.heads, self.features, self.dropout, dtype=self.dtype, output=width, name="attention")
        y = attention(x, context, mask, train=train).astype(jnp.float32)
        return nn.LayerNorm(self.epsilon, name="norm")(x + Dropout(self.dropout, name="dropout")(y, train=train))


class PostNormPerceptron(nn.Module):
    """LN(x + M(x)) with a perceptron M of one hidden layer.

    hidden, activation: of the perceptron. dropout: rate on its output. epsilon: of the norm. dtype: of the matmuls.
    """

    hidden: int
    dropout: float = 0.0
    activation: Callable = gelu
    epsilon: float = 1e-12
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"], *, train: bool = False) -> Float[Array, "b n d"]:
        y = self.activation(Dense(self.hidden, dtype=self.dtype, name="up")(x))
        y = Dense(x.shape[-1], dtype=self.dtype, name="down")(y).astype(jnp.float32)
        return nn.LayerNorm(self.epsilon, name="norm")(x + Dropout(self.dropout, name="dropout")(y, train=train))
