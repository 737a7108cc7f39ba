"""Attention and Transformer layers (Vaswani et al., 2017, "Attention is all you need")."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mmjax.nn.dropout import Dropout
from mmjax.nn.pooling import masked_softmax


def attend(
    q: Float[Array, "b h n k"],
    k: Float[Array, "b h m k"],
    v: Float[Array, "b h m v"],
    mask: Bool[Array, "b m"] | Bool[Array, "b n m"],
) -> Float[Array, "b h n v"]:
    """softmax(q k^T / sqrt(d_k)) v over the keys that are there (equation 1), the softmax in float32.

    mask: which keys there are, for all queries or for each; a query without any key gets zeros.
    """
    return _weights(q, k, mask).astype(v.dtype) @ v


def _weights(q, k, mask):
    mask = mask[:, None, None] if mask.ndim == 2 else mask[:, None]
    scores = jnp.einsum("bhnk,bhmk->bhnm", q, k, preferred_element_type=jnp.float32) / jnp.sqrt(jnp.float32(q.shape[-1]))
    return masked_softmax(scores, jnp.broadcast_to(mask, scores.shape))


class Attention(nn.Module):
    """Multi-head attention from x [b n d] to context [b m e], to itself where none is given: [b n features].

    heads: how many, each features / heads wide. features: of the result, None for those of x. dropout: rate on the attention
    weights. mask: Bool[b m] or Bool[b n m], the tokens of the context that are there; None for all.
    """

    heads: int
    features: int | None = None
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b n d"],
        context: Float[Array, "b m e"] | None = None,
        mask: Bool[Array, "b m"] | Bool[Array, "b n m"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "b n f"]:
        features = self.features or x.shape[-1]
        if features % self.heads:
            raise ValueError(f"Attention.heads is {self.heads}, which does not divide the {features} features")
        context = x if context is None else context
        mask = jnp.ones(context.shape[:2], bool) if mask is None else mask

        def split(name, tokens):
            y = nn.Dense(features, dtype=self.dtype, name=name)(tokens)
            return y.reshape(*y.shape[:2], self.heads, -1).swapaxes(1, 2)

        q, k, v = split("query", x), split("key", context), split("value", context)
        weights = Dropout(self.dropout, name="dropout")(_weights(q, k, mask), train=train)
        seen = (weights.astype(v.dtype) @ v).swapaxes(1, 2).reshape(*x.shape[:2], features)
        return nn.Dense(features, dtype=self.dtype, name="out")(seen)


class Block(nn.Module):
    """Self-attention and a two-layer perceptron of `hidden` units with GELU, each with a residual.

    pre_norm: x + A(LN(x)), as in ViT; else LN(x + A(x)), as in BERT. exact_gelu: by the error function; else its tanh
    approximation (Hendrycks and Gimpel, 2016). epsilon: of the layer norms. dropout: rate on attention weights and on what
    each residual adds.
    """

    heads: int
    hidden: int
    dropout: float = 0.0
    pre_norm: bool = True
    exact_gelu: bool = True
    epsilon: float = 1e-6
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n d"], mask: Bool[Array, "b n"] | Bool[Array, "b n n"], *, train: bool = False
    ) -> Float[Array, "b n d"]:
        norms = [nn.LayerNorm(self.epsilon, name=name) for name in ("norm1", "norm2")]  # float32

        def attention(y):
            return Attention(self.heads, dropout=self.dropout, dtype=self.dtype, name="attention")(y, mask=mask, train=train)

        def perceptron(y):
            y = nn.gelu(nn.Dense(self.hidden, dtype=self.dtype, name="up")(y), approximate=not self.exact_gelu)
            return nn.Dense(x.shape[-1], dtype=self.dtype, name="down")(y)

        for norm, part, name in zip(norms, (attention, perceptron), ("dropout1", "dropout2")):
            y = part(norm(x) if self.pre_norm else x).astype(jnp.float32)
            x = x + Dropout(self.dropout, name=name)(y, train=train)
            x = x if self.pre_norm else norm(x)
        return x


class Transformer(nn.Module):
    """`depth` blocks one after another over [b n d]; the last pre-norm block has no norm after it, which is the caller's."""

    depth: int
    heads: int
    hidden: int
    dropout: float = 0.0
    pre_norm: bool = True
    exact_gelu: bool = True
    epsilon: float = 1e-6
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n d"], mask: Bool[Array, "b n"] | Bool[Array, "b n n"], *, train: bool = False
    ) -> Float[Array, "b n d"]:
        for number in range(self.depth):
            settings = (self.heads, self.hidden, self.dropout, self.pre_norm, self.exact_gelu, self.epsilon, self.dtype)
            x = Block(*settings, name=f"block{number}")(x, mask, train=train)
        return x
