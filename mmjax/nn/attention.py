"""Attention and Transformer layers (Vaswani et al., 2017, "Attention is all you need")."""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from mmjax.nn.dropout import Dropout
from mmjax.nn.pooling import masked_softmax
from mmjax.types import Tokens


def gelu(x: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """x Phi(x), by the error function (Hendrycks and Gimpel, 2016), in float32, and of x's dtype.

    As x (1 + erf(x / sqrt(2))) / 2: JAX's own has erfc, whose cases of small and of large x XLA on a CPU computes both, and
    keeps for the gradient. The difference is one of float32's rounding, at most 2e-7 |x|.
    """
    y = x.astype(jnp.float32)  # of bfloat16, 1 + erf would have no digit left where x is below -3
    return (y * (0.5 * (1 + lax.erf(y * math.sqrt(0.5))))).astype(x.dtype)


def gelu_tanh(x: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """The authors' approximation by tanh, with which BERT's first and many later weights were trained."""
    return jax.nn.gelu(x, approximate=True)


def gelu_sigmoid(x: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Their other one, x sigmoid(1.702 x), OpenAI's "quick GELU"."""
    return x * jax.nn.sigmoid(1.702 * x)


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


class _Affine(nn.Module):
    """Kernel [d features] and bias [features] of `nn.Dense`, under its names and with its first values, for who multiplies by
    several at once; without bias zeros, which are no parameter."""

    features: int
    bias: bool

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"]) -> tuple[Float[Array, "d f"], Float[Array, " f"]]:
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,)) if self.bias else jnp.zeros(self.features)
        return jnp.asarray(kernel), jnp.asarray(bias)


class Attention(nn.Module):
    """Multi-head attention from x [b n d] to context [b m e], to itself where none is given: [b n features].

    heads: how many, each features / heads wide. features: of the result, None for those of x. dropout: rate on the attention
    weights. key_bias: whether keys have one; to the softmax it makes no difference, but weights may come with it or without.
    mask: Bool[b m] or Bool[b n m], the tokens of the context that are there; None for all.
    """

    heads: int
    features: int | None = None
    dropout: float = 0.0
    key_bias: bool = True
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
        itself = context is None
        context = x if itself else context
        mask = jnp.ones(context.shape[:2], bool) if mask is None else mask

        def project(tokens, *names):
            """[b h n k] for each of the layers with these names, all by one matmul."""
            layers = [_Affine(features, name != "key" or self.key_bias, name=name)(tokens) for name in names]
            kernel, bias = (jnp.concatenate(parts, axis=-1).astype(self.dtype) for parts in zip(*layers))
            y = tokens.astype(self.dtype) @ kernel + bias[None, None]
            return [part.reshape(*y.shape[:2], self.heads, -1).swapaxes(1, 2) for part in jnp.split(y, len(names), axis=-1)]

        if itself:
            q, k, v = project(x, "query", "key", "value")
        else:
            (q,), (k, v) = project(x, "query"), project(context, "key", "value")
        weights = Dropout(self.dropout, name="dropout")(_weights(q, k, mask), train=train)
        seen = (weights.astype(v.dtype) @ v).swapaxes(1, 2).reshape(*x.shape[:2], features)
        return nn.Dense(features, dtype=self.dtype, name="out")(seen)


class Block(nn.Module):
    """Self-attention and a two-layer perceptron of `hidden` units, each with a residual.

    pre_norm: x + A(LN(x)), as in ViT; else LN(x + A(x)), as in BERT. activation: of the perceptron. epsilon: of the norms.
    layer_scale: what each residual adds is multiplied by a learned vector that starts at this number (Touvron et al., 2021,
    "Going deeper with image transformers", equation 2). key_bias: as in `Attention`. dropout: rate on attention weights and
    on what each residual adds.
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
        norms = [nn.LayerNorm(self.epsilon, name=name) for name in ("norm1", "norm2")]  # float32

        def attention(y):
            attention = Attention(self.heads, None, self.dropout, self.key_bias, self.dtype, name="attention")
            return attention(y, mask=mask, train=train)

        def perceptron(y):
            y = self.activation(nn.Dense(self.hidden, dtype=self.dtype, name="up")(y))
            return nn.Dense(x.shape[-1], dtype=self.dtype, name="down")(y)

        for norm, part, number in zip(norms, (attention, perceptron), "12"):
            y = part(norm(x) if self.pre_norm else x).astype(jnp.float32)
            if self.layer_scale is not None:
                y = y * self.param(f"scale{number}", nn.initializers.constant(self.layer_scale), y.shape[-1:])[None, None]
            x = x + Dropout(self.dropout, name=f"dropout{number}")(y, train=train)
            x = x if self.pre_norm else norm(x)
        return x


class Transformer(nn.Module):
    """`depth` blocks one after another over [b n d]; the last pre-norm block has no norm after it, which is the caller's.

    mask: Bool[b n], the tokens that are there, or Bool[b n n], which token sees which (`causal` gives one). The fields are
    those of `Block`.
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
        fields = {name: getattr(self, name) for name in Block.__dataclass_fields__ if name not in ("parent", "name")}
        for number in range(self.depth):
            x = Block(**fields, name=f"block{number}")(x, mask, train=train)
        return x


class AttentionPool(nn.Module):
    """Tokens -> one vector [b d] like theirs: a learned query attends to them, then a perceptron with a residual.

    y = A(q, x); y + MLP(LN(y)): the head of Zhai et al., "Scaling vision transformers", 2022, and of SigLIP's pictures.
    heads, hidden: of attention and perceptron; activation, epsilon: of perceptron and norm. dtype: of the matmuls.
    """

    heads: int
    hidden: int
    activation: Callable = gelu
    epsilon: float = 1e-6
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: Tokens) -> Float[Array, "b d"]:
        width = tokens.x.shape[-1]
        query = self.param("query", nn.initializers.xavier_uniform(), (1, width))
        query = jnp.broadcast_to(query[None], (tokens.x.shape[0], 1, width))
        attention = Attention(self.heads, dtype=self.dtype, name="attention")
        y = attention(query, tokens.x, tokens.mask).astype(jnp.float32)
        z = nn.Dense(self.hidden, dtype=self.dtype, name="up")(nn.LayerNorm(self.epsilon, name="norm")(y))
        z = nn.Dense(width, dtype=self.dtype, name="down")(self.activation(z))
        return (y + z.astype(jnp.float32))[:, 0]


def causal(mask: Bool[Array, "b n"]) -> Bool[Array, "b n n"]:
    """Each token sees those tokens that are there up to itself."""
    n = mask.shape[1]
    return mask[:, None] & jnp.tril(jnp.ones((n, n), bool))[None]
