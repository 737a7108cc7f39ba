"""Attention and Transformer layers (Vaswani et al., 2017, "Attention is all you need")."""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from mmjax.nn.checks import non_negative, positive, rate
from mmjax.nn.dense import Dense, matmul
from mmjax.nn.dropout import Dropout
from mmjax.nn.long_attention import attend_in_blocks
from mmjax.nn.pooling import masked_softmax
from mmjax.types import Tokens

__all__ = [
    "LONG", "QUERIES", "Attention", "AttentionPool", "Block", "Transformer", "attend", "attention_weights", "causal",
    "gelu", "gelu_sigmoid", "gelu_tanh",
]

LONG, QUERIES = 1 << 18, 256
"""From this number of scores per head on, `attend` computes them for about this number of queries at a time."""


def gelu(x: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """The exact GELU, x Phi(x) (Hendrycks and Gimpel, 2016), computed in float32 and returned in x's dtype.

    Computed as x (1 + erf(x / sqrt(2))) / 2. `jax.nn.gelu` uses erfc, for which XLA on a CPU evaluates two branches and keeps
    both for the gradient. The results differ by float32 rounding, at most 2e-7 |x|.
    """
    y = x.astype(jnp.float32)  # in bfloat16, 1 + erf(x) has no significant digit below x = -3
    return (y * (0.5 * (1 + lax.erf(y * math.sqrt(0.5))))).astype(x.dtype)


def gelu_tanh(x: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """GELU by the tanh approximation of Hendrycks and Gimpel (2016), as in the original BERT and GPT-2 code."""
    return jax.nn.gelu(x, approximate=True)


def gelu_sigmoid(x: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """GELU by the sigmoid approximation x sigmoid(1.702 x) (Hendrycks and Gimpel, 2016); CLIP's "quick GELU"."""
    return x * jax.nn.sigmoid(1.702 * x)


def attend(
    q: Float[Array, "b h n k"],
    k: Float[Array, "b h m k"],
    v: Float[Array, "b h m v"],
    mask: Bool[Array, "b m"] | Bool[Array, "b n m"],
) -> Float[Array, "b h n v"]:
    """softmax(q k^T / sqrt(d_k)) v over the valid keys (equation 1), with the softmax in float32.

    mask: True for valid keys, for all queries [b m] or per query [b n m]. A query without a valid key yields zeros. The
    memory is linear in n and in m for long sequences, for which only reverse-mode differentiation works.
    """
    if q.shape[2] * k.shape[2] >= LONG and q.shape[2] > QUERIES:
        return attend_in_blocks(q, k, v, mask, QUERIES)
    return attention_weights(q, k, mask).astype(v.dtype) @ v


def attention_weights(
    q: Float[Array, "b h n k"], k: Float[Array, "b h m k"], mask: Bool[Array, "b m"] | Bool[Array, "b n m"]
) -> Float[Array, "b h n m"]:
    """softmax(q k^T / sqrt(d_k)) over the valid keys, in float32; zeros without a valid key. mask: as in `attend`."""
    mask = mask[:, None, None] if mask.ndim == 2 else mask[:, None]
    scores = jnp.einsum("bhnk,bhmk->bhnm", q, k, preferred_element_type=jnp.float32) / jnp.sqrt(jnp.float32(q.shape[-1]))
    return masked_softmax(scores, jnp.broadcast_to(mask, scores.shape))


class _Affine(nn.Module):
    """The kernel [d features] and bias [features] of an `nn.Dense`, with its names and initial values, without the product.

    bias: if False, the bias is a constant zero instead of a parameter.
    """

    features: int
    bias: bool

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"]) -> tuple[Float[Array, "d f"], Float[Array, " f"]]:
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,)) if self.bias else jnp.zeros(self.features)
        return jnp.asarray(kernel), jnp.asarray(bias)


class Attention(nn.Module):
    """Multi-head attention from x [b n d] to context [b m e]; self-attention without a context. Returns [b n output].

    heads: number of heads; each is features / heads wide.
    features: width of queries, keys and values; None for the width of x.
    dropout: rate on the attention weights; with it, training keeps the weights of all queries in memory.
    key_bias: whether keys have a bias. It cancels in the softmax, but published weights may contain it.
    dtype: of the matmuls; the softmax is float32.
    output: width of the output; None for that of queries, keys and values.

    `__call__` takes mask: Bool[b m] or Bool[b n m], True for valid tokens of the context; None for all.
    """

    heads: int
    features: int | None = None
    dropout: float = 0.0
    key_bias: bool = True
    dtype: Any = jnp.float32
    output: int | None = None

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b n d"],
        context: Float[Array, "b m e"] | None = None,
        mask: Bool[Array, "b m"] | Bool[Array, "b n m"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "b n f"]:
        positive(self, "heads", "features", "output")
        rate(self, "dropout")
        features = self.features or x.shape[-1]
        if features % self.heads:
            raise ValueError(f"Attention.heads is {self.heads}; it must divide the number of features, which is {features}")
        self_attention = context is None
        context = x if self_attention else context
        mask = jnp.ones(context.shape[:2], bool) if mask is None else mask

        def project(tokens, *names):
            """[b h n k] for each of the named layers, with one matmul for all."""
            layers = [_Affine(features, name != "key" or self.key_bias, name=name)(tokens) for name in names]
            kernel, bias = (jnp.concatenate(parts, axis=-1).astype(self.dtype) for parts in zip(*layers))
            y = matmul(tokens.astype(self.dtype), kernel) + bias[None, None]
            return [part.reshape(*y.shape[:2], self.heads, -1).swapaxes(1, 2) for part in jnp.split(y, len(names), axis=-1)]

        if self_attention:
            q, k, v = project(x, "query", "key", "value")
        else:
            (q,), (k, v) = project(x, "query"), project(context, "key", "value")
        if train and self.dropout:
            weights = Dropout(self.dropout, name="dropout")(attention_weights(q, k, mask), train=True)
            attended = weights.astype(v.dtype) @ v
        else:
            attended = attend(q, k, v, mask)
        attended = attended.swapaxes(1, 2).reshape(*x.shape[:2], features)
        return Dense(self.output or features, dtype=self.dtype, name="out")(attended)


class Block(nn.Module):
    """A Transformer block: self-attention and a two-layer perceptron, each with a residual connection.

    heads, key_bias: as in `Attention`.
    hidden, activation: of the perceptron.
    dropout: rate on the attention weights and on the output of both sublayers.
    pre_norm: x + f(LN(x)), as in ViT; otherwise LN(x + f(x)), as in BERT.
    epsilon: of the layer norms.
    layer_scale: initial value of a learned vector that scales each sublayer's output (Touvron et al., 2021, "Going deeper
        with image transformers", equation 2); None for no scaling.
    dtype: of the matmuls; norms and residuals are float32.
    """

    heads: int
    hidden: int
    dropout: float = 0.0
    pre_norm: bool = True
    activation: Callable = gelu
    epsilon: float = 1e-6
    layer_scale: float | None = None
    key_bias: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n d"], mask: Bool[Array, "b n"] | Bool[Array, "b n n"], *, train: bool = False
    ) -> Float[Array, "b n d"]:
        positive(self, "heads", "hidden")
        rate(self, "dropout")
        norms = [nn.LayerNorm(self.epsilon, name=name) for name in ("norm1", "norm2")]  # float32

        def attention(y):
            attention = Attention(self.heads, None, self.dropout, self.key_bias, self.dtype, name="attention")
            return attention(y, mask=mask, train=train)

        def perceptron(y):
            y = self.activation(Dense(self.hidden, dtype=self.dtype, name="up")(y))
            return Dense(x.shape[-1], dtype=self.dtype, name="down")(y)

        for norm, sublayer, number in zip(norms, (attention, perceptron), "12"):
            y = sublayer(norm(x) if self.pre_norm else x).astype(jnp.float32)
            if self.layer_scale is not None:
                y = y * self.param(f"scale{number}", nn.initializers.constant(self.layer_scale), y.shape[-1:])[None, None]
            x = x + Dropout(self.dropout, name=f"dropout{number}")(y, train=train)
            x = x if self.pre_norm else norm(x)
        return x


class Transformer(nn.Module):
    """A stack of `depth` blocks over [b n d]. With pre_norm the output is not normalised; callers add the final norm.

    The other fields are those of `Block`. `__call__` takes mask: Bool[b n], True for valid tokens, or Bool[b n n], where
    mask[b, i, j] is True if token i may attend to token j (see `causal`).
    """

    depth: int
    heads: int
    hidden: int
    dropout: float = 0.0
    pre_norm: bool = True
    activation: Callable = gelu
    epsilon: float = 1e-6
    layer_scale: float | None = None
    key_bias: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n d"], mask: Bool[Array, "b n"] | Bool[Array, "b n n"], *, train: bool = False
    ) -> Float[Array, "b n d"]:
        non_negative(self, "depth")
        positive(self, "heads", "hidden")
        rate(self, "dropout")
        fields = {name: getattr(self, name) for name in Block.__dataclass_fields__ if name not in ("parent", "name")}
        for number in range(self.depth):
            x = Block(**fields, name=f"block{number}")(x, mask, train=train)
        return x


class AttentionPool(nn.Module):
    """Attention pooling, Tokens [b n d] -> [b d]: with a learned query q, y = A(q, x), then y + MLP(LN(y)).

    Used by Zhai et al. (2022, "Scaling vision transformers") and by the image encoder of SigLIP.
    heads: of the attention. hidden, activation: of the perceptron. epsilon: of the norm. dtype: of the matmuls.
    """

    heads: int
    hidden: int
    activation: Callable = gelu
    epsilon: float = 1e-6
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Tokens) -> Float[Array, "b d"]:
        positive(self, "heads", "hidden")
        width = tokens.x.shape[-1]
        query = self.param("query", nn.initializers.xavier_uniform(), (1, width))
        query = jnp.broadcast_to(query[None], (tokens.x.shape[0], 1, width))
        attention = Attention(self.heads, dtype=self.dtype, name="attention")
        x = jnp.where(tokens.mask[..., None], tokens.x, 0)  # masked values may be NaN, which attention weights of 0 would keep
        y = attention(query, x, tokens.mask).astype(jnp.float32)
        z = Dense(self.hidden, dtype=self.dtype, name="up")(nn.LayerNorm(self.epsilon, name="norm")(y))
        z = Dense(width, dtype=self.dtype, name="down")(self.activation(z))
        return (y + z.astype(jnp.float32))[:, 0]


def causal(mask: Bool[Array, "b n"]) -> Bool[Array, "b n n"]:
    """The mask of causal attention: token i may attend to the valid tokens j <= i."""
    n = mask.shape[1]
    return mask[:, None] & jnp.tril(jnp.ones((n, n), bool))[None]
